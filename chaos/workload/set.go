package workload

import (
	"math/rand/v2"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

const (
	setOps   = 500 // operations on one set, which is read as a whole
	setReads = 15  // one operation in so many is a read
	oldReads = 5   // and of those one in so many is of a set that nobody adds to any more
	noLimit  = 1 << 30
)

// set: clients add elements, each a key of its own, and read them all at one moment.
type set struct {
	books
	rotating
}

func newSet(o Options) Workload {
	w := &set{books: newBooks("set", o, 3)}
	w.rotating = rotating{name: w.prefix + "0", opsMax: o.keyOps(setOps), infosMax: noLimit}
	return w
}

// Draw implements Workload.
func (w *set) Draw(r *rand.Rand, place int) history.Op {
	if r.IntN(setReads) == 0 || onlyReads(r, place, w.clients) {
		return w.op(history.Set, w.pick(r))
	}
	op := w.op(history.Add, w.take())
	op.Arg = w.value(place)
	return op
}

// pick is the key in use, or now and then one of those before it.
func (r *rotating) pick(random *rand.Rand) string {
	if random.IntN(oldReads) == 0 {
		return r.key(random.IntN(r.generation + 1))
	}
	return r.key(r.generation)
}

// Final implements Workload.
func (w *set) Final() []history.Op { return w.reads(history.Set, w.keys()) }

// Check implements Workload.
func (w *set) Check(ops []history.Op) []check.Verdict {
	return w.judge(ops, check.NewSets(), check.NewCausalReverse())
}
