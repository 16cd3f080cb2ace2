package bubble_test

import (
	"testing"
	"time"
)

// others are the nodes but for one.
func (w *world) others(n int) (out []int) {
	for i := 1; i <= w.Len(); i++ {
		if i != n {
			out = append(out, i)
		}
	}
	return out
}

// The leader's words to the others vanish, while it hears them and its clients; then the other way round. It must not
// answer for long what it can not know, and the others go on without it.
func TestOneWayCut(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 3, options(t))
		w.sleep(2 * time.Second)
		n := w.leader()
		w.during("the leader is not heard", 100, func() {
			for _, other := range w.others(n) {
				w.Net.Cut(w.Addr(n), w.Addr(other))
			}
			w.sleep(20 * time.Second)
		})
		w.mend()
		w.sleep(5 * time.Second)
		n = w.leader()
		w.during("the leader does not hear", 100, func() {
			for _, other := range w.others(n) {
				w.Net.Cut(w.Addr(other), w.Addr(n))
			}
			w.sleep(20 * time.Second)
		})
		w.mend()
		w.sleep(5 * time.Second)
		w.finish(500)
	})
}

// The leader is cut off from the others both ways, not from its clients; they must not be served from what is old.
func TestIsolatedLeader(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 3, options(t))
		w.sleep(2 * time.Second)
		for _, spare := range []bool{true, false} {
			n := w.leader()
			w.during("the leader is alone", 100, func() {
				w.Isolate(n, spare)
				w.sleep(20 * time.Second)
			})
			w.mend()
			w.sleep(3 * time.Second)
		}
		w.finish(500)
	})
}

// Links are cut one after the other and mended in another order.
func TestSwizzle(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 3, options(t))
		w.sleep(2 * time.Second)
		cuts := [][2]int{{1, 2}, {2, 3}, {3, 1}, {2, 1}, {1, 3}, {3, 2}}
		for _, heal := range [][]int{{3, 1, 5, 0, 4, 2}, {5, 4, 3, 2, 1, 0}, {0, 2, 4, 1, 3, 5}} {
			for _, l := range cuts {
				w.Net.Cut(w.Addr(l[0]), w.Addr(l[1]))
				w.sleep(700 * time.Millisecond)
			}
			for _, i := range heal {
				w.Net.Heal(w.Addr(cuts[i][0]), w.Addr(cuts[i][1]))
				w.sleep(700 * time.Millisecond)
			}
			w.mend()
		}
		w.sleep(3 * time.Second)
		w.finish(50)
	})
}
