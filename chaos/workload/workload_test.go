package workload_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/workload"
	"github.com/vipkv/vipkv/chaos/workload/load"
	"github.com/vipkv/vipkv/chaos/workload/workloadtest"
)

// outcome of one run in virtual time.
type outcome struct {
	ops      []history.Op
	verdicts []check.Verdict
}

func (o *outcome) rejected() bool {
	for _, v := range o.verdicts {
		if v.Outcome == check.Fail {
			return true
		}
	}
	return false
}

// run lets the clients of a workload work for a while of virtual time.
func run(t *testing.T, name string, o workload.Options, f workloadtest.Faults, seed uint64) (out outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, err := workload.New(name, o)
		if err != nil {
			t.Fatal(err)
		}
		c := workloadtest.New(f, seed)
		stores := map[string]workload.Store{"": c.Tenant("")}
		for _, tenant := range workload.Tenants(w) {
			stores[tenant] = c.Tenant(tenant)
		}
		l, err := load.Start(t.Context(), load.Config{
			Stores: stores, Workloads: []workload.Workload{w}, Seed: seed, Pace: 10 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		l.Stop()
		c.Settle()
		if err := l.Final(t.Context()); err != nil {
			t.Fatal(err)
		}
		out = outcome{l.Ops(), l.Check()}
	})
	return out
}

// honest is all that a correct store may do to its clients.
func honest() workloadtest.Faults {
	return workloadtest.Faults{LostAnswer: 0.01, Late: 0.01, Refused: 0.02}
}

func TestCorrectStorePasses(t *testing.T) {
	for _, name := range workload.Names() {
		for seed := range uint64(3) {
			t.Run(fmt.Sprint(name, seed), func(t *testing.T) {
				o := run(t, name, workload.Options{Prefix: "p/"}, honest(), seed)
				n := load.Count(o.ops, 0, 0)
				if n.Acked < 100 || n.Unknown < 5 || n.Failed < 5 {
					t.Errorf("too little happened: %v", n)
				}
				if len(o.verdicts) == 0 {
					t.Error("no verdict")
				}
				for _, v := range o.verdicts {
					if v.Outcome != check.Pass || v.Ops == 0 {
						t.Errorf("%s: %s after %d operations: %s", v.Checker, v.Outcome, v.Ops, v.Reason)
					}
				}
			})
		}
	}
}

// wrong are the stores that each workload claims to see.
func wrong() map[string]map[string]workloadtest.Faults {
	lost := workloadtest.Faults{Lost: 0.01}
	denied := workloadtest.Faults{Denied: 0.01}
	twice := workloadtest.Faults{Twice: 0.01}
	stale := workloadtest.Faults{Stale: 0.02}
	unchecked := workloadtest.Faults{Unchecked: 0.2}
	swapped := workloadtest.Faults{Swapped: 0.01}
	return map[string]map[string]workloadtest.Faults{
		"counter":  {"lost": lost, "denied": denied, "stale": stale, "unchecked": unchecked},
		"register": {"lost": lost, "denied": denied, "twice": twice, "stale": stale, "unchecked": unchecked},
		"set":      {"lost": lost, "denied": denied, "stale": stale},
		"streams":  {"lost": lost, "denied": denied, "twice": twice, "stale": stale, "swapped": swapped},
	}
}

func TestWrongStoreIsRejected(t *testing.T) {
	all := wrong()
	for _, name := range workload.Names() {
		if len(all[name]) == 0 {
			t.Errorf("%s claims to see nothing", name)
		}
		for fault, f := range all[name] {
			t.Run(name+" "+fault, func(t *testing.T) {
				o := run(t, name, workload.Options{Prefix: "p/"}, f, 1)
				if !o.rejected() {
					t.Errorf("%d operations passed: %v", len(o.ops), o.verdicts)
				}
			})
		}
	}
}
