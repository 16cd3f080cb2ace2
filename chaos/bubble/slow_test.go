package bubble_test

import (
	"testing"
	"time"
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
