package cycle_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/check/cycle"
	"github.com/vipkv/vipkv/chaos/history"
)

// parse makes a history of lines like "c1 0-5 ok: a x 1, r y [1 2]".
func parse(text string) []history.Op {
	var ops []history.Op
	for line := range strings.Lines(text) {
		head, steps, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		op := history.Op{Kind: history.Txn, Workload: "append"}
		must(fmt.Sscanf(head, "c%d %d-%d %s", &op.Client, &op.Invoke, &op.Return, &op.Type))
		for step := range strings.SplitSeq(steps, ",") {
			f := strings.Fields(strings.Trim(strings.ReplaceAll(step, "[", " "), " ]"))
			m := history.Mop{Part: history.PartRead, Key: f[1]}
			if f[0] == "a" {
				m.Part, m.Value = history.PartAppend, f[2]
			} else {
				m.List = f[2:]
			}
			op.Txn = append(op.Txn, m)
		}
		ops = append(ops, op)
	}
	return ops
}

func must(_ int, err error) {
	if err != nil {
		panic(err)
	}
}

// a history that shows one anomaly, and the weakest level that forbids it.
type example struct {
	name  string
	level cycle.Level
	ops   string
}

func examples() []example {
	return []example{
		{"internal", cycle.SnapshotIsolation, "c1 0-5 ok: a x 1, r x []"},
		{"internal", cycle.SnapshotIsolation, "c1 0-5 ok: a x 1\n c2 0-9 ok: r x [], r x [1]"},
		{"internal", cycle.SnapshotIsolation, "c1 0-5 ok: r x [1], a x 1"},
		{"duplicate-elements", cycle.SnapshotIsolation, "c1 0-5 ok: a x 1\n c2 0-9 ok: r x [1 1]"},
		{"garbage-read", cycle.SnapshotIsolation, "c1 0-5 ok: a x 1\n c2 0-9 ok: r x [1 7]"},
		{"incompatible-order", cycle.SnapshotIsolation, `c1 0-9 ok: a x 1
			c2 0-9 ok: a x 2
			c3 0-9 ok: r x [1 2]
			c4 0-9 ok: r x [2 1]`},
		{"incompatible-order", cycle.SnapshotIsolation, "c1 0-9 ok: a x 1, a x 2\n c2 0-9 ok: r x [2 1]"},
		{"incompatible-order", cycle.SnapshotIsolation, "c1 0-9 ok: a x 1, a x 2\n c2 0-9 ok: r x [2]"},
		{"G1a", cycle.SnapshotIsolation, "c1 0-5 fail: a x 1\n c2 0-9 ok: r x [1]"},
		{"G1b", cycle.SnapshotIsolation, "c1 0-9 ok: a x 1, a x 2\n c2 0-9 ok: r x [1]\n c3 0-9 ok: r x [1 2]"},
		{"G1b", cycle.SnapshotIsolation, "c1 0-9 info: a x 1, a x 2\n c2 0-9 ok: r x [1]"},
		{"G0", cycle.SnapshotIsolation, "c1 0-9 ok: a x 1, a y 1\n c2 0-9 ok: a x 2, a y 2\n c3 0-9 ok: r x [1 2], r y [2 1]"},
		{"G0", cycle.SnapshotIsolation, "c1 0-9 ok: a x 1, a x 3\n c2 0-9 ok: a x 2\n c3 0-9 ok: r x [1 2 3]"},
		{"G1c", cycle.SnapshotIsolation, "c1 0-9 ok: a x 1, r y [1]\n c2 0-9 ok: a y 1, r x [1]"},
		{"lost-update", cycle.SnapshotIsolation, "c1 0-9 ok: r x [], a x 1\n c2 0-9 ok: r x [], a x 2\n c3 0-9 ok: r x [1 2]"},
		{"lost-update", cycle.SnapshotIsolation, "c1 0-9 ok: a x 1\n c2 0-9 ok: r x [1], a x 2\n c3 0-9 ok: r x [1], a x 3"},
		{"G-single", cycle.SnapshotIsolation, "c1 0-9 ok: a x 1, a y 1\n c2 0-9 ok: r x [1], r y []"},
		{"G-nonadjacent", cycle.SnapshotIsolation, `c1 0-9 ok: r x [], r w [1]
			c2 0-9 ok: a x 1, a y 1
			c3 0-9 ok: r y [1], r z []
			c4 0-9 ok: a z 1, a w 1`},
		{"G2-item", cycle.Serializable, "c1 0-9 ok: r x [], a y 1\n c2 0-9 ok: r y [], a x 1\n c3 0-9 ok: r y [1]"},
		{"G0-process", cycle.StrictSerializable, "c1 0-1 ok: a x 1\n c1 1-2 ok: a x 2\n c3 0-9 ok: r x [2 1]"},
		{"G0-realtime", cycle.StrictSerializable, "c1 0-1 ok: a x 1\n c2 2-3 ok: a x 2\n c3 0-9 ok: r x [2 1]"},
		{"G1c-process", cycle.StrictSerializable, "c1 0-1 ok: r x [1]\n c1 1-2 ok: a x 1"},
		{"G1c-realtime", cycle.StrictSerializable, "c1 0-1 ok: r x [1]\n c2 2-3 ok: a x 1"},
		{"G1c-realtime", cycle.StrictSerializable, "c1 0-1 ok: r x [1]\n c2 2-3 info: a x 1"},
		{"G-single-process", cycle.StrictSerializable, "c1 0-1 ok: a x 1\n c1 1-2 ok: r x []\n c2 0-9 ok: r x [1]"},
		{"G-single-realtime", cycle.StrictSerializable, "c1 0-1 ok: a x 1\n c2 2-3 ok: r x []\n c3 0-9 ok: r x [1]"},
		{"G-nonadjacent-process", cycle.StrictSerializable, `c1 0-1 ok: a y 1
			c1 2-3 ok: r x []
			c2 0-1 ok: a x 1
			c2 2-3 ok: r y []
			c3 0-9 ok: r x [1]`},
		{"G-nonadjacent-realtime", cycle.StrictSerializable, `c4 0-1 ok: a y 1
			c1 2-9 ok: r x []
			c2 0-9 ok: a x 1, a z 1
			c3 0-9 ok: r z [1], r y []`},
		{"G2-item-process", cycle.StrictSerializable, `c1 0-1 ok: a y 1
			c1 2-3 ok: r x []
			c2 0-9 ok: a x 1, r y []
			c3 0-9 ok: r x [1]`},
		{"G2-item-realtime", cycle.StrictSerializable, `c1 0-1 ok: a y 1
			c4 2-3 ok: r x []
			c2 0-9 ok: a x 1, r y []
			c3 0-9 ok: r x [1]`},
	}
}

func levels() []cycle.Level {
	return []cycle.Level{cycle.SnapshotIsolation, cycle.Serializable, cycle.StrictSerializable}
}

func judge(level cycle.Level, ops []history.Op) check.Verdict {
	return cycle.New(cycle.Options{Level: level}).Check(ops)
}

func names(v check.Verdict) []string {
	var out []string
	for _, a := range v.Anomalies {
		if !slices.Contains(out, a.Name) {
			out = append(out, a.Name)
		}
	}
	return out
}

// TestEachName: each anomaly is found under its name, at its level and above, and not below.
func TestEachName(t *testing.T) {
	for _, e := range examples() {
		ops := parse(e.ops)
		for i, level := range levels() {
			v := judge(level, ops)
			forbidden := i >= slices.Index(levels(), e.level)
			if forbidden != (v.Outcome == check.Fail) {
				t.Errorf("%s: %s says %s %s\n%s", e.name, level, v.Outcome, v.Reason, tell(ops, v))
			}
			if got := names(v); forbidden && !slices.Equal(got, []string{e.name}) {
				t.Errorf("%s: %s calls it %q\n%s", e.name, level, got, tell(ops, v))
			}
			if !forbidden && len(v.Anomalies) > 0 {
				t.Errorf("%s: %s does not forbid it and tells of %q", e.name, level, names(v))
			}
		}
	}
}

// TestPlanted: each anomaly is found in the middle of a long history of a correct store, and nothing else is.
func TestPlanted(t *testing.T) {
	for seed, e := range examples() {
		ops := (&store{seed: uint64(seed)}).run(2000)
		from := ops[len(ops)/2].Invoke
		for _, op := range parse(e.ops) {
			op.Client += 1000
			op.Invoke, op.Return = from+10*op.Invoke, from+10*op.Return
			ops = append(ops, op)
		}
		slices.SortStableFunc(ops, func(a, b history.Op) int { return int(a.Return - b.Return) })
		v := judge(e.level, ops)
		if got := names(v); v.Outcome != check.Fail || !slices.Equal(got, []string{e.name}) {
			t.Errorf("%s: %s %s: %q", e.name, v.Outcome, v.Reason, got)
		}
	}
}

// TestStory: an anomaly can be followed by a person who has nothing but its text.
func TestStory(t *testing.T) {
	v := judge(cycle.StrictSerializable, parse(`c1 1000000-2000000 ok: a x 1, a y 7
		c2 5000000-6000000 ok: r x []`+"\nc3 0-9000000 ok: r x [1], r y [7]"))
	want := `T1 is of client 1, from 1ms to 2ms: append 1 to x, and 1 more.
T2 is of client 2, from 5ms to 6ms: read [] of x.
T1 had ended 3ms before T2 began, so T1 comes before T2.
T2 read [] of x, before T1 appended 1, so T2 comes before T1.
That is a cycle: no order of these transactions explains what was seen.`
	if len(v.Anomalies) != 1 || v.Anomalies[0].Text != want {
		t.Fatalf("%s", tell(nil, v))
	}
	if ops := v.Anomalies[0].Ops; len(ops) != 2 || ops[0].Client != 1 || ops[1].Client != 2 {
		t.Fatalf("operations %+v are not T1 and T2", v.Anomalies[0].Ops)
	}
}

// TestNotJudged: what says nothing is void.
func TestNotJudged(t *testing.T) {
	for name, ops := range map[string][]history.Op{
		"nothing":             nil,
		"no lists":            {{Kind: history.Write, Key: "x", Arg: "1", Type: history.OK}},
		"nothing shown":       parse("c1 0-5 ok: a x 1\n c2 0-9 ok: r x []"),
		"appended twice":      parse("c1 0-5 ok: a x 1\n c2 0-9 fail: a x 1\n c3 0-9 ok: r x [1]"),
		"only of failed ones": parse("c1 0-5 fail: a x 1\n c2 0-9 fail: r x [1]"),
	} {
		if v := judge(cycle.StrictSerializable, ops); v.Outcome != check.Void || v.Reason == "" {
			t.Errorf("%s: %s %q", name, v.Outcome, v.Reason)
		}
	}
}

// TestOtherKeys: balances and registers of the same history are passed over, tenants are apart.
func TestOtherKeys(t *testing.T) {
	ops := parse("c1 0-5 ok: a x 1\n c2 6-9 ok: r x [1], r balance [100]\n c4 10-12 ok: r x [1]")
	ops = append(ops, history.Op{Kind: history.Txn, Type: history.OK, Invoke: 20, Return: 21, Tenant: "b",
		Txn: []history.Mop{{Part: history.PartRead, Key: "x"}, {Part: history.PartIncr, Key: "balance", Value: "5"}}})
	if v := judge(cycle.StrictSerializable, ops); v.Outcome != check.Pass {
		t.Fatalf("%s\n%s", v.Reason, tell(ops, v))
	}
}

// TestEachBoundsWhatIsTold: a thousand cycles are counted as too many, and few are told.
func TestEachBoundsWhatIsTold(t *testing.T) {
	var ops []history.Op
	for i := range 1000 {
		ops = append(ops, parse(strings.ReplaceAll(
			"c1 0-9 ok: a xN 1, r yN [1]\n c2 0-9 ok: a yN 1, r xN [1]", "N", fmt.Sprint(i)))...)
	}
	v := cycle.New(cycle.Options{Each: 3, Level: cycle.Serializable}).Check(ops)
	if len(v.Anomalies) != 3 || len(names(v)) != 1 || !strings.Contains(v.Reason, "more than 3") {
		t.Fatalf("%s\n%s", v.Reason, tell(nil, v))
	}
}
