package workload

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

const (
	counterGroup  = 3 // clients that share a counter, one of which reads: more would refuse each other
	counterOps    = 1000
	counterInfos  = 8 // each widens what the sum may be
	counterReads  = 5 // one operation in so many is a read
	counterAddend = 9 // the greatest
)

// counter: clients add to sums, each on condition that nobody was in between.
type counter struct {
	books
	counters []rotating
}

func newCounter(o Options) Workload {
	w := &counter{books: newBooks("counter", o, 2*counterGroup)}
	for i := range (w.clients + counterGroup - 1) / counterGroup {
		w.counters = append(w.counters, rotating{
			name: fmt.Sprintf("%s%d", w.prefix, i), opsMax: o.keyOps(counterOps), infosMax: counterInfos,
		})
	}
	return w
}

// Draw implements Workload.
func (w *counter) Draw(r *rand.Rand, place int) history.Op {
	c := &w.counters[place/counterGroup]
	if r.IntN(counterReads) == 0 || onlyReads(r, place, counterGroup) {
		return w.op(history.Count, c.pick(r))
	}
	op := w.op(history.Incr, c.take())
	op.Arg = strconv.Itoa(1 + r.IntN(counterAddend))
	return op
}

// Ended implements Workload.
func (w *counter) Ended(op *history.Op) {
	for i := range w.counters {
		w.counters[i].ended(op)
	}
}

// Final implements Workload.
func (w *counter) Final() []history.Op { return w.reads(history.Count, allKeys(w.counters)) }

// Check implements Workload.
func (w *counter) Check(ops []history.Op) []check.Verdict {
	return w.judge(ops, check.NewCounter())
}
