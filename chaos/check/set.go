package check

import (
	"github.com/vipkv/vipkv/chaos/history"
)

// NewSets checks sets of unique elements: acknowledged elements are there for ever, refused ones never, and what was
// seen once is seen by every later read. Each set needs a final read, as for NewStreams.
//
// Anomalies: lost-element, duplicate-element, refused-element, phantom-element, future-element, stale-read.
func NewSets() Checker {
	return checker{"sets", func(ops []history.Op, f *findings) {
		sets := group(ops, f, history.Add, history.Set)
		for _, name := range sorted(sets) {
			s := newElements(sets[name], history.Add)
			for _, r := range s.reads {
				s.checkSetRead(name, r, f)
			}
			s.checkSeen(name, f)
			s.checkFinal(name, f)
		}
	}}
}

// Sets is NewSets for callers that want an error. No set is a pass.
func Sets(ops []history.Op) error { return passWhenEmpty(NewSets().Check(ops)) }

func (s *elements) checkSetRead(name space, r *history.Op, f *findings) {
	at := map[string]int{}
	for i, id := range r.List {
		if at[id] != 0 {
			f.found("duplicate-element", because(firstOf(s.byID[id]), r),
				"Set %s: %s is there twice", name, id)
			continue
		}
		at[id] = i + 1
		s.checkPresent(name, r, id, f)
	}
	s.checkMissing(name, r, at, f)
}

// checkSeen: an element of unknown outcome that one read saw, every read that begins later sees.
func (s *elements) checkSeen(name space, f *findings) {
	firstSeen := map[string]*history.Op{} // the read that saw it and ended first
	for _, r := range s.reads {
		for _, id := range r.List {
			if e := firstSeen[id]; e == nil || r.Return < e.Return {
				firstSeen[id] = r
			}
		}
	}
	for _, r := range s.reads {
		in := map[string]bool{}
		for _, id := range r.List {
			in[id] = true
		}
		for _, e := range s.all {
			seen := firstSeen[e.id]
			if seen != nil && seen.Return < r.Invoke && !in[e.id] && e.end() >= r.Invoke {
				f.found("lost-element", because(e.first, seen, r),
					"Set %s: %s was seen, and then not", name, e.id)
				break
			}
		}
	}
}
