package sim

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"
	"testing/cryptotest"
	"time"

	"go/parser"
	"go/token"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/proto/fault"
)

var (
	seeds   = flag.Int("seeds", 20, "how many seeds TestSeeds runs")
	from    = flag.Uint64("from", 1, "the first seed of TestSeeds")
	oneSeed = flag.Uint64("seed", 0, "run this seed only, and say what happens")
	onePlan = flag.String("plan", "", "run the plan in this file only, and say what happens")
	shrink  = flag.Bool("shrink", false, "with -seed or -plan: look for a smaller plan that fails alike")
	stop    = flag.Bool("stop", false, "stop at the first seed that fails")
	out     = flag.String("out", "", "a directory for plans and for the histories of runs that fail")
	saveTo  = flag.String("json", "", "a file for the report of TestSeeds, for -merge")
	merge   = flag.String("merge", "", "TestMerge puts the reports *.json of this directory together")
)

// run carries out a seed.
func run(t *testing.T, seed uint64, log func(string, ...any)) Result {
	return runOptions(t, DrawOptions(seed), log)
}

// runOptions carries out a run. raft draws its election timeouts from crypto/rand, so that is seeded too.
func runOptions(t *testing.T, o Options, log func(string, ...any)) Result {
	cryptotest.SetGlobalRandom(t, o.Seed)
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // a run makes much garbage and lives for a second
	return Run(o, log)
}

func TestSeeds(t *testing.T) {
	switch {
	case *oneSeed != 0:
		single(t, DrawOptions(*oneSeed))
	case *onePlan != "":
		single(t, readPlan(t, *onePlan))
	default:
		many(t)
	}
}

// single runs one and says what happens.
func single(t *testing.T, o Options) {
	r := runOptions(t, o, t.Logf)
	t.Logf("%v\n%v\ntrace %016x, %d events", &r.Options, &r.count, r.Trace, r.Events)
	if r.Err == nil {
		return
	}
	save(t, &r)
	t.Errorf("seed %d: %s: %v", o.Seed, r.Checker, r.Err)
	if *shrink {
		less, failed := Shrink(r, 300, func(o Options) Result { return runOptions(t, o, nil) }, t.Logf)
		path := savePlan(t, &less, &failed)
		t.Logf("%d faults of %d are enough: go test ./chaos/sim -run TestSeeds -count=1 -v -plan=%s", len(less.Plan),
			len(r.Plan), path)
	}
}

func many(t *testing.T) {
	report := NewReport()
	begin := time.Now()
	for seed := *from; seed < *from+uint64(*seeds) && !(*stop && t.Failed()); seed++ {
		r := run(t, seed, nil)
		report.Run(&r)
		switch {
		case r.Err != nil:
			save(t, &r)
			report.Failed = append(report.Failed, fmt.Sprintf("seed %d: %s: %v", seed, r.Checker, r.Err))
			t.Errorf("seed %d: %s: %v\n%v\n%v\nreplay: go test %s./chaos/sim -run TestSeeds -count=1 -v -seed=%d\n"+
				"find what of it is needed: the same with -shrink", seed, r.Checker, r.Err, &r.Options, &r.count, tags(), seed)
		case r.count.ok < okMin:
			t.Errorf("seed %d proves nothing: %v", seed, &r.count)
		}
		if seed%20 == 0 {
			report.Replayed++
			if again := run(t, seed, nil); again.Trace != r.Trace {
				t.Errorf("seed %d: two runs differ: traces %016x and %016x", seed, r.Trace, again.Trace)
			}
		}
	}
	t.Logf("in %v", time.Since(begin))
	if *saveTo != "" {
		if err := report.Save(*saveTo); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Log(report)
	guard(t, report)
}

func tags() string {
	if fault.Built {
		return "-tags chaos "
	}
	return ""
}

// TestMerge puts the reports of several processes together and judges the whole.
func TestMerge(t *testing.T) {
	if *merge == "" {
		return
	}
	paths, err := filepath.Glob(filepath.Join(*merge, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no reports in %s: %v", *merge, err)
	}
	sum := NewReport()
	for _, path := range paths {
		r, err := LoadReport(path)
		if err != nil {
			t.Fatal(err)
		}
		sum.Add(r)
	}
	fmt.Print(sum)
	for _, f := range sum.Failed {
		t.Error(f)
	}
	guard(t, sum)
}

// okMin is how many operations must succeed in a run for it to count.
const okMin = 60

// guard fails when the runs together did not see enough of what they are for.
func guard(t *testing.T, r *Report) {
	if r.Seeds < 20 {
		return
	}
	for name, each := range map[string]float64{ // at least so many a run, on average
		"operations that succeed":      500,
		"faults":                       10,
		"crashes":                      2,
		"leaders":                      5,
		"splits":                       0.5,
		"changes of membership":        6,
		"moves":                        0.3,
		"range snapshots installed":    2,
		"replicas removed":             0.3,
		"comparisons of replicas":      100,
		"comparisons of log entries":   100,
		"commands of an earlier term":  0.2,
		"commands of an earlier epoch": 0.2,
		"ends after a failed write":    0.3,
		"stores lost for good":         0.1,
	} {
		if float64(r.Counts[name]) < each*float64(r.Seeds) {
			t.Errorf("too few %s: %d in %d runs, want %v a run", name, r.Counts[name], r.Seeds, each)
		}
	}
	if r.Seeds < 200 || !fault.Built {
		return
	}
	for _, name := range r.NeverReached() {
		t.Errorf("%d runs never reached %s", r.Seeds, name)
	}
	for _, f := range faultClasses() {
		if r.Faults[f.name] == 0 {
			t.Errorf("%d runs never saw %s", r.Seeds, f.name)
		}
	}
}

// save writes the history of a run that failed, for chaos/check and for people.
func save(t *testing.T, r *Result) {
	if *out == "" {
		return
	}
	f, err := os.Create(filepath.Join(*out, fmt.Sprintf("seed-%d.ndjson", r.Options.Seed)))
	if err != nil {
		t.Fatal(err)
	}
	w := history.NewWriter(f)
	for i := range r.History {
		if err := w.Write(&r.History[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSeedReplays: the same seed gives the same run, and another one does not.
func TestSeedReplays(t *testing.T) {
	a, b, c := run(t, 3, nil), run(t, 3, nil), run(t, 4, nil)
	if a.Trace != b.Trace || a.Events != b.Events {
		t.Errorf("two runs of a seed differ: %016x and %016x, %d and %d events", a.Trace, b.Trace, a.Events, b.Events)
	}
	if a.Trace == c.Trace {
		t.Errorf("two seeds have the same trace %016x", a.Trace)
	}
}

// TestSameCore: what is simulated here is what a node runs.
func TestSameCore(t *testing.T) {
	for _, same := range []struct{ what, in string }{
		{"raftstore/replica", "raftstore"}, {"raftstore", "kv/node"}, {"kv/node", "cmd/vipkv"},
		{"placement", "kv/node"}, {"placement/tso", "kv/node"}, {"kv/gateway", "kv/node"},
		{"txn/mvcc", "kv/node"}, {"encryption", "kv/node"}, {"kv/client", "cmd/vipkv"},
	} {
		for _, dir := range []string{".", "../../" + same.in} {
			if !importsIn(t, dir, "github.com/vipkv/vipkv/"+same.what) {
				t.Errorf("%s does not import %s", dir, same.what)
			}
		}
	}
}

// importsIn tells whether a directory's files, tests left out, import a package.
func importsIn(t *testing.T, dir, path string) bool {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if matched, _ := filepath.Match("*_test.go", filepath.Base(file)); matched {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if i.Path.Value == strconv.Quote(path) {
				return true
			}
		}
	}
	return false
}

// TestFaultsAreKnown: each class of faults has its own name, since options name them.
func TestFaultsAreKnown(t *testing.T) {
	var names []string
	for _, f := range faultClasses() {
		if slices.Contains(names, f.name) || f.weight < 1 || f.run == nil {
			t.Errorf("fault %q is not well-formed", f.name)
		}
		names = append(names, f.name)
	}
}
