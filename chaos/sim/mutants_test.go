//go:build chaos

package sim

import (
	"bytes"
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/workload"
	"github.com/vipkv/vipkv/proto/fault"
)

var (
	mutant      = flag.String("mutant", "", "run all tests with this mutant on")
	onlyMutants = flag.String("only", "", "the mutants, parted by commas, that are looked at; empty: all")
	mutantSeeds = flag.Int("mutant-seeds", 300, "how many seeds a mutant may survive")
)

func TestMain(m *testing.M) {
	flag.Parse()
	fault.Enable(fault.Name(*mutant))
	m.Run()
}

// chosenMutants are the rows of the registry that -only names.
func chosenMutants() []fault.Mutant {
	return slices.DeleteFunc(fault.Registry(), func(m fault.Mutant) bool {
		return *onlyMutants != "" && !slices.Contains(strings.Split(*onlyMutants, ","), string(m.Name))
	})
}

// TestMutants proves that the simulator bites: each seeded bug must break a promise that it checks, soon.
func TestMutants(t *testing.T) {
	for i, m := range chosenMutants() {
		if i%*parts != *part {
			continue
		}
		t.Run(string(m.Name), func(t *testing.T) {
			fault.Enable(m.Name)
			defer fault.Enable(fault.Name(*mutant))
			begin := time.Now()
			for n := range *mutantSeeds {
				seed := *from + uint64(n)
				if r := run(t, seed, nil); r.Err != nil {
					t.Logf("killed by %s, seed %d, the %d., in %v: %v", r.Checker, seed, n+1, time.Since(begin), r.Err)
					if !slices.Contains(m.Killers, family(r.Checker)) {
						t.Errorf("nominated for it are %v", m.Killers)
					}
					return
				}
			}
			t.Errorf("%s (%s) survived %d seeds in %v", m.Name, m.Breaks, *mutantSeeds, time.Since(begin))
		})
	}
}

// family is what a checker is nominated as: all workloads judge what clients saw.
func family(checker string) string {
	if slices.Contains(workload.Names(), checker) {
		return "history"
	}
	return checker
}

// TestShrinkMutant: what a mutant breaks is found again with fewer faults, by the same checker, and the plan in a file gives
// the same run.
func TestShrinkMutant(t *testing.T) {
	fault.Enable(fault.SwallowSyncError)
	defer fault.Enable(fault.Name(*mutant))
	var res Result
	for seed := *from; res.Err == nil; seed++ {
		if seed == *from+50 {
			t.Fatal("no seed fails")
		}
		res = run(t, seed, nil)
	}
	less, failed := Shrink(res, 60, func(o Options) Result { return runOptions(t, o, nil) }, t.Logf)
	if failed.Err == nil || failed.Checker != res.Checker || len(less.Plan) >= len(res.Plan) {
		t.Fatalf("%d faults of %d: %s: %v", len(less.Plan), len(res.Plan), failed.Checker, failed.Err)
	}
	var b bytes.Buffer
	if err := WritePlan(&b, &less, less.Plan, "of a mutant"); err != nil {
		t.Fatal(err)
	}
	o, err := ReadPlan(&b)
	if err != nil {
		t.Fatal(err)
	}
	if again := runOptions(t, o, nil); again.Trace != failed.Trace || again.Checker != failed.Checker {
		t.Errorf("the plan from its file gives another run: %s: %v", again.Checker, again.Err)
	}
	fault.Enable("")
	if clean := runOptions(t, o, nil); clean.Err != nil {
		t.Errorf("the plan fails without the mutant too: %v", clean.Err)
	}
}
