package workload

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/check/cycle"
	"github.com/vipkv/vipkv/chaos/history"
)

const (
	listKeys  = 3   // in use at a time
	listOps   = 120 // transactions on them: a list is one value, written anew by each append
	listSteps = 4   // of one transaction, at most
)

// list: transactions append to lists and read them. What a list holds tells the order of all that happened to it. The
// lists that are in use together lie together, so that one range mostly holds them, and are replaced together.
type list struct {
	books
	rotating
}

func newList(o Options) Workload {
	w := &list{books: newBooks("list-append", o, 4)}
	w.rotating = rotating{name: w.prefix + "0", opsMax: o.keyOps(listOps), infosMax: noLimit}
	return w
}

// Draw implements Workload.
func (w *list) Draw(r *rand.Rand, _ int) history.Op {
	op := w.op(history.Txn, "")
	lists := w.take()
	for range 1 + r.IntN(listSteps) {
		m := history.Mop{Part: history.PartRead, Key: listKey(lists, r.IntN(listKeys))}
		if r.IntN(2) == 0 {
			w.values++
			m.Part, m.Value = history.PartAppend, strconv.Itoa(w.values)
		}
		op.Txn = append(op.Txn, m)
	}
	return op
}

func listKey(lists string, i int) string { return fmt.Sprintf("%s/%d", lists, i) }

// Final implements Workload. Each list is read alone: they may have come to lie apart.
func (w *list) Final() (ops []history.Op) {
	for _, lists := range w.keys() {
		for i := range listKeys {
			ops = append(ops, w.readTxn([]string{listKey(lists, i)}))
		}
	}
	return ops
}

// Check implements Workload.
func (w *list) Check(ops []history.Op) []check.Verdict {
	return w.judge(ops, cycles(), check.NewMonotonic())
}

func cycles() check.Checker { return cycle.New(cycle.Options{Level: cycle.StrictSerializable}) }
