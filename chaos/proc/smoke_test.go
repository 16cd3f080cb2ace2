package proc_test

import (
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/judge"
	"github.com/vipkv/vipkv/chaos/proc"
	"github.com/vipkv/vipkv/chaos/workload"
	"github.com/vipkv/vipkv/chaos/workload/load"
)

// What a run must have seen to count: fewer would mean that nothing was tested.
const (
	smokeOps     = 300 // acknowledged
	smokeWrites  = 100
	smokeInFault = 10 // acknowledged while a minority is away
)

const smokePace = 100 * time.Millisecond // of each of some fifty clients

// Under load a leader is killed, a node is paused, and all nodes are killed at once; each time the cluster comes back
// by itself, and what the clients saw is linearizable, dense and complete.
func TestSmoke(t *testing.T) {
	ctx := t.Context()
	c := newCluster(t, proc.Options{Set: []string{"split-bytes=65536"}})
	tenants := []string{"a", "b"}
	stores := map[string]workload.Store{}
	for _, name := range append(tenants, "smoke") {
		cl, err := c.Tenant(ctx, name)
		must(t, err)
		stores[name] = cl
	}
	stores[""] = stores["smoke"]
	before, err := c.Ranges(ctx)
	must(t, err)
	works, err := workload.NewAll(nil, workload.Options{Prefix: "smoke/", Tenants: tenants})
	must(t, err)
	run, err := load.Start(ctx, load.Config{Stores: stores, Workloads: works, Pace: smokePace})
	must(t, err)
	defer run.Stop()
	time.Sleep(3 * time.Second)

	acked := func(what string, minority bool, fault func()) {
		t.Helper()
		from := run.Now()
		fault()
		n := load.Count(run.Ops(), from, run.Now())
		t.Logf("%s: %v", what, n)
		if minority && n.Acked < smokeInFault {
			t.Errorf("%s: a majority runs, but only %d writes were acknowledged", what, n.Acked)
		}
	}
	acked("leader killed for 5 s", true, func() {
		leader := leading(t, c)
		must(t, c.Kill(leader))
		time.Sleep(5 * time.Second)
		must(t, c.Start(leader))
		must(t, c.WaitHealthy(ctx, 3))
	})
	acked("leader paused for 3 s", true, func() {
		leader := leading(t, c)
		must(t, c.Pause(leader))
		time.Sleep(3 * time.Second)
		must(t, c.Resume(leader))
		time.Sleep(2 * time.Second)
		must(t, c.WaitHealthy(ctx, 3))
	})
	acked("all killed and started again", false, func() {
		must(t, c.KillAll())
		startAll(t, c)
		must(t, c.WaitHealthy(ctx, 3))
		time.Sleep(3 * time.Second)
	})

	run.Stop()
	must(t, run.Final(within(t, 30*time.Second)))
	ops := run.Ops()
	after, err := c.Ranges(ctx)
	must(t, err)
	all, elections := load.Count(ops, 0, 0), proc.Terms(after)-proc.Terms(before)
	t.Logf("in all: %v; %d elections, %d ranges at the end", all, elections, len(after))
	if all.OK < smokeOps || all.Acked < smokeWrites || elections < 2 {
		t.Errorf("too little happened for a verdict: %v, %d elections", all, elections)
	}
	if all.Failed > all.OK/10 {
		t.Errorf("%d operations failed, %d succeeded", all.Failed, all.OK)
	}
	for _, v := range run.Check() {
		if t.Logf("%s, %s: %s, %d operations", v.Workload, v.Checker, v.Outcome, v.Ops); v.Outcome != check.Pass {
			t.Errorf("%s: %v", v.Workload, v.Err())
		}
	}
	audit(t, stores, ops)
}

// audit compares the history with all that the cluster holds, every version of every key, and judges it again with no
// outcome unknown.
func audit(t *testing.T, stores map[string]workload.Store, ops []history.Op) {
	t.Helper()
	dump, err := judge.ReadDump(within(t, time.Minute), stores, ops, judge.DumpOptions{Prefix: "smoke/"})
	must(t, err)
	for _, v := range judge.All(ops, nil, judge.Options{Dump: dump}) {
		if v.Checker == "audit" {
			t.Logf("audit: %s, %d writes; %d keys and %d streams", v.Outcome, v.Ops, len(dump.Keys), len(dump.Streams))
		}
		if v.Outcome != check.Pass {
			t.Errorf("with the final state, %s: %v", v.Workload, v.Err())
		}
	}
}

// leading is the node that leads most ranges.
func leading(t *testing.T, c *proc.Cluster) int {
	t.Helper()
	ranges, err := c.Ranges(t.Context())
	must(t, err)
	n := proc.MostLeaders(ranges)
	if n == 0 {
		t.Fatal("no range has a leader")
	}
	return n
}

func startAll(t *testing.T, c *proc.Cluster) {
	t.Helper()
	for n := 1; n <= c.Len(); n++ {
		if !c.Running(n) {
			must(t, c.Start(n))
		}
	}
}
