package workload_test

import (
	"fmt"
	"slices"
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

// rejecting are the checkers that found something.
func (o *outcome) rejecting() (checkers []string) {
	for _, v := range o.verdicts {
		if v.Outcome == check.Fail {
			checkers = append(checkers, v.Checker)
		}
	}
	return checkers
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
		stores := map[string]workload.Store{}
		for _, tenant := range workload.Tenants(w) {
			stores[tenant] = c.Tenant(tenant)
		}
		l, err := load.Start(t.Context(), load.Config{
			Stores: stores, Workloads: []workload.Workload{w}, Seed: seed, Pace: 10 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		if time.Sleep(5 * time.Second); name == "messenger" {
			time.Sleep(20 * time.Second) // it does many things, each now and then
		}
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
		for seed := range uint64(2) {
			t.Run(fmt.Sprint(name, seed), func(t *testing.T) {
				o := run(t, name, workload.Options{Prefix: "p/", Tenant: []string{"", "t"}[seed]}, honest(), seed)
				n := load.Count(o.ops, 0, 0)
				unknown := n.Unknown > 0 || name == "streams" // it asks again until it knows
				if n.Acked < 100 || !unknown || n.Failed < 5 {
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

// wrong are the ways in which a store can be wrong.
func wrong() map[string]workloadtest.Faults {
	return map[string]workloadtest.Faults{
		"lost":      {Lost: 0.02},
		"denied":    {Denied: 0.01},
		"twice":     {Twice: 0.02},
		"stale":     {Stale: 0.05},
		"torn":      {Torn: 0.1},
		"unchecked": {Unchecked: 1},
		"foreign":   {Foreign: 0.01},
		"swapped":   {Swapped: 0.01},
		"immortal":  {Immortal: 1},
		"forgetful": {Forgetful: 1, LostAnswer: 0.05},
		"garbled":   {Garbled: 0.01},
	}
}

// claims are, for each workload, what it claims to see of them, and the checkers that must see it.
func claims() map[string]map[string][]string {
	const list, times = "cycle-strict-serializable", "timestamps"
	return map[string]map[string][]string{
		"bank": {"torn": {"bank", times}, "unchecked": {"bank", times}, "twice": {"bank", times}, "stale": {times}},
		"canary": {"foreign": {"tenants"}, "lost": {"registers", "sets", "streams"}, "denied": {"registers"},
			"stale": {"registers", "sets", "streams", times}, "garbled": {"registers", "sets", "streams"}},
		"counter": {"lost": {"counter"}, "denied": {"counter"}, "stale": {"counter"}, "unchecked": {"counter", times}},
		"fork":    {"lost": {"monotonic", times}, "stale": {"monotonic", times}, "torn": {"long-fork", times}},
		"list-append": {"lost": {list}, "denied": {list}, "twice": {list}, "stale": {list, "monotonic", times},
			"torn": {list, times}, "unchecked": {list, times}, "garbled": {list}},
		"messenger": {"lost": {"messenger", "streams"}, "denied": {"messenger"}, "twice": {"streams"},
			"stale": {"messenger"}, "torn": {list}, "swapped": {"messenger", "streams"},
			"unchecked": {"messenger"}, "immortal": {"presence"}, "forgetful": {"streams"},
			"garbled": {"messenger"}},
		"monotonic": {"lost": {"registers", times}, "stale": {"monotonic", times}, "twice": {"registers"}},
		"register": {"lost": {"registers"}, "denied": {"registers"}, "twice": {"registers"},
			"stale": {"registers", times}, "unchecked": {"registers", times}},
		"set": {"lost": {"sets", times}, "denied": {"sets"}, "stale": {"sets", times},
			"torn": {"causal-reverse", times}},
		"streams": {"lost": {"streams"}, "denied": {"streams"}, "twice": {"streams"}, "stale": {"streams"},
			"swapped": {"streams"}, "forgetful": {"streams"}, "garbled": {"streams"}},
	}
}

func TestWrongStoreIsRejected(t *testing.T) {
	all := claims()
	for _, name := range workload.Names() {
		if len(all[name]) == 0 {
			t.Errorf("%s claims to see nothing", name)
		}
		for fault, checkers := range all[name] {
			t.Run(name+" "+fault, func(t *testing.T) {
				// Short lives of keys: telling in words why a register is wrong is dear.
				o := run(t, name, workload.Options{Prefix: "p/", KeyOps: 80}, wrong()[fault], 1)
				got := o.rejecting()
				for _, c := range checkers {
					if !slices.Contains(got, c) {
						t.Errorf("%s passed %d operations; rejected by %v", c, len(o.ops), got)
					}
				}
			})
		}
	}
}
