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
)

var (
	seeds   = flag.Int("seeds", 20, "how many seeds TestSeeds runs")
	from    = flag.Uint64("from", 1, "the first seed of TestSeeds")
	oneSeed = flag.Uint64("seed", 0, "run this seed only, and say what happens")
	stop    = flag.Bool("stop", false, "stop at the first seed that fails")
	out     = flag.String("out", "", "a directory for the histories of runs that fail")
)

// run carries a seed out. raft draws its election timeouts from crypto/rand, so that is seeded too.
func run(t *testing.T, seed uint64, log func(string, ...any)) Result {
	cryptotest.SetGlobalRandom(t, seed)
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // a run makes much garbage and lives for a second
	return Run(DrawOptions(seed), log)
}

func TestSeeds(t *testing.T) {
	if *oneSeed != 0 {
		r := run(t, *oneSeed, t.Logf)
		t.Logf("%v\n%v\ntrace %016x, %d events", &r.Options, &r.count, r.Trace, r.Events)
		if r.Err != nil {
			save(t, &r)
			t.Fatalf("seed %d: %v", *oneSeed, r.Err)
		}
		return
	}
	var sum counters
	var simulated int64
	var events uint64
	begin := time.Now()
	for seed := *from; seed < *from+uint64(*seeds) && !(*stop && t.Failed()); seed++ {
		r := run(t, seed, nil)
		sum.add(&r.count)
		simulated, events = simulated+r.Time, events+r.Events
		switch {
		case r.Err != nil:
			save(t, &r)
			t.Errorf("seed %d: %v\n%v\n%v\nreplay: go test ./chaos/sim -run TestSeeds -count=1 -v -seed=%d", seed, r.Err,
				&r.Options, &r.count, seed)
		case r.count.ok < okMin:
			t.Errorf("seed %d proves nothing: %v", seed, &r.count)
		}
		if seed%20 == 0 {
			if again := run(t, seed, nil); again.Trace != r.Trace {
				t.Errorf("seed %d: two runs differ: traces %016x and %016x", seed, r.Trace, again.Trace)
			}
		}
	}
	t.Logf("%d seeds, %d simulated seconds, %d events in %v\n%v", *seeds, simulated/sec, events, time.Since(begin), &sum)
	if *seeds >= 20 {
		sum.guard(t, *seeds)
	}
}

// okMin is how many operations must succeed in a run for it to count.
const okMin = 100

// guard fails when the runs together did not see enough of what they are for.
func (c *counters) guard(t *testing.T, runs int) {
	for _, g := range []struct {
		what      string
		got, each float64 // at least so many a run, on average
	}{
		{"operations that succeed", float64(c.ok), 500},
		{"faults", float64(c.faults), 10},
		{"crashes", float64(c.crashes), 2},
		{"leaders", float64(c.leaders), 5},
		{"splits", float64(c.splits), 0.5},
		{"changes of membership", float64(c.changes), 6},
		{"moves", float64(c.moves), 0.3},
		{"range snapshots installed", float64(c.installs), 2},
		{"replicas removed", float64(c.removed), 0.3},
		{"comparisons of replicas", float64(c.compared), 100},
		{"commands of an earlier term", float64(c.verdicts[2]), 0.2},
		{"commands of an earlier epoch", float64(c.verdicts[3]), 0.2},
	} {
		if g.got < g.each*float64(runs) {
			t.Errorf("too few %s: %v in %d runs, want %v a run", g.what, g.got, runs, g.each)
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
