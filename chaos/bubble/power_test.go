package bubble_test

import (
	"testing"
	"time"
)

// The leader loses power under load, again and again, and comes back with what its disk had synced.
func TestPowerLossOfLeader(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 3, options(t))
		w.sleep(2 * time.Second)
		for range 4 {
			n := w.leader()
			w.during("power loss of the leader", 10, func() {
				w.PowerLoss(n)
				w.sleep(8 * time.Second)
			})
			w.mend()
			w.sleep(3 * time.Second)
		}
		w.finish(300)
	})
}

// All nodes lose power at the same moment, while writes are under way.
func TestPowerLossOfAll(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 3, options(t))
		for range 4 {
			w.sleep(5 * time.Second)
			for n := range 3 {
				w.PowerLoss(n + 1)
			}
			w.sleep(time.Second)
			w.mend()
		}
		w.sleep(3 * time.Second)
		w.finish(200)
	})
}

// A node that lost power comes back in the next moment, before the others have noticed.
func TestPowerBlink(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 3, options(t))
		for i := range 9 {
			w.sleep(2 * time.Second)
			n := i%3 + 1
			w.PowerLoss(n)
			must(t, w.Start(n))
		}
		w.mend()
		w.finish(80)
	})
}

// Each node is stopped and started again in its turn. Who stops has given its ranges away before: no request fails, none
// has an outcome that nobody knows, and none waits, also while the node is away.
func TestRollingRestart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 3, options(t))
		w.sleep(4 * time.Second)
		w.split(6)
		w.sleep(4 * time.Second) // leaders spread
		for n := 1; n <= 3; n++ {
			from := w.load.Now()
			w.during("a node stops and starts", 1, func() {
				must(t, w.Stop(n))
				w.sleep(7 * time.Second) // longer than it is taken for live
				w.mend()
				w.sleep(2 * time.Second)
			})
			if d := slowest(w.load.Ops(), from); d > 700*time.Millisecond {
				t.Errorf("a request took %v", d)
			}
		}
		if c := count(w.load.Ops(), 0); c.failed+c.unknown > 0 {
			t.Errorf("%d operations failed, of %d the outcome is unknown", c.failed, c.unknown)
		}
		w.finish(300)
	})
}
