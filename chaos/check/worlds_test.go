package check_test

import (
	"testing"

	"github.com/vipkv/vipkv/chaos/check"
)

// judged is a checker with the kinds of operations that it is for.
type judged struct {
	checker check.Checker
	kinds   []string
	infos   int // one write in so many
}

func judges() []judged {
	return []judged{
		{check.NewRegisters(check.RegisterOptions{}), []string{"register"}, 12},
		{check.NewStreams(), []string{"stream"}, 4},
		{check.NewSets(), []string{"set"}, 4},
		{check.NewCounter(), []string{"counter"}, 4},
		{check.NewBank(check.BankOptions{}), []string{"bank"}, 4},
		{check.NewLongFork(), []string{"fork", "bank"}, 4},
		{check.NewCausalReverse(), []string{"fork", "set", "bank"}, 4},
		{check.NewMonotonic(), []string{"register", "counter", "stream", "bank", "fork"}, 4},
		{check.NewTenants(), []string{"tenants"}, 4},
		{check.NewTimestamps(check.TimestampOptions{}), everything(), 4},
	}
}

// everything is all kinds that have timestamps.
func everything() []string {
	return []string{"register", "stream", "set", "counter", "bank", "fork", "skew"}
}

// BenchmarkTimestamps prints the cost of one operation among 50,000.
func BenchmarkTimestamps(b *testing.B) {
	ops := live(1, 50_000, 8, 50, "register", "counter", "bank", "skew").ops
	c := check.NewTimestamps(check.TimestampOptions{})
	for b.Loop() {
		if v := c.Check(ops); v.Outcome != check.Pass {
			b.Fatal(v.Err())
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(ops)), "ns/operation")
}

const worlds = 1000

// TestCorrectStoresPass: no checker raises an alarm on what a correct store does, with versions and without.
func TestCorrectStoresPass(t *testing.T) {
	for _, j := range judges() {
		t.Run(j.checker.Name(), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(worlds) {
				infos := j.infos
				if seed%4 == 0 {
					infos = 0
				}
				ops := live(seed, 60, 4, infos, j.kinds...).ops
				if seed%3 == 0 && j.checker.Name() != "timestamps" { // as of a store that tells no versions
					for i := range ops {
						ops[i].Version, ops[i].At, ops[i].Base = 0, 0, 0
						for k := range ops[i].Txn {
							ops[i].Txn[k].Version = 0
						}
					}
				}
				if v := j.checker.Check(ops); v.Outcome != check.Pass {
					t.Fatalf("seed %d: %v", seed, v.Err())
				}
			}
		})
	}
}
