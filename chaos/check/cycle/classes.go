package cycle

import (
	"fmt"
	"slices"
	"strings"
)

// class is one kind of cycle.
type class struct {
	name  string
	kinds kind // of its edges
	first kind // one edge must be of these
	rest  kind // and all others of these
	apart bool // no rw directly after another
}

// classes are in the order from worst to mildest.
func classes() []class {
	return []class{
		{"G0", ww, ww, ww, false},
		{"G1c", ww | wr, wr, ww | wr, false},
		{"G-single", data, rw, data &^ rw, true},
		{"G-nonadjacent", data, data, data, true},
		{"G2-item", data, data, data, false},
	}
}

// cycles finds the cycles that the level forbids.
func (c checker) cycles(h *transactions, f *findings) {
	kinds := data
	if c.o.Level == StrictSerializable {
		kinds |= process | realtime
	}
	s := &sweep{h: h, f: f, g: h.graph(kinds), effort: c.o.Effort, each: c.o.Each}
	whole := view{g: s.g, kinds: kinds, apart: c.o.Level == SnapshotIsolation}
	sets, _ := whole.components()
	if len(sets) > 0 {
		s.in = make([]bool, s.g.nodes)
		for _, set := range sets {
			for _, state := range set {
				s.in[state/2] = true
			}
		}
		s.search = newSearch(s.g)
	}
	for _, when := range []kind{0, process, process | realtime} {
		if when&^kinds != 0 {
			break
		}
		for _, k := range classes() {
			if when == 0 && k.name == "G-single" {
				h.lostUpdates(f)
			}
			if c.o.Level == SnapshotIsolation && k.name == "G2-item" || len(sets) == 0 {
				continue
			}
			s.class(k, when)
		}
	}
}

// sweep looks for the cycles of one class after another.
type sweep struct {
	h      *transactions
	f      *findings
	g      *graph
	in     []bool
	search *search
	effort int
	each   int
}

// class tells one cycle of each component that has none of a worse class. when are the kinds of edges of time.
func (s *sweep) class(k class, when kind) {
	v := &view{g: s.g, kinds: k.kinds | when, apart: k.apart, in: s.in}
	sets, of := v.components()
	skip := make([]bool, len(sets))
	for _, c := range s.f.covered {
		for side := range int32(2) {
			if at := of[2*c[0]+side]; at >= 0 && within(c, of, at) {
				skip[at] = true
			}
		}
	}
	rest := *v
	rest.kinds = k.rest | when
	first := k.first
	if first == data {
		first |= when
	}
	found := 0
	for i, set := range sets {
		if skip[i] {
			continue
		}
		if found > s.each {
			s.f.covered = append(s.f.covered, s.some(set))
			continue
		}
		cycle := s.search.shortest(&rest, set, of, first, s.effort)
		if cycle == nil {
			continue
		}
		found++
		cycle = s.h.turn(cycle)
		txns := make([]int32, len(cycle))
		for j := range cycle {
			txns[j] = cycle[j].from
		}
		s.f.covered = append(s.f.covered, txns)
		s.f.add(name(cycle), txns, func() string { return s.h.tell(cycle) })
	}
}

// within says whether all of some transactions are in one component.
func within(txns, of []int32, at int32) bool {
	for _, t := range txns {
		if of[2*t] != at && of[2*t+1] != at {
			return false
		}
	}
	return true
}

// some are two transactions of a component.
func (s *sweep) some(set []int32) []int32 {
	var out []int32
	for _, state := range set {
		if t := state / 2; t < s.g.txns && (len(out) == 0 || out[0] != t) {
			if out = append(out, t); len(out) == 2 {
				break
			}
		}
	}
	return out
}

// name is what a cycle is called.
func name(cycle []hop) string {
	var all kind
	reads, row := 0, false
	for i, e := range cycle {
		all |= e.kind
		if e.kind == rw {
			reads++
			row = row || cycle[(i+1)%len(cycle)].kind == rw
		}
	}
	out := "G2-item"
	switch {
	case reads == 0 && all&wr == 0:
		out = "G0"
	case reads == 0:
		out = "G1c"
	case reads == 1:
		out = "G-single"
	case !row:
		out = "G-nonadjacent"
	}
	switch {
	case all&realtime != 0:
		out += "-realtime"
	case all&process != 0:
		out += "-process"
	}
	return out
}

// turn makes a cycle begin with the transaction that was called first.
func (h *transactions) turn(cycle []hop) []hop {
	first := 0
	for i := range cycle {
		if h.txns[cycle[i].from].op.Invoke < h.txns[cycle[first].from].op.Invoke {
			first = i
		}
	}
	return slices.Concat(cycle[first:], cycle[:first])
}

// tell puts a cycle in words: who is in it, why each comes before the next.
func (h *transactions) tell(cycle []hop) string {
	var b strings.Builder
	number := map[int32]int{}
	keys := map[int32]bool{}
	var order []int32
	for _, e := range cycle {
		if number[e.from] == 0 {
			order = append(order, e.from)
			number[e.from] = len(order)
		}
		if e.kind&data != 0 {
			keys[e.key] = true
		}
	}
	for i, t := range order {
		b.WriteString(h.describe(i+1, t, keys))
	}
	for _, e := range cycle {
		fmt.Fprintf(&b, "%s, so T%d comes before T%d.\n",
			h.reason(e, number), number[e.from], number[e.to])
	}
	fmt.Fprintf(&b, "That is a cycle: no order of these transactions explains what was seen.")
	return b.String()
}
