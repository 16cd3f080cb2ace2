package workload

import (
	"math/rand/v2"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

const (
	canaryClients = 3  // of each tenant
	edgeItems     = 20 // that a read at an edge of the tenant's space asks for
)

// canary: several tenants do the same things under the same names, and none may ever be shown anything of another's.
// What each does is judged as well, as in register, set and streams.
type canary struct {
	books
	of []canaryTenant
}

type canaryTenant struct {
	name        string
	registers   []rotating
	set, stream rotating
}

func newCanary(o Options) Workload {
	names := o.Tenants
	if len(names) == 0 {
		names = []string{"a", "b"}
	}
	w := &canary{books: newBooks("canary", o, canaryClients*len(names))}
	for _, n := range names {
		t := canaryTenant{
			name:   n,
			set:    rotating{name: w.prefix + "s", opsMax: o.keyOps(setOps), infosMax: noLimit},
			stream: rotating{name: w.prefix + "t", opsMax: o.keyOps(streamOps), infosMax: noLimit},
		}
		for i := range w.clients/(len(names)*registerGroup) + 1 {
			t.registers = append(t.registers, newRotatingRegister(w.prefix, i, o))
		}
		w.of = append(w.of, t)
	}
	return w
}

func (w *canary) tenants() (names []string) {
	for i := range w.of {
		names = append(names, w.of[i].name)
	}
	return names
}

// Draw implements Workload.
func (w *canary) Draw(r *rand.Rand, place int) history.Op {
	t := &w.of[place%len(w.of)]
	register := &t.registers[place/(len(w.of)*registerGroup)]
	var op history.Op
	switch r.IntN(12) {
	case 0, 1:
		op = w.op(history.Read, register.look())
	case 2:
		op = w.op(history.CAS, register.take())
	case 3:
		op = w.op(history.Write, register.take())
	case 4, 5, 6:
		op = w.op(history.Add, t.set.take())
	case 7:
		op = w.op(history.Set, t.set.pick(r))
	case 8, 9:
		op = w.op(history.Append, t.stream.take())
	case 10:
		op = w.op(history.Stream, t.stream.pick(r))
	default:
		op = w.edge(r)
	}
	if op.Writes() {
		op.Arg = w.value(place)
	}
	op.Tenant = t.name
	return op
}

// edge reads at one end of the tenant's space, where its neighbour's begins.
func (w *canary) edge(r *rand.Rand) history.Op {
	op := w.op(history.Scan, "")
	op.Limit, op.Backward = edgeItems, r.IntN(2) == 0
	return op
}

// Ended implements Workload.
func (w *canary) Ended(op *history.Op) {
	for i := range w.of {
		if w.of[i].name != op.Tenant {
			continue
		}
		for j := range w.of[i].registers {
			w.of[i].registers[j].ended(op)
		}
	}
}

// Final implements Workload.
func (w *canary) Final() (ops []history.Op) {
	for i := range w.of {
		t := &w.of[i]
		reads := w.reads(history.Read, allKeys(t.registers))
		reads = append(reads, w.reads(history.Set, t.set.keys())...)
		reads = append(reads, w.reads(history.Stream, t.stream.keys())...)
		for j := range reads {
			reads[j].Tenant = t.name
		}
		ops = append(ops, reads...)
	}
	return ops
}

// Check implements Workload.
func (w *canary) Check(ops []history.Op) []check.Verdict {
	return w.judge(ops, check.NewTenants(), registers(), check.NewSets(), check.NewStreams())
}
