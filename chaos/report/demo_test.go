package report_test

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/check/cycle"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/report"
)

var out = flag.String("out", "", "folder for the report of TestDemo")

const second = int64(time.Second)

// demo invents a run of two minutes with the given number of operations: faults that stop some ranges, one fault that
// did nothing, and, when broken, a register that goes back.
func demo(n int, broken bool) *report.Run {
	r := rand.New(rand.NewPCG(1, 1))
	run := &report.Run{
		Name:  "smoke on three processes",
		Began: time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC),
		Ended: time.Date(2026, 11, 26, 9, 2, 3, 0, time.UTC),
		Facts: []report.Fact{{"seed", "81723"}, {"binary", "vipkv 0.2.0 (tag chaos)"}, {"nodes", "3 on one machine"},
			{"machine", "linux/amd64, 2 CPUs, 7.8 GiB, Go 1.26.8"}, {"load", "12 clients, 200 operations a second"}},
		Reproduce: []string{"go test ./chaos/proc -run Smoke -count=1 -v -seed 81723"},
		Group: func(op *history.Op) string {
			if op.Workload == "probe" {
				return op.Key
			}
			return ""
		},
	}
	add := func(name, target string, from, to float64, bit bool, evidence string) {
		run.Faults = append(run.Faults, history.Fault{Name: name, Target: target, Start: int64(from * 1e9), End: int64(to * 1e9),
			Bit: bit, Evidence: evidence})
	}
	add("kill", "node 2", 12, 20, true, "the process was gone; ranges 3, 4 and 7 changed leader")
	add("pause", "node 1", 31, 39, true, "it answered nothing for 8.0 s")
	add("cut-send", "node 3 to node 1", 50, 61, true, "1204 packets were dropped")
	add("disk-stall", "node 2", 74, 82, true, "fsync took 7.9 s")
	add("loss", "all", 90, 93, false, "no packet passed the router meanwhile")
	add("kill", "node 3", 100, 0, true, "the process was gone")
	down := func(key int, at int64) bool {
		for i, f := range run.Faults {
			if f.Bit && at >= f.Start && at < f.Start+1_200_000_000+int64(i)*400_000_000 && (key+i)%3 == 0 {
				return true
			}
		}
		return false
	}
	for i := range n {
		at := int64(float64(i) / float64(n) * 120 * float64(second))
		key := i % 9
		op := history.Op{Client: i % 12, Workload: "probe", Kind: history.Write, Key: fmt.Sprintf("range-%d", key),
			Arg: fmt.Sprint(i), Invoke: at, Type: history.OK}
		if i%3 == 0 {
			op.Workload, op.Kind = "register", history.Read
		}
		op.Return = at + int64(1e6*math.Exp(1.2+.6*r.NormFloat64()))
		if down(key, at) {
			op.Type, op.Return, op.Err = history.Info, at+second+r.Int64N(2*second), "deadline exceeded"
			if i%4 == 0 {
				op.Type, op.Return, op.Err = history.Fail, at+r.Int64N(second/5), "range 4: no leader"
			}
		}
		run.Ops = append(run.Ops, op)
	}
	slices.SortStableFunc(run.Ops, func(a, b history.Op) int { return int(a.Return - b.Return) })
	run.Events = []report.Event{{12_400_000_000, "range 3 is led by node 1, term 4"}, {21 * second, "node 2 is back"},
		{66 * second, "range 2 was split at probe/range-5"}}
	run.Verdicts = []check.Verdict{
		{Checker: "linearizable", Workload: "register", Outcome: check.Pass, Ops: n / 3},
		{Checker: "availability", Workload: "probe", Outcome: check.Pass, Ops: 2 * n / 3},
	}
	run.Budgets = []report.Budget{{"gap.kill.max", "3s", "1.36s", true}, {"gap.disk-stall.max", "3s", "2.87s", true},
		{"errors.max", "5%", "1.92%", true}}
	run.Probes = []report.Probe{{"raftstore.split", 3}, {"raftstore.snapshot-refused", 0}, {"replica.prevote-lost", 41}}
	run.Skipped = []report.Skipped{{"isolate", "node 1", "range 4 would have lost its quorum"}}
	if broken {
		run.Budgets[1].OK, run.Budgets[1].Value = false, "4.31s"
		run.Verdicts = append(run.Verdicts, tangled())
	}
	return run
}

// tangled is a verdict with a cycle.
func tangled() check.Verdict {
	mop := func(p history.Part, key, value string, list ...string) history.Mop {
		return history.Mop{Part: p, Key: key, Value: value, List: list}
	}
	ops := []history.Op{
		{Client: 3, Workload: "append", Kind: history.Txn, Type: history.OK, Invoke: 51 * second, Return: 51*second + 4e6,
			Txn: []history.Mop{mop(history.PartRead, "x", "", "1", "2"), mop(history.PartAppend, "x", "3")}},
		{Client: 7, Workload: "append", Kind: history.Txn, Type: history.OK, Invoke: 52 * second, Return: 52*second + 3e6,
			Txn: []history.Mop{mop(history.PartRead, "x", "", "1", "2"), mop(history.PartAppend, "y", "9")}},
		{Client: 1, Workload: "append", Kind: history.Txn, Type: history.OK, Invoke: 40 * second, Return: 40*second + 9e6,
			Txn: []history.Mop{mop(history.PartAppend, "x", "1"), mop(history.PartAppend, "x", "2")}},
		{Client: 2, Workload: "append", Kind: history.Txn, Type: history.OK, Invoke: 60 * second, Return: 60*second + 9e6,
			Txn: []history.Mop{mop(history.PartRead, "x", "", "1", "2", "3"), mop(history.PartRead, "y", "", "9")}},
	}
	return cycle.New(cycle.Options{}).Check(ops)
}

// TestDemo writes a report to look at, when -out says where.
func TestDemo(t *testing.T) {
	dir := *out
	if dir == "" {
		dir = t.TempDir()
	}
	if err := report.Write(dir, demo(24_000, true)); err != nil {
		t.Fatal(err)
	}
}
