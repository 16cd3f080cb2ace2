package cycle

import "slices"

// A walk does not put one rw directly after another when view.apart is set. So the state of a walk is a node and
// whether it was reached by rw: 2*node, or 2*node+1. Without apart the second ones are not used.
type view struct {
	g     *graph
	kinds kind
	apart bool
	in    []bool // the nodes that are worth a look; nil: all
}

// step is the state after an edge.
func (v *view) step(s int32, e *edge) (int32, bool) {
	if e.kind&(v.kinds|pass) == 0 || v.in != nil && !v.in[e.to] {
		return 0, false
	}
	switch {
	case !v.apart:
		return 2 * e.to, true
	case e.kind == pass:
		return 2*e.to + s&1, true
	case e.kind == rw:
		return 2*e.to + 1, s&1 == 0
	}
	return 2 * e.to, true
}

// components finds the sets of states of which each leads to each other, those of one state left out. of[s] is the set
// of a state, or -1.
func (v *view) components() (sets [][]int32, of []int32) {
	n := 2 * v.g.nodes
	t := &tarjan{v: v, number: make([]int32, n), low: make([]int32, n), of: make([]int32, n)}
	for s := range t.of {
		t.of[s] = -1
	}
	for node := range v.g.txns {
		if (v.in == nil || v.in[node]) && t.number[2*node] == 0 {
			t.run(2 * node)
		}
	}
	return t.sets, t.of
}

// tarjan is the algorithm of that name, with a stack of its own instead of recursion.
type tarjan struct {
	v      *view
	number []int32 // from 1; 0: not visited
	low    []int32
	of     []int32
	open   []int32 // visited and in no set yet
	calls  []call
	sets   [][]int32
	last   int32
}

type call struct{ state, next int32 }

// done marks a state whose set has been found to be itself alone.
const done = -2

func (t *tarjan) enter(s int32) {
	t.last++
	t.number[s], t.low[s] = t.last, t.last
	t.open = append(t.open, s)
	t.calls = append(t.calls, call{state: s})
}

func (t *tarjan) run(root int32) {
	t.enter(root)
	for len(t.calls) > 0 {
		c := &t.calls[len(t.calls)-1]
		s := c.state
		out := t.v.g.from(s / 2)
		if int(c.next) < len(out) {
			to, ok := t.v.step(s, &out[c.next])
			c.next++
			switch {
			case !ok:
			case t.number[to] == 0:
				t.enter(to)
			case t.of[to] == -1:
				t.low[s] = min(t.low[s], t.number[to])
			}
			continue
		}
		t.calls = t.calls[:len(t.calls)-1]
		if len(t.calls) > 0 {
			up := t.calls[len(t.calls)-1].state
			t.low[up] = min(t.low[up], t.low[s])
		}
		if t.low[s] == t.number[s] {
			t.close(s)
		}
	}
}

// close takes the set of a state from the stack.
func (t *tarjan) close(s int32) {
	i := len(t.open) - 1
	for t.open[i] != s {
		i--
	}
	if i == len(t.open)-1 {
		t.of[s] = done
	} else {
		set := slices.Clone(t.open[i:])
		slices.Sort(set)
		for _, m := range set {
			t.of[m] = int32(len(t.sets))
		}
		t.sets = append(t.sets, set)
	}
	t.open = t.open[:i]
}

// hop is one edge between transactions of a cycle.
type hop struct {
	from, to int32
	key, at  int32
	kind     kind
}

// search looks for short cycles. It reuses its tables.
type search struct {
	g      *graph
	round  int32
	seen   []int32 // seen[s] == round: reached in this round
	parent []int32
	by     []int32 // the edge by which a state was reached
	now    []int32
	next   []int32
}

func newSearch(g *graph) *search {
	n := 2 * g.nodes
	return &search{g: g, seen: make([]int32, n), parent: make([]int32, n), by: make([]int32, n)}
}

// shortest finds a short cycle within one component, whose first edge is of one of the kinds first. v holds the kinds
// of all others. Effort bounds the edges that are looked at once a cycle is found, and in a component that has none.
func (s *search) shortest(v *view, set, of []int32, first kind, effort int) []hop {
	var best []hop
	limit := len(set)
	for _, root := range set {
		if root/2 >= s.g.txns || root&1 == 1 {
			continue
		}
		cycle, cost := s.cycle(v, of, root, first, limit)
		if cycle != nil {
			best, limit = cycle, len(cycle)-1
		}
		effort -= cost
		if limit < 2 || effort <= 0 {
			break
		}
	}
	return best
}

// cycle finds a shortest cycle from root, breadth first, of at most limit hops.
func (s *search) cycle(v *view, of []int32, root int32, first kind, limit int) ([]hop, int) {
	s.round++
	entry := *v
	entry.kinds = first
	cost := 0
	now, next := append(s.now[:0], root), s.next[:0]
	defer func() { s.now, s.next = now, next }()
	for hops := 0; hops < limit && len(now) > 0; hops++ {
		for i := 0; i < len(now); i++ {
			from, look := now[i], v
			if from == root {
				look = &entry
			}
			for j := s.g.start[from/2]; j < s.g.start[from/2+1]; j++ {
				cost++
				to, ok := look.step(from, &s.g.edges[j])
				if !ok || of[to] != of[root] || s.seen[to] == s.round {
					continue
				}
				s.seen[to], s.parent[to], s.by[to] = s.round, from, j
				switch {
				case to == root:
					return s.trace(root), cost
				case to/2 < s.g.txns:
					next = append(next, to)
				default:
					now = append(now, to) // it is on the way to a transaction
				}
			}
		}
		now, next = next, now[:0]
	}
	return nil, cost
}

// trace is the cycle that cycle found.
func (s *search) trace(root int32) []hop {
	var out []hop
	to := root
	for at := root; ; {
		from := s.parent[at]
		if from/2 < s.g.txns {
			e := &s.g.edges[s.by[at]]
			out = append(out, hop{from / 2, to / 2, e.key, e.at, e.kind})
			to = from
		}
		if from == root {
			slices.Reverse(out)
			return out
		}
		at = from
	}
}
