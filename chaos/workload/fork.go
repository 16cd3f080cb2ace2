package workload

import (
	"fmt"
	"math/rand/v2"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

const (
	forkWrites = 4 // one operation in so many writes the next key
	forkOld    = 8 // and one read in so many is of an earlier group
)

// fork: each key is written once, alone; reads see all keys of a group at one moment. All reads must agree on the order
// of the writes (no long fork), and who sees a write sees what was acknowledged before it (no causal reverse). The keys
// of a group lie far apart, so that other keys, and borders of ranges, come to lie between them.
type fork struct {
	books
	run     string
	group   int
	written int // keys of the group that somebody was told to write
}

func newFork(o Options) Workload { return &fork{books: newBooks("fork", o, 5), run: o.Prefix} }

// forkPlaces are where the keys of a group lie among those of all workloads.
func forkPlaces() []string { return []string{"a", "cz", "m", "r", "z"} }

func (w *fork) keysOf(group int) (keys []string) {
	for _, p := range forkPlaces() {
		keys = append(keys, fmt.Sprintf("%s%s/%s/%d", w.run, p, w.name, group))
	}
	return keys
}

// Draw implements Workload.
func (w *fork) Draw(r *rand.Rand, place int) history.Op {
	if r.IntN(forkWrites) > 0 {
		group := w.group
		if r.IntN(forkOld) == 0 {
			group = r.IntN(w.group + 1)
		}
		return w.readTxn(w.keysOf(group))
	}
	if w.written == len(forkPlaces()) {
		w.group, w.written = w.group+1, 0
	}
	// In turns, so that the last key is not always the last one written.
	n := (w.written + w.group) % len(forkPlaces())
	op := w.op(history.Write, w.keysOf(w.group)[n])
	op.Arg = w.value(place)
	w.written++
	return op
}

// Final implements Workload.
func (w *fork) Final() (ops []history.Op) {
	for g := range w.group + 1 {
		ops = append(ops, w.readTxn(w.keysOf(g)))
	}
	return ops
}

// Check implements Workload.
func (w *fork) Check(ops []history.Op) []check.Verdict {
	return w.judge(ops, check.NewLongFork(), check.NewCausalReverse(), check.NewMonotonic())
}
