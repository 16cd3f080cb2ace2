package check_test

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

// world is a correct store with clients that overlap, in virtual time from a seed. Every effect takes place at one
// moment between call and return, or, when the outcome is unknown, at any later one or never.
type world struct {
	r      *rand.Rand
	now    int64
	events events
	ts     uint64
	kv     map[string][]check.DumpVersion // by tenant/key, oldest first
	stream map[string][]check.DumpVersion // records
	ops    []history.Op
	values int
	kinds  []string
	infos  int // one write in so many has an unknown outcome; 0: none
	left   int // operations to begin
}

type event struct {
	at  int64
	seq int
	f   func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(e[i].at, e[j].at), e[i].seq-e[j].seq) < 0
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	x := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return x
}

func (w *world) after(d int64, f func()) {
	w.values++
	heap.Push(&w.events, event{w.now + d, w.values, f})
}

// live makes a history of n operations of the kinds by some clients, and then reads everything.
func live(seed uint64, n, clients, infos int, kinds ...string) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 7)), ts: 1000, kv: map[string][]check.DumpVersion{},
		stream: map[string][]check.DumpVersion{}, kinds: kinds, left: n}
	if slices.Contains(kinds, "bank") {
		for i := range accounts {
			w.do(history.Op{Client: 9999, Kind: history.Write, Key: account(i), Arg: strconv.Itoa(opening)}, false)
			w.run()
		}
	}
	w.infos = infos
	for i := range clients {
		w.think(i)
	}
	w.run()
	w.infos = 0
	for _, op := range w.final() {
		op.Client = 9998
		w.after(5, func() { w.do(op, false) })
		w.run()
	}
	slices.SortStableFunc(w.ops, func(a, b history.Op) int { return cmp.Compare(a.Return, b.Return) })
	return w
}

func (w *world) run() {
	for len(w.events) > 0 {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.f()
	}
}

func (w *world) think(client int) {
	w.after(1+w.r.Int64N(20), func() {
		if w.left--; w.left < 0 {
			return
		}
		op := w.draw()
		op.Client = client
		w.do(op, true)
	})
}

const (
	accounts = 4
	opening  = 100
)

func account(i int) string { return fmt.Sprintf("account%d", i) }

func (w *world) value() string {
	w.values++
	return fmt.Sprintf("v%d", w.values)
}

func (w *world) draw() history.Op {
	kind := w.kinds[w.r.IntN(len(w.kinds))]
	key := fmt.Sprintf("%s%d", kind, w.r.IntN(2))
	pick := w.r.IntN(10)
	switch kind {
	case "register":
		switch {
		case pick < 4:
			return history.Op{Kind: history.Read, Key: key}
		case pick < 7:
			return history.Op{Kind: history.Write, Key: key, Arg: w.value()}
		}
		return history.Op{Kind: history.CAS, Key: key, Arg: w.value()}
	case "tenants":
		op := history.Op{Kind: history.Read, Key: key, Tenant: []string{"acme", "bolt"}[w.r.IntN(2)]}
		if pick < 5 {
			op.Kind, op.Arg = history.Write, check.CanaryValue(op.Tenant, w.value())
		}
		return op
	case "stream":
		if pick < 2 {
			return history.Op{Kind: history.Stream, Key: key}
		}
		id := w.value()
		if i := w.r.IntN(len(w.ops) + 1); pick == 9 && i < len(w.ops) && w.ops[i].Kind == history.Append {
			return history.Op{Kind: history.Append, Key: w.ops[i].Key, Arg: w.ops[i].Arg} // a retry
		}
		return history.Op{Kind: history.Append, Key: key, Arg: id}
	case "set":
		if pick < 3 {
			return history.Op{Kind: history.Set, Key: key}
		}
		return history.Op{Kind: history.Add, Key: key, Arg: w.value()}
	case "counter":
		if pick < 3 {
			return history.Op{Kind: history.Count, Key: key}
		}
		return history.Op{Kind: history.Incr, Key: key, Arg: strconv.Itoa(1 + w.r.IntN(5))}
	case "bank":
		op := history.Op{Kind: history.Txn}
		if pick < 4 {
			return wholeBank()
		}
		from := w.r.IntN(accounts)
		to := (from + 1 + w.r.IntN(accounts-1)) % accounts
		n := 1 + w.r.IntN(60)
		op.Txn = []history.Mop{{Part: history.PartIncr, Key: account(from), Value: strconv.Itoa(-n)},
			{Part: history.PartIncr, Key: account(to), Value: strconv.Itoa(n)}}
		return op
	case "fork": // keys that are written once or twice, and read together
		g := len(w.ops) / 40
		x, y := fmt.Sprintf("x%d", g), fmt.Sprintf("y%d", g)
		if pick < 3 {
			return history.Op{Kind: history.Write, Key: []string{x, y}[w.r.IntN(2)], Arg: w.value()}
		}
		return history.Op{Kind: history.Txn, Txn: []history.Mop{{Part: history.PartRead, Key: x},
			{Part: history.PartRead, Key: y}}}
	}
	if kind == "skew" { // reads one key and writes the other
		x := w.r.IntN(2)
		return history.Op{Kind: history.Txn, Txn: []history.Mop{
			{Part: history.PartRead, Key: fmt.Sprintf("skew%d", x)},
			{Part: history.PartWrite, Key: fmt.Sprintf("skew%d", 1-x), Value: w.value()}}}
	}
	panic("unknown kind " + kind)
}

func wholeBank() history.Op {
	op := history.Op{Kind: history.Txn}
	for i := range accounts {
		op.Txn = append(op.Txn, history.Mop{Part: history.PartRead, Key: account(i)})
	}
	return op
}

func (w *world) final() (out []history.Op) {
	seen := map[string]bool{}
	for _, o := range w.ops {
		kind := map[history.Kind]history.Kind{history.Append: history.Stream, history.Add: history.Set,
			history.Incr: history.Count, history.Write: history.Read, history.CAS: history.Read}[o.Kind]
		if id := o.Tenant + string(kind) + o.Key; kind != "" && !seen[id] {
			seen[id] = true
			out = append(out, history.Op{Kind: kind, Key: o.Key, Tenant: o.Tenant})
		}
	}
	if slices.Contains(w.kinds, "bank") {
		out = append(out, wholeBank())
	}
	return out
}

// do carries one operation out and lets its client go on.
func (w *world) do(op history.Op, goOn bool) {
	op.Invoke = w.now
	writes := slices.Contains([]history.Kind{history.Write, history.CAS, history.Append, history.Add, history.Incr,
		history.Txn}, op.Kind)
	fate := history.OK
	if writes && w.infos > 0 {
		switch w.r.IntN(w.infos) {
		case 0:
			fate = history.Info
		case 1:
			fate = history.Fail
		}
	}
	end := func(t history.Type) {
		op.Type = t
		w.after(1+w.r.Int64N(10), func() {
			op.Return = w.now
			w.ops = append(w.ops, op)
			next := op.Client
			if op.Type == history.Info {
				next += 1000
			}
			if goOn {
				w.think(next)
			}
		})
	}
	seen := w.look(&op)
	lost := fate != history.OK
	if lost {
		shown := op // what the client knows
		effect := fate == history.Info && w.r.IntN(2) == 0
		shown.Type = fate
		op = shown
		end(fate)
		if effect {
			w.after(w.r.Int64N(60), func() { late := op; w.commit(&late, seen) })
		}
		return
	}
	w.after(1+w.r.Int64N(10), func() { end(w.commit(&op, seen)) })
}

func (w *world) at(tenant, key string) string { return tenant + "/" + key }

func newest(v []check.DumpVersion) check.DumpVersion {
	if len(v) == 0 {
		return check.DumpVersion{}
	}
	return v[len(v)-1]
}

// look reads what a conditional operation depends on.
func (w *world) look(op *history.Op) map[string]check.DumpVersion {
	seen := map[string]check.DumpVersion{}
	switch op.Kind {
	case history.CAS, history.Incr:
		v := newest(w.kv[w.at(op.Tenant, op.Key)])
		seen[op.Key] = v
		op.Base = v.Version
		if op.Kind == history.CAS {
			op.Expect = v.Value
		}
	case history.Txn:
		op.At = w.tick()
		for i := range op.Txn {
			m := &op.Txn[i]
			v := newest(w.kv[w.at(op.Tenant, m.Key)])
			seen[m.Key], m.Version = v, v.Version
			switch m.Part {
			case history.PartRead:
				m.Result = v.Value
			case history.PartIncr:
				m.Result = strconv.Itoa(number(v.Value) + number(m.Value))
			}
		}
	}
	return seen
}

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

func (w *world) tick() uint64 {
	w.ts += 1 + w.r.Uint64N(3)
	return w.ts
}

func (w *world) put(tenant, key, value string) uint64 {
	v := w.tick()
	w.kv[w.at(tenant, key)] = append(w.kv[w.at(tenant, key)], check.DumpVersion{Version: v, Value: value})
	return v
}

// commit is the moment of the operation's effect.
func (w *world) commit(op *history.Op, seen map[string]check.DumpVersion) history.Type {
	unchanged := true
	for key, v := range seen {
		unchanged = unchanged && newest(w.kv[w.at(op.Tenant, key)]).Version == v.Version
	}
	at := w.at(op.Tenant, op.Key)
	switch op.Kind {
	case history.Read, history.Count:
		v := newest(w.kv[at])
		op.Result, op.Version = v.Value, v.Version
	case history.Write:
		op.Version = w.put(op.Tenant, op.Key, op.Arg)
	case history.CAS:
		op.Result = "false"
		if unchanged {
			op.Result, op.Version = "true", w.put(op.Tenant, op.Key, op.Arg)
		}
	case history.Append:
		i := slices.IndexFunc(w.stream[at], func(r check.DumpVersion) bool { return r.Value == op.Arg })
		if i < 0 {
			i = len(w.stream[at])
			w.stream[at] = append(w.stream[at], check.DumpVersion{Version: w.tick(), Value: op.Arg})
		}
		op.Result, op.Version = strconv.Itoa(i+1), w.stream[at][i].Version
	case history.Stream:
		for _, r := range w.stream[at] {
			op.List = append(op.List, r.Value)
		}
	case history.Add:
		op.Version = w.put(op.Tenant, op.Key+"/"+op.Arg, op.Arg)
	case history.Set:
		op.At = w.tick()
		for _, k := range slices.Sorted(maps.Keys(w.kv)) {
			if strings.HasPrefix(k, at+"/") {
				op.List = append(op.List, newest(w.kv[k]).Value)
			}
		}
	case history.Incr:
		if !unchanged {
			return history.Fail
		}
		op.Result = strconv.Itoa(number(seen[op.Key].Value) + number(op.Arg))
		op.Version = w.put(op.Tenant, op.Key, op.Result)
	case history.Txn:
		return w.commitTxn(op, unchanged)
	}
	return history.OK
}

func (w *world) commitTxn(op *history.Op, unchanged bool) history.Type {
	writes := map[string]string{}
	for _, m := range op.Txn {
		if m.Part == history.PartIncr {
			writes[m.Key] = m.Result
			unchanged = unchanged && !strings.HasPrefix(m.Result, "-")
		} else if m.Part == history.PartWrite {
			writes[m.Key] = m.Value
		}
	}
	if len(writes) == 0 {
		return history.OK
	}
	if !unchanged {
		return history.Fail
	}
	op.Version = w.tick()
	for _, k := range slices.Sorted(maps.Keys(writes)) {
		at := w.at(op.Tenant, k)
		w.kv[at] = append(w.kv[at], check.DumpVersion{Version: op.Version, Value: writes[k]})
	}
	return history.OK
}

// dump is all that the store holds at the end.
func (w *world) dump() check.Dump {
	var d check.Dump
	for _, k := range slices.Sorted(maps.Keys(w.kv)) {
		tenant, key, _ := strings.Cut(k, "/")
		d.Keys = append(d.Keys, check.DumpKey{Tenant: tenant, Key: key, Versions: w.kv[k]})
	}
	for _, k := range slices.Sorted(maps.Keys(w.stream)) {
		tenant, key, _ := strings.Cut(k, "/")
		d.Streams = append(d.Streams, check.DumpKey{Tenant: tenant, Key: key, Versions: w.stream[k]})
	}
	return d
}
