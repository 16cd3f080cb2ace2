package check

import (
	"slices"

	"github.com/vipkv/vipkv/chaos/history"
)

// NewMonotonic checks that no client sees a key go back: after a version was seen or written, nothing older is seen.
// Where the history has no versions, the order of writes that did not overlap is taken, so values must be unique there.
// It also holds for whole streams, which only grow.
//
// Anomalies: went-back, not-own-write (older than what the client itself had written).
func NewMonotonic() Checker {
	return checker{"monotonic", func(ops []history.Op, f *findings) {
		m := monotonic{map[space][]keyWrite{}, map[space]ranks{}, map[session]*sight{}, f}
		var order []*history.Op
		for i := range ops {
			o := &ops[i]
			for _, w := range writesOf(o) {
				m.writes[w.key] = append(m.writes[w.key], w)
			}
			if o.Type == history.OK {
				order = append(order, o)
			}
		}
		for _, o := range byTime(order, invokedAt) {
			m.step(o)
		}
		checkGrowth(ops, f)
	}}
}

// session is one client's view of one key.
type session struct {
	client int
	key    space
}

type monotonic struct {
	writes map[space][]keyWrite
	ranks  map[space]ranks
	newest map[session]*sight // that the client saw or wrote
	f      *findings
}

func (m *monotonic) step(o *history.Op) {
	sights, writes := sightsOf(o), writesOf(o)
	if len(sights)+len(writes) == 0 {
		return
	}
	m.f.saw(o)
	for i := range sights {
		m.see(&sights[i], false)
	}
	for _, w := range writes {
		m.see(&sight{w.key, w.value, w.version, w.version != 0, w.value != "", o}, true)
	}
}

func (m *monotonic) see(s *sight, own bool) {
	at := session{s.op.Client, s.key}
	had := m.newest[at]
	if had != nil && had.op.Return >= s.op.Invoke && had.op != s.op {
		return // one client, two operations at once: nothing is promised
	}
	r, ok := m.ranks[s.key]
	if !ok {
		r = ranksOf(m.writes[s.key])
		m.ranks[s.key] = r
	}
	switch {
	case had == nil || own || r.older(had, s):
		m.newest[at] = s
	case r.older(s, had):
		name, what := "went-back", "what the client had seen"
		if slices.ContainsFunc(writesOf(had.op), func(w keyWrite) bool { return w.key == s.key }) {
			name, what = "not-own-write", "what the client had written"
		}
		m.f.found(name, because(had.op, s.op),
			"%s: a client saw something older than %s", s.key, what)
	}
}

// checkGrowth: what one client reads of a stream does not become shorter.
func checkGrowth(ops []history.Op, f *findings) {
	longest := map[session]*history.Op{}
	var order []*history.Op
	for i := range ops {
		if ops[i].Kind == history.Stream && ops[i].Type == history.OK {
			order = append(order, &ops[i])
		}
	}
	for _, o := range byTime(order, invokedAt) {
		f.saw(o)
		at := session{o.Client, spaceOf(o)}
		had := longest[at]
		switch {
		case had == nil || len(o.List) > len(had.List):
			longest[at] = o
		case len(o.List) < len(had.List) && had.Return < o.Invoke:
			f.found("went-back", because(had, o),
				"Stream %s: a client saw fewer records than before", at.key)
		}
	}
}
