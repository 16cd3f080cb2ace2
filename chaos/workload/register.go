package workload

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

// The bounds within which a register is decided quickly: the search is exponential in what is open at the same time.
const (
	registerGroup = 3 // clients that share a register; at most 5
	registerOps   = 300
	registerInfos = 3 // and what is under way then may end the same way
	registerLimit = 20 * time.Second
)

// register: groups of clients read, write and compare-and-set one key at a time.
type register struct {
	books
	groups []rotating
}

func newRegister(o Options) Workload {
	w := &register{books: newBooks("register", o, 4*registerGroup)}
	for i := range (w.clients + registerGroup - 1) / registerGroup {
		w.groups = append(w.groups, newRotatingRegister(w.prefix, i, o))
	}
	return w
}

func newRotatingRegister(prefix string, i int, o Options) rotating {
	return rotating{
		name: fmt.Sprintf("%sr%d", prefix, i), opsMax: o.keyOps(registerOps), infosMax: registerInfos,
	}
}

// Draw implements Workload.
func (w *register) Draw(r *rand.Rand, place int) history.Op {
	group := &w.groups[place/registerGroup]
	kind := []history.Kind{history.Read, history.Read, history.Write, history.CAS}[r.IntN(4)]
	if kind == history.Read || onlyReads(r, place, registerGroup) {
		return w.op(history.Read, group.look())
	}
	op := w.op(kind, group.take())
	op.Arg = w.value(place)
	return op
}

// Ended implements Workload.
func (w *register) Ended(op *history.Op) {
	for i := range w.groups {
		w.groups[i].ended(op)
	}
}

// Final implements Workload.
func (w *register) Final() []history.Op { return w.reads(history.Read, allKeys(w.groups)) }

// Check implements Workload.
func (w *register) Check(ops []history.Op) []check.Verdict {
	return w.judge(ops, registers(), check.NewMonotonic())
}

func registers() check.Checker {
	return check.NewRegisters(check.RegisterOptions{Limit: registerLimit})
}
