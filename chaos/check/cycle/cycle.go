package cycle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

// Level is how much isolation was promised.
type Level string

// The levels.
const (
	SnapshotIsolation Level = "snapshot-isolation"
	Serializable      Level = "serializable"
	// StrictSerializable: also, each transaction takes place between its call and its return.
	StrictSerializable Level = "strict-serializable"
)

// Options say what is judged and how much is spent on telling it well.
type Options struct {
	Level Level // default StrictSerializable
	// Each bounds how many anomalies of one name are told. Default 5.
	Each int
	// Effort bounds the edges looked at to make one cycle short. Default 1,000,000. It has no influence on the outcome.
	Effort int
}

// New returns the checker. An unknown level is a bug of the caller.
func New(o Options) check.Checker {
	switch o.Level {
	case "":
		o.Level = StrictSerializable
	case SnapshotIsolation, Serializable, StrictSerializable:
	default:
		panic(fmt.Sprintf("cycle: unknown level %q", o.Level))
	}
	if o.Each <= 0 {
		o.Each = 5
	}
	if o.Effort <= 0 {
		o.Effort = 1_000_000
	}
	return checker{o}
}

type checker struct{ o Options }

func (c checker) Name() string { return "cycle-" + string(c.o.Level) }

func (c checker) Check(ops []history.Op) check.Verdict {
	v := check.Verdict{Checker: c.Name()}
	h, err := collect(ops)
	v.Ops = len(h.txns)
	if len(h.txns) > 0 {
		v.Workload = h.txns[0].op.Workload
	}
	if err != nil {
		v.Outcome, v.Reason = check.Void, err.Error()
		return v
	}
	f := &findings{h: h, each: c.o.Each, count: map[string]int{}}
	h.order(f)
	h.internal(f)
	h.lists(f)
	c.cycles(h, f)

	switch {
	case len(f.names) > 0:
		v.Outcome, v.Reason = check.Fail, fmt.Sprintf("not %s: %s", c.o.Level, f.summary())
		v.Anomalies = f.told
	case !h.shown():
		v.Outcome, v.Reason = check.Void, "no read shows an append"
	default:
		v.Outcome = check.Pass
	}
	return v
}

// findings gathers anomalies, and words for the first few of each name.
type findings struct {
	h     *transactions
	each  int
	names []string // in the order in which they were found
	count map[string]int
	told  []check.Anomaly
	// covered are sets of transactions that have been told of, or passed over as one too many: where all of one are, no
	// milder cycle is looked for.
	covered [][]int32
}

// add counts an anomaly. tell makes its words, when they are wanted; T1, T2, ... in them are txns.
func (f *findings) add(name string, txns []int32, tell func() string) {
	if f.count[name] == 0 {
		f.names = append(f.names, name)
	}
	f.count[name]++
	if f.full(name) {
		return
	}
	a := check.Anomaly{Name: name, Text: tell()}
	for _, t := range txns {
		a.Ops = append(a.Ops, *f.h.txns[t].op)
	}
	f.told = append(f.told, a)
}

// full says that no more of a name will be told.
func (f *findings) full(name string) bool { return f.count[name] > f.each }

func (f *findings) summary() string {
	parts := make([]string, len(f.names))
	for i, n := range f.names {
		parts[i] = fmt.Sprintf("%d %s", f.count[n], n)
		if f.full(n) {
			parts[i] = fmt.Sprintf("more than %d %s", f.each, n)
		}
	}
	return strings.Join(parts, ", ")
}

// transactions is a history as the checker needs it.
type transactions struct {
	txns []txn
	keys []*list
}

// txn is one transaction that touches a list.
type txn struct {
	op   *history.Op
	keys []int32 // keys[i] is the list that step i touches; -1: none
	// committed: acknowledged, or of unknown outcome and seen by a read.
	committed bool
}

func (t *txn) ok() bool { return t.op.Type == history.OK }

// place names a key in a tenant's space.
type place struct{ tenant, key string }

// collect finds the lists and who touches them. It fails when a read cannot name the append that it saw.
func collect(ops []history.Op) (*transactions, error) {
	h := &transactions{}
	known := map[place]int32{}
	for i := range ops {
		if ops[i].Kind != history.Txn {
			continue
		}
		for j := range ops[i].Txn {
			m := &ops[i].Txn[j]
			p := place{ops[i].Tenant, m.Key}
			switch m.Part {
			case history.PartAppend:
				if _, ok := known[p]; !ok {
					known[p] = int32(len(h.keys))
					h.keys = append(h.keys, &list{place: p, byValue: map[string]int32{}, turn: -1})
				}
			case history.PartWrite, history.PartIncr:
				known[p] = -1
			}
		}
	}
	for i := range ops {
		if ops[i].Kind != history.Txn {
			continue
		}
		if err := h.take(&ops[i], known); err != nil {
			return h, err
		}
	}
	return h, nil
}

// take adds one operation.
func (h *transactions) take(op *history.Op, known map[place]int32) error {
	t := txn{op: op, keys: make([]int32, len(op.Txn)), committed: op.Type == history.OK}
	id := int32(len(h.txns))
	touches := false
	for i := range op.Txn {
		m := &op.Txn[i]
		t.keys[i] = -1
		k, ok := known[place{op.Tenant, m.Key}]
		if !ok || k < 0 {
			continue
		}
		t.keys[i], touches = k, true
		l := h.keys[k]
		switch {
		case m.Part == history.PartAppend:
			if _, twice := l.byValue[m.Value]; twice {
				return fmt.Errorf("%s is appended to %s more than once: a read of it does not say by whom",
					quote(m.Value), l)
			}
			l.byValue[m.Value] = int32(len(l.appends))
			l.appends = append(l.appends, element{value: m.Value, txn: id, at: -1})
		case t.ok():
			l.reads = append(l.reads, read{txn: id, step: int32(i)})
		}
	}
	if touches {
		h.txns = append(h.txns, t)
	}
	return nil
}

// shown says whether any read shows any append.
func (h *transactions) shown() bool {
	return slices.ContainsFunc(h.keys, func(l *list) bool { return len(l.versions) > 0 })
}
