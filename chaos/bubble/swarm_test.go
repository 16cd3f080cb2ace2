package bubble_test

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// Faults of all kinds at random, one or two at a time, with mending in between. The choice is seeded; what the cluster
// makes of it is not.
func TestSwarm(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 3, options(t))
		r := rand.New(rand.NewPCG(uint64(os.Getpid()), 2))
		for range 8 {
			w.sleep(time.Duration(500+r.IntN(2000)) * time.Millisecond)
			for range 1 + r.IntN(2) {
				w.strike(r)
				w.sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
			}
			w.sleep(time.Second)
			w.mend()
		}
		w.sleep(3 * time.Second)
		w.finish(150)
	})
}

// strike does one harm at random.
func (w *world) strike(r *rand.Rand) {
	w.t.Helper()
	n := 1 + r.IntN(w.Len())
	other := w.others(n)[r.IntN(w.Len()-1)]
	switch kind := r.IntN(7); kind {
	case 0, 1:
		w.t.Logf("node %d loses power", n)
		if w.Running(n) {
			w.PowerLoss(n)
		}
	case 2:
		w.t.Logf("node %d is stopped", n)
		if w.Running(n) {
			must(w.t, w.Stop(n))
		}
	case 3:
		w.t.Logf("node %d does not reach node %d", n, other)
		w.Net.Cut(w.Addr(n), w.Addr(other))
	case 4:
		w.t.Logf("node %d is isolated", n)
		w.Isolate(n, r.IntN(2) == 0)
	case 5:
		d := time.Duration(20+r.IntN(200)) * time.Millisecond
		w.t.Logf("node %d is slow by %v", n, d)
		w.slow(n, d)
	case 6:
		w.t.Logf("clients do not reach node %d", n)
		w.Net.Cut(w.Clients(), w.Addr(n))
	}
}
