package judge_test

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/judge"
	"github.com/vipkv/vipkv/chaos/workload"
	"github.com/vipkv/vipkv/chaos/workload/load"
	"github.com/vipkv/vipkv/chaos/workload/workloadtest"
)

// live lets all workloads work at once, and reads the final state.
func live(t *testing.T, f workloadtest.Faults, seed uint64) (ops []history.Op, dump *check.Dump) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := workloadtest.New(f, seed)
		stores := map[string]workload.Store{"": c.Tenant("")}
		var works []workload.Workload
		for _, name := range workload.Names() {
			w, err := workload.New(name, workload.Options{Prefix: "p/", KeyOps: 60})
			if err != nil {
				t.Fatal(err)
			}
			works = append(works, w)
			for _, tenant := range workload.Tenants(w) {
				stores[tenant] = c.Tenant(tenant)
			}
		}
		l, err := load.Start(t.Context(), load.Config{
			Stores: stores, Workloads: works, Seed: seed, Pace: 20 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second)
		l.Stop()
		c.Settle()
		if err := l.Final(t.Context()); err != nil {
			t.Fatal(err)
		}
		ops = l.Ops()
		if dump, err = judge.ReadDump(t.Context(), stores, ops, judge.DumpOptions{Prefix: "p/"}); err != nil {
			t.Fatal(err)
		}
	})
	return ops, dump
}

// TestAllWorkloadsPass: a history of all workloads, written and read again, is judged by all checkers, with the final
// state and without.
func TestAllWorkloadsPass(t *testing.T) {
	for seed := range uint64(3) {
		ops, dump := live(t, workloadtest.Faults{LostAnswer: 0.02, Late: 0.02, Refused: 0.02}, seed)
		var file bytes.Buffer
		w := history.NewWriter(&file)
		for i := range ops {
			if err := w.Write(&ops[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		ops, err := history.ReadAll(&file)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []judge.Options{{}, {Dump: dump}} {
			verdicts := judge.All(ops, nil, o)
			for _, v := range verdicts {
				if v.Outcome != check.Pass {
					t.Errorf("seed %d, %s: %v", seed, v.Workload, v.Err())
				}
			}
			if judge.Passed(verdicts) == t.Failed() {
				t.Error("Passed does not say what the verdicts say")
			}
			for _, want := range []string{"guard", "timestamps", "tenants", "registers", "streams", "sets", "counter", "bank",
				"long-fork", "causal-reverse", "monotonic", "messenger", "presence"} {
				if !slices.ContainsFunc(verdicts, func(v check.Verdict) bool { return v.Checker == want }) {
					t.Errorf("seed %d: %s was not asked", seed, want)
				}
			}
		}
	}
}

// TestWrongStoresFail: what a wrong store does is seen in the history of all workloads together.
func TestWrongStoresFail(t *testing.T) {
	for name, f := range map[string]workloadtest.Faults{
		"lost": {Lost: 0.01}, "denied": {Denied: 0.02}, "twice": {Twice: 0.02}, "stale": {Stale: 0.02}, "torn": {Torn: 0.05},
		"unchecked": {Unchecked: 0.05}, "foreign": {Foreign: 0.02}, "swapped": {Swapped: 0.05},
	} {
		t.Run(name, func(t *testing.T) {
			ops, dump := live(t, f, 1)
			for _, o := range []judge.Options{{}, {Dump: dump}} {
				verdicts := judge.All(ops, nil, o)
				if judge.Passed(verdicts) {
					t.Fatal("all passed")
				}
				for _, v := range verdicts {
					if v.Outcome == check.Fail {
						t.Logf("%s of %s: %s", v.Checker, v.Workload, v.Reason)
					}
				}
			}
		})
	}
}

// TestAuditAloneSeesLostWrites: the final state shows what nobody read again.
func TestAuditAloneSeesLostWrites(t *testing.T) {
	ops, dump := live(t, workloadtest.Faults{Lost: 0.01}, 2)
	v, _ := check.Audit(ops, dump)
	if !slices.ContainsFunc(v.Anomalies, func(a check.Anomaly) bool { return a.Name == "lost-write" }) {
		t.Fatalf("%s: %s", v.Outcome, v.Reason)
	}
}

func TestVoid(t *testing.T) {
	if v := judge.All(nil, nil, judge.Options{}); judge.Passed(v) {
		t.Error("an empty history passes")
	}
	scan := []history.Op{{Client: 1, Kind: history.Scan, Key: "a", Return: 1, Type: history.OK}}
	if v := judge.All(scan, nil, judge.Options{}); judge.Passed(v) {
		t.Error("a history that no checker knows passes")
	}
	read := []history.Op{{Client: 1, Kind: history.Write, Key: "a", Arg: "v", Return: 1, Type: history.OK}}
	faults := []history.Fault{{Name: "kill", Target: "node 1", Start: 0, End: 1}}
	if v := judge.All(read, faults, judge.Options{}); judge.Passed(v) {
		t.Error("a history with a fault that did not bite passes")
	}
	faults[0].Bit = true
	if v := judge.All(read, faults, judge.Options{}); !judge.Passed(v) {
		t.Errorf("%+v", v)
	}
}
