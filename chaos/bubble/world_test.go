package bubble_test

import (
	"context"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/bubble"
	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/workload"
	"github.com/vipkv/vipkv/chaos/workload/load"
)

// world is a cluster under load.
type world struct {
	*bubble.Cluster
	t    *testing.T
	load *load.Load
	live int // nodes that are to be live at the end
}

// options of a cluster of this test; its logs are printed when the test is run by hand.
func options(t *testing.T) bubble.Options {
	t.Helper()
	o := bubble.Options{Dir: t.TempDir(), Seed: uint64(os.Getpid())}
	if os.Getenv("VIPKV_BUBBLE_LOG") != "" {
		o.Log = os.Stdout
	}
	t.Logf("seed of the network %d", o.Seed)
	return o
}

// newWorld starts a cluster and the load on it.
func newWorld(t *testing.T, nodes int, o bubble.Options) *world {
	t.Helper()
	w := &world{t: t, live: nodes}
	var err error
	w.Cluster, err = bubble.New(t.Context(), nodes, o)
	must(t, err)
	w.startLoad()
	return w
}

func (w *world) startLoad() {
	w.t.Helper()
	store, err := w.Tenant(w.t.Context(), "load")
	must(w.t, err)
	cfg := load.Config{Stores: map[string]workload.Store{"": store}, Pace: 300 * time.Millisecond}
	for _, name := range []string{"register", "streams", "set", "counter"} {
		work, err := workload.New(name, workload.Options{Clients: 3})
		must(w.t, err)
		cfg.Workloads = append(cfg.Workloads, work)
	}
	w.load, err = load.Start(w.t.Context(), cfg)
	must(w.t, err)
}

// counts of what the clients were told.
type counts struct{ ok, acked, unknown, failed int }

// refused tells whether an operation failed because somebody else was faster.
func refused(o *history.Op) bool { return strings.Contains(o.Err, "condition 0 failed") }

func count(ops []history.Op, from int64) (c counts) {
	for i := range ops {
		o := &ops[i]
		switch {
		case o.Return < from:
		case o.Type == history.Info:
			c.unknown++
		case o.Type == history.Fail && refused(o):
			c.ok++ // an answer, too
		case o.Type == history.Fail:
			c.failed++
		default:
			c.ok++
			if acknowledged(o) {
				c.acked++
			}
		}
	}
	return c
}

// acknowledged tells whether the operation wrote something and was told so.
func acknowledged(o *history.Op) bool {
	switch o.Kind {
	case history.Write, history.Append, history.Add, history.Incr:
		return o.Type == history.OK
	}
	return false
}

// slowest is how long the slowest request took that was answered later than from.
func slowest(ops []history.Op, from int64) (longest time.Duration) {
	for i := range ops {
		if o := &ops[i]; o.Return > from {
			longest = max(longest, time.Duration(o.Return-o.Invoke))
		}
	}
	return longest
}

// gap is the longest time between from and to in which no write was acknowledged.
func gap(ops []history.Op, from, to int64) time.Duration {
	at := []int64{from, to}
	for i := range ops {
		if o := &ops[i]; acknowledged(o) && from < o.Return && o.Return < to {
			at = append(at, o.Return)
		}
	}
	slices.Sort(at)
	longest := int64(0)
	for i := range at[1:] {
		longest = max(longest, at[i+1]-at[i])
	}
	return time.Duration(longest)
}

// during runs a fault and holds the cluster to a number of acknowledged writes while it lasts. It returns the longest
// time between two of them.
func (w *world) during(what string, acked int, fault func()) time.Duration {
	w.t.Helper()
	from := w.load.Now()
	fault()
	to := w.load.Now()
	c, gap := count(w.load.Ops(), from), gap(w.load.Ops(), from, to)
	w.t.Logf("%s, %v: %+v, longest gap %v", what, time.Duration(to-from).Round(time.Millisecond), c,
		gap.Round(time.Millisecond))
	if c.acked < acked {
		w.t.Errorf("%s: %d writes were acknowledged, at least %d are owed", what, c.acked, acked)
	}
	return gap
}

// leader is the node that leads the tenant's range.
func (w *world) leader() int {
	w.t.Helper()
	n, err := w.Leader(w.t.Context())
	must(w.t, err)
	return n
}

// sleep lets virtual time pass.
func (w *world) sleep(d time.Duration) { time.Sleep(d) }

// mend ends all faults and waits until the cluster is well.
func (w *world) mend() {
	w.t.Helper()
	w.Net.HealAll()
	for n := 1; n <= w.Len(); n++ {
		if !w.Running(n) {
			must(w.t, w.Start(n))
		}
	}
	must(w.t, w.WaitHealthy(w.t.Context(), w.live))
}

// finish stops the load, lets it read everything, judges, and ends the cluster.
func (w *world) finish(acked int) {
	w.t.Helper()
	w.load.Stop()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	must(w.t, w.load.Final(ctx))
	c := count(w.load.Ops(), 0)
	w.t.Logf("in all: %+v; %d goroutines", c, runtime.NumGoroutine())
	if c.acked < acked {
		w.t.Errorf("too little happened for a verdict: %d acknowledged writes of %d", c.acked, acked)
	}
	for _, o := range w.load.Ops() {
		if o.Type == history.Info || o.Type == history.Fail && !refused(&o) {
			w.t.Logf("client %d at %v: %s of %s: %s: %s", o.Client, time.Duration(o.Invoke), o.Kind, o.Key,
				o.Type, o.Err)
		}
	}
	if c.failed > c.ok/10 {
		w.t.Errorf("%d operations failed, %d succeeded", c.failed, c.ok)
	}
	for _, v := range w.load.Check() {
		if v.Outcome != check.Pass {
			w.t.Errorf("%s of %s: %s: %s %v", v.Checker, v.Workload, v.Outcome, v.Reason, v.Anomalies)
		}
	}
	must(w.t, w.Close())
}
