package check_test

import (
	"strings"
	"testing"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

// steady is an acknowledged write of each of two keys every 10 ms for 1 s; key b is away from 300 to 500 ms, and then
// the first answers are errors.
func steady() []history.Op {
	var ops []history.Op
	for at := int64(0); at < 1000; at += 10 {
		for _, key := range []string{"a", "b"} {
			o := history.Op{Client: 1, Kind: history.Write, Key: key, Arg: "v", Invoke: at * 1e6, Return: (at + 2) * 1e6,
				Type: history.OK, Tenant: "acme"}
			if key == "b" && at >= 300 && at < 500 {
				o.Type = history.Fail
			}
			if key == "b" && at == 400 {
				o.Type = history.Info
			}
			ops = append(ops, o)
		}
	}
	return ops
}

func killed() history.Fault {
	return history.Fault{Name: "kill", Target: "node 1", Start: 305e6, End: 405e6, Bit: true, Evidence: "the process ended"}
}

func byKey(o *history.Op) string { return o.Key }

func TestMeasure(t *testing.T) {
	a := check.Measure(steady(), []history.Fault{killed()}, byKey)
	if len(a.Groups) != 2 || a.Groups[0].GapMax != 10e6 || a.Groups[1].GapMax != 210e6 || a.Groups[1].GapAt != 292e6 {
		t.Errorf("%+v", a.Groups)
	}
	f := a.Faults[0]
	if f.OK != 10 || f.Fail != 9 || f.Info != 1 || f.SuccessRate != 0.5 || f.P50 != 2e6 || f.Max != 2e6 {
		t.Errorf("%+v", f)
	}
	if f.GapMax != 210e6 || f.GapGroup != "b" || f.Recovery != 197e6 || f.RecoveryGroup != "b" {
		t.Errorf("%+v", f)
	}
	open := killed()
	open.Start, open.End = 400e6, 0 // never mended
	ops := steady()
	for i := range ops {
		if ops[i].Key == "b" && ops[i].Invoke >= 400e6 {
			ops[i].Type = history.Fail
		}
	}
	if f := check.Measure(ops, []history.Fault{open}, byKey).Faults[0]; f.Recovery != -1 || f.RecoveryGroup != "b" {
		t.Errorf("%+v", f)
	}
	if all := check.Measure(steady(), nil, nil); len(all.Groups) != 1 || all.Groups[0].GapMax != 10e6 {
		t.Errorf("%+v", all)
	}
}

func TestBudgets(t *testing.T) {
	a := check.Measure(steady(), []history.Fault{killed()}, byKey)
	for want, b := range map[string]check.Budget{
		"pass": {GapMax: 300e6, RecoveryMax: 300e6, SuccessMin: 0.5},
		"b was not served for 210 ms; the budget is 20": {Fault: "kill", GapMax: 200e6},
		"b was served again after 197 ms":               {RecoveryMax: 100e6},
		"50.0 % of operations succeeded":                {SuccessMin: 0.6},
		"no fault pause was injected":                   {Fault: "pause", GapMax: 1},
	} {
		v := a.Check([]check.Budget{b})
		if err := v.Err(); want == "pass" && err != nil || want != "pass" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
}

func TestGuard(t *testing.T) {
	ops, faults := steady(), []history.Fault{killed()}
	missed := killed()
	missed.Bit, missed.Evidence = false, "the process lived"
	for want, c := range map[string]struct {
		g      check.Guard
		faults []history.Fault
	}{
		"": {check.Guard{MinOK: 150, MinWrites: 150, MinFaults: 1, MinDuring: 10, MinOKShare: 0.9, MinKeys: 2, MinTenants: 1,
			MinPerFault: 1}, faults},
		"180 operations were acknowledged, at least 999": {check.Guard{MinOK: 999}, faults},
		"180 writes were acknowledged":                   {check.Guard{MinWrites: 999}, faults},
		"90 % of all operations":                         {check.Guard{MinOKShare: 0.95}, faults},
		"1 faults were injected, at least 2":             {check.Guard{MinFaults: 2}, faults},
		"kill was injected 1 times, at least 9":          {check.Guard{MinPerFault: 9}, faults},
		"did not bite: the process lived":                {check.Guard{}, []history.Fault{missed}},
		"10 operations were acknowledged during kill":    {check.Guard{MinDuring: 100}, faults},
		"2 keys were touched":                            {check.Guard{MinKeys: 3}, faults},
		"1 tenants were served":                          {check.Guard{MinTenants: 2}, faults},
	} {
		v := c.g.Check(ops, c.faults)
		if want == "" && v.Outcome != check.Pass {
			t.Error(v.Err())
		}
		if want != "" && (v.Outcome != check.Void || !strings.Contains(v.Reason, want)) {
			t.Errorf("want %s, got %s: %s", want, v.Outcome, v.Reason)
		}
	}
	g := check.Guard{MayNotBite: true, MinDuring: 100, Outages: []string{"kill"}}
	if v := g.Check(ops, []history.Fault{missed}); v.Outcome != check.Pass {
		t.Error(v.Err())
	}
	if v := (&check.Guard{}).Check(nil, nil); v.Outcome != check.Pass {
		t.Error("nothing was asked for:", v.Err())
	}
}
