package bubble_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/vipkv/vipkv/raftstore/engine"
)

// slow makes all links of a node slow, both ways, clients' as well.
func (w *world) slow(n int, d time.Duration) {
	ends := []string{w.Clients()}
	for _, other := range w.others(n) {
		ends = append(ends, w.Addr(other))
	}
	for _, end := range ends {
		w.Net.Delay(w.Addr(n), end, d)
		w.Net.Delay(end, w.Addr(n), d)
	}
}

// apart waits until the tenant's range and the system range are led by two nodes and returns both.
func (w *world) apart() (tenant, system int) {
	w.t.Helper()
	for range 600 {
		ranges, err := w.Ranges(w.t.Context())
		must(w.t, err)
		tenant, system = int(ranges[len(ranges)-1].LeaderStore), int(ranges[0].LeaderStore)
		if tenant != 0 && system != 0 && tenant != system {
			return tenant, system
		}
		w.sleep(100 * time.Millisecond)
	}
	w.t.Fatal("one node leads all ranges")
	return 0, 0
}

// One follower's network is slow, then it hangs: nothing of it ends, and nothing arrives.
func TestSlowAndHungFollower(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 3, options(t))
		w.sleep(2 * time.Second)
		tenant, system := w.apart()
		n := 6 - tenant - system
		w.during("a follower is slow", 100, func() {
			w.slow(n, 400*time.Millisecond)
			w.sleep(15 * time.Second)
		})
		w.mend()
		w.during("a follower hangs", 200, func() {
			w.Isolate(n, false)
			w.sleep(30 * time.Second)
		})
		w.mend()
		w.sleep(3 * time.Second)
		w.finish(500)
	})
}

// The node that leads the system range, and so hands out timestamps, is slow: two round trips to it and from it to a
// majority are in each write. Writes are slow, they do not stop.
func TestSlowOracle(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 3, options(t))
		w.sleep(2 * time.Second)
		_, system := w.apart()
		w.during("the oracle is slow", 20, func() {
			w.slow(system, 150*time.Millisecond)
			w.sleep(30 * time.Second)
		})
		w.mend()
		w.sleep(3 * time.Second)
		w.finish(100)
	})
}

// The leader's disk takes nothing for a while, and comes back; then it loses power in the next stall. A store whose log
// writes hang gives its ranges away: a request waits for about a second, once.
func TestStalledDisk(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var stalled atomic.Int64 // the node whose disk it is; 0: none
		o := options(t)
		o.WrapFS = func(n int, fs engine.FS) engine.FS {
			return engine.InjectFS(fs, engine.FaultRule{Ops: engine.FaultWrite | engine.FaultSync,
				Active: func() bool {
					for stalled.Load() == int64(n) {
						time.Sleep(10 * time.Millisecond)
					}
					return false
				}})
		}
		w := newWorld(t, 3, o)
		w.sleep(4 * time.Second)
		w.split(4)
		w.sleep(4 * time.Second) // leaders spread
		from := w.load.Now()
		stalled.Store(int64(w.leader()))
		// It lasts for longer than a store is remembered to be slow.
		w.during("the leader's disk is stalled", 300, func() { w.sleep(40 * time.Second) })
		if d := slowest(w.load.Ops(), from); d > 3*time.Second {
			t.Errorf("a request took %v", d)
		}
		stalled.Store(0)
		w.mend()
		w.sleep(2 * time.Second)
		n := w.leader()
		stalled.Store(int64(n))
		w.sleep(3 * time.Second)
		w.PowerLoss(n)
		stalled.Store(0)
		w.sleep(3 * time.Second)
		w.mend()
		w.during("the disks are well", 50, func() { w.sleep(5 * time.Second) })
		w.finish(100)
	})
}
