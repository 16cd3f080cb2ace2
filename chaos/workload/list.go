package workload

import (
	"fmt"
	"math/rand/v2"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

const (
	listKeys  = 3  // in use at a time
	listOps   = 60 // transactions on one list: a list is one value, written anew by each append
	listInfos = noLimit
	listSteps = 4 // of one transaction, at most
)

// list: transactions append to lists and read them. What a list holds tells the order of all that happened to it. The
// lists lie together, so that one range mostly holds them.
type list struct {
	books
	lists []rotating
}

func newList(o Options) Workload {
	w := &list{books: newBooks("list-append", o, 4)}
	for i := range listKeys {
		w.lists = append(w.lists, rotating{
			name: fmt.Sprintf("%s%d", w.prefix, i), opsMax: o.keyOps(listOps), infosMax: listInfos,
		})
	}
	return w
}

// Draw implements Workload.
func (w *list) Draw(r *rand.Rand, _ int) history.Op {
	op := w.op(history.Txn, "")
	keys := make([]string, listKeys)
	for range 1 + r.IntN(listSteps) {
		i := r.IntN(listKeys)
		if keys[i] == "" {
			keys[i] = w.lists[i].take() // once, so that a transaction does not see a list change its name
		}
		m := history.Mop{Part: history.PartRead, Key: keys[i]}
		if r.IntN(2) == 0 {
			w.values++
			m.Part, m.Value = history.PartAppend, fmt.Sprint(w.values)
		}
		op.Txn = append(op.Txn, m)
	}
	return op
}

// Final implements Workload. Each list is read alone: they may have come to lie apart.
func (w *list) Final() (ops []history.Op) {
	for _, k := range allKeys(w.lists) {
		ops = append(ops, w.readTxn([]string{k}))
	}
	return ops
}

// Check implements Workload.
func (w *list) Check(ops []history.Op) []check.Verdict {
	return w.judge(ops, check.NewMonotonic())
}
