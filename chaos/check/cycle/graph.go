package cycle

import (
	"cmp"
	"slices"

	"github.com/vipkv/vipkv/chaos/history"
)

// kind is why the end of an edge comes after its beginning. Values are bits of a set.
type kind uint8

const (
	ww   kind = 1 << iota
	tail      // ww to an append that no read shows
	wr
	rw
	process
	realtime
	pass // goes on from a node that is no transaction; its reason is that of the edge into it
)

const data = ww | tail | wr | rw

// edge is one demand. Nodes below graph.txns are transactions.
type edge struct {
	to   int32
	key  int32 // of data: the list
	at   int32 // of data: the place in versions of the later append; len(versions): not there
	kind kind
}

// graph is what must come before what. Its size is linear in that of the history: where many stand before many there
// are nodes in between.
type graph struct {
	txns  int32
	nodes int32
	start []int32 // the edges from n are edges[start[n]:start[n+1]]
	edges []edge
}

func (g *graph) from(n int32) []edge { return g.edges[g.start[n]:g.start[n+1]] }

type builder struct {
	nodes int32
	from  []int32
	edges []edge
}

func (b *builder) node() int32 {
	b.nodes++
	return b.nodes - 1
}

func (b *builder) edge(from int32, e edge) {
	if from != e.to {
		b.from, b.edges = append(b.from, from), append(b.edges, e)
	}
}

// graph builds the demands of a history, of the given kinds.
func (h *transactions) graph(kinds kind) *graph {
	b := &builder{nodes: int32(len(h.txns))}
	for k := range h.keys {
		h.dependencies(b, int32(k))
	}
	if kinds&process != 0 {
		h.sessions(b)
	}
	if kinds&realtime != 0 {
		h.clock(b)
	}
	g := &graph{txns: int32(len(h.txns)), nodes: b.nodes, start: make([]int32, b.nodes+1),
		edges: make([]edge, len(b.edges))}
	for _, n := range b.from {
		g.start[n+1]++
	}
	for n := range b.nodes {
		g.start[n+1] += g.start[n]
	}
	next := slices.Clone(g.start)
	for i, n := range b.from {
		g.edges[next[n]] = b.edges[i]
		next[n]++
	}
	return g
}

// dependencies adds the edges of one list.
func (h *transactions) dependencies(b *builder, key int32) {
	l := h.keys[key]
	n := int32(len(l.versions))
	previous := int32(-1)
	for i := range n {
		if l.before[i] != i {
			continue
		}
		if previous >= 0 {
			b.edge(l.writer(previous), edge{l.writer(i), key, i, ww})
		}
		previous = i
	}
	end := ending{b: b, l: l, key: key}
	if last := l.last(); last >= 0 {
		end.follow(l.writer(last), tail)
	}
	for i := range l.reads {
		r := &l.reads[i]
		if r.bad || !r.first {
			continue
		}
		out := int32(h.outside(r))
		if out > 0 && l.before[out-1] >= 0 {
			at := l.before[out-1]
			b.edge(l.writer(at), edge{r.txn, key, at, wr})
		}
		if out < n && l.after[out] < n {
			b.edge(r.txn, edge{l.writer(l.after[out]), key, l.after[out], rw})
			continue
		}
		end.follow(r.txn, rw)
	}
}

// ending stands for the transactions with appends that no read shows: all of them come after what was shown, in an
// order that nobody knows.
type ending struct {
	b   *builder
	l   *list
	key int32
	// up[i] leads to the transactions 0..i of unshown, down[i] to those from i on.
	up, down []int32
}

func (e *ending) build() {
	for i, t := range e.l.unshown {
		e.up, e.down = append(e.up, e.b.node()), append(e.down, e.b.node())
		e.b.edge(e.up[i], edge{to: t, kind: pass})
		e.b.edge(e.down[i], edge{to: t, kind: pass})
		if i > 0 {
			e.b.edge(e.up[i], edge{to: e.up[i-1], kind: pass})
			e.b.edge(e.down[i-1], edge{to: e.down[i], kind: pass})
		}
	}
}

// follow puts all of them, but for itself, after a transaction.
func (e *ending) follow(t int32, k kind) {
	n := len(e.l.unshown)
	if n == 0 {
		return
	}
	if e.up == nil {
		e.build()
	}
	at := int32(len(e.l.versions))
	i, self := slices.BinarySearch(e.l.unshown, t)
	switch {
	case !self:
		e.b.edge(t, edge{e.down[0], e.key, at, k})
	default:
		if i > 0 {
			e.b.edge(t, edge{e.up[i-1], e.key, at, k})
		}
		if i+1 < n {
			e.b.edge(t, edge{e.down[i+1], e.key, at, k})
		}
	}
}

// byInvoke are the committed transactions in the order of their calls.
func (h *transactions) byInvoke() []int32 {
	var ids []int32
	for t := range h.txns {
		if h.txns[t].committed {
			ids = append(ids, int32(t))
		}
	}
	slices.SortStableFunc(ids, func(a, b int32) int {
		return cmp.Compare(h.txns[a].op.Invoke, h.txns[b].op.Invoke)
	})
	return ids
}

// sessions puts the transactions of one client in their order. What has an unknown outcome precedes nothing: it may
// still take place later.
func (h *transactions) sessions(b *builder) {
	last := map[int]int32{}
	for _, t := range h.byInvoke() {
		op := h.txns[t].op
		if before, ok := last[op.Client]; ok && h.txns[before].op.Return <= op.Invoke {
			b.edge(before, edge{to: t, kind: process})
		}
		if op.Type == history.OK {
			last[op.Client] = t
		}
	}
}

// clock puts every transaction before those that were called after it had returned: through a chain of nodes, one for
// each return.
func (h *transactions) clock(b *builder) {
	calls := h.byInvoke()
	var returns []int32
	for _, t := range calls {
		if h.txns[t].ok() {
			returns = append(returns, t)
		}
	}
	slices.SortStableFunc(returns, func(x, y int32) int {
		return cmp.Compare(h.txns[x].op.Return, h.txns[y].op.Return)
	})
	chain, n := int32(-1), 0
	for _, t := range calls {
		for n < len(returns) && h.txns[returns[n]].op.Return < h.txns[t].op.Invoke {
			next := b.node()
			b.edge(returns[n], edge{to: next, kind: realtime})
			if chain >= 0 {
				b.edge(chain, edge{to: next, kind: pass})
			}
			chain = next
			n++
		}
		if chain >= 0 {
			b.edge(chain, edge{to: t, kind: pass})
		}
	}
}
