package sim

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func readPlan(t *testing.T, path string) Options {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o, err := ReadPlan(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return o
}

// savePlan writes a plan and says where.
func savePlan(t *testing.T, o *Options, r *Result) string {
	t.Helper()
	dir := *out
	if dir == "" {
		dir = os.TempDir()
	}
	path, err := filepath.Abs(filepath.Join(dir, fmt.Sprintf("seed-%d.plan", o.Seed)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := WritePlan(f, o, o.Plan, fmt.Sprintf("%s: %v", r.Checker, r.Err)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPlans runs the plans that once found something: they hold now.
func TestPlans(t *testing.T) {
	paths, err := filepath.Glob("testdata/plans/*.plan")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no plans: %v", err)
	}
	for _, path := range paths {
		r := runOptions(t, readPlan(t, path), nil)
		if r.Err != nil {
			t.Errorf("%s: %s: %v", path, r.Checker, r.Err)
		}
	}
}

// TestPlanIsTheRun: a run by the plan that a seed has drawn is the seed's run, also after the plan was written and
// read.
func TestPlanIsTheRun(t *testing.T) {
	for seed := uint64(5); seed < 7; seed++ {
		r := run(t, seed, nil)
		var b bytes.Buffer
		if err := WritePlan(&b, &r.Options, r.Plan, "a test\nof two lines"); err != nil {
			t.Fatal(err)
		}
		o, err := ReadPlan(&b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(o.Plan, r.Plan) || len(r.Plan) < 5 {
			t.Errorf("seed %d: the plan of %d faults was read as one of %d", seed, len(r.Plan), len(o.Plan))
		}
		if again := runOptions(t, o, nil); again.Trace != r.Trace {
			t.Errorf("seed %d: its plan gives another run: traces %016x and %016x", seed, again.Trace, r.Trace)
		}
	}
}

func TestPlanIsRefused(t *testing.T) {
	for _, text := range []string{
		"fault 1 crash 1", "seed x", "seed 1\nfault 1 no-such 1", "seed 1\nfault x crash 1", "seed 1\nfault 1 crash",
		"seed 1\nshoes 2", "seed",
	} {
		if _, err := ReadPlan(bytes.NewBufferString(text)); err == nil {
			t.Errorf("%q is taken for a plan", text)
		}
	}
}
