package workload

import (
	"fmt"
	"math/rand/v2"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

// monotonicGroup is how many clients share a key.
const monotonicGroup = 4

// monotonic: one client of a group writes values that increase, the others read, and must never see one go back.
type monotonic struct {
	books
	groups []rotating
}

func newMonotonic(o Options) Workload {
	w := &monotonic{books: newBooks("monotonic", o, monotonicGroup)}
	for i := range (w.clients + monotonicGroup - 1) / monotonicGroup {
		w.groups = append(w.groups, newRotatingRegister(w.prefix, i, o))
	}
	return w
}

// Draw implements Workload.
func (w *monotonic) Draw(_ *rand.Rand, place int) history.Op {
	group := &w.groups[place/monotonicGroup]
	if place%monotonicGroup > 0 {
		return w.op(history.Read, group.look())
	}
	op := w.op(history.Write, group.take())
	w.values++
	op.Arg = fmt.Sprintf("%s%09d", w.prefix, w.values)
	return op
}

// Ended implements Workload.
func (w *monotonic) Ended(op *history.Op) {
	for i := range w.groups {
		w.groups[i].ended(op)
	}
}

// Final implements Workload.
func (w *monotonic) Final() []history.Op { return w.reads(history.Read, allKeys(w.groups)) }

// Check implements Workload.
func (w *monotonic) Check(ops []history.Op) []check.Verdict {
	return w.judge(ops, check.NewMonotonic(), registers())
}
