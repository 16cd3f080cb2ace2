package check

import (
	"cmp"
	"slices"

	"github.com/vipkv/vipkv/chaos/history"
)

// NewCausalReverse checks that who sees a write also sees all that had been acknowledged before that write began: in
// reads of several keys at one moment (transactions that read), and in reads of sets.
//
// Anomaly: causal-reverse.
func NewCausalReverse() Checker {
	return checker{"causal-reverse", func(ops []history.Op, f *findings) {
		c := causal{map[space]*keyHistory{}, map[space][]*history.Op{}, f}
		for i := range ops {
			o := &ops[i]
			if o.Type == history.Fail {
				continue
			}
			if o.Kind == history.Add {
				c.adds[spaceOf(o)] = append(c.adds[spaceOf(o)], o)
			}
			for _, w := range writesOf(o) {
				if c.keys[w.key] == nil {
					c.keys[w.key] = &keyHistory{byValue: map[string]*keyWrite{}}
				}
				c.keys[w.key].add(w)
			}
		}
		for _, k := range c.keys {
			k.sort()
		}
		for i := range ops {
			o := &ops[i]
			switch {
			case o.Type != history.OK:
			case o.Kind == history.Txn && len(txnSights(o)) > 1:
				c.checkTxn(o)
			case o.Kind == history.Set:
				c.checkSet(o)
			}
		}
	}}
}

type causal struct {
	keys map[space]*keyHistory
	adds map[space][]*history.Op
	f    *findings
}

// keyHistory is the writes of one key: those with versions in their order, each with the acknowledgement that came
// first among itself and all later ones.
type keyHistory struct {
	all      []keyWrite
	versions []keyWrite
	earliest []*history.Op
	byValue  map[string]*keyWrite // nil: written twice
	unsure   bool                 // somebody wrote a value that nobody knows
}

func (k *keyHistory) add(w keyWrite) {
	k.all = append(k.all, w)
	k.unsure = k.unsure || w.value == ""
	if _, twice := k.byValue[w.value]; twice {
		k.byValue[w.value] = nil
	} else {
		k.byValue[w.value] = &w
	}
	if w.version != 0 && w.op.Type == history.OK {
		k.versions = append(k.versions, w)
	}
}

func (k *keyHistory) sort() {
	slices.SortStableFunc(k.versions, compareVersions)
	k.earliest = make([]*history.Op, len(k.versions))
	var first *history.Op
	for i := len(k.versions) - 1; i >= 0; i-- {
		if o := k.versions[i].op; first == nil || o.Return < first.Return {
			first = o
		}
		k.earliest[i] = first
	}
}

// missing is the write that was acknowledged first of those that s, having seen an older state, did not see.
func (k *keyHistory) missing(s *sight) *history.Op {
	if s.known && len(k.versions) > 0 {
		i, _ := slices.BinarySearchFunc(k.versions, s.version+1, func(w keyWrite, v uint64) int {
			return compareVersions(w, keyWrite{version: v})
		})
		if i < len(k.earliest) {
			return k.earliest[i]
		}
		return nil
	}
	if !s.valued || s.value != "" {
		return nil // without versions nobody knows what is older than a value
	}
	var first *history.Op
	for i := range k.all {
		if o := k.all[i].op; o.Type == history.OK && (first == nil || o.Return < first.Return) {
			first = o
		}
	}
	return first
}

// writer is the operation that wrote what s saw.
func (k *keyHistory) writer(s *sight) *history.Op {
	if s.known && s.version != 0 {
		i, ok := slices.BinarySearchFunc(k.versions, s.version, func(w keyWrite, v uint64) int {
			return compareVersions(w, keyWrite{version: v})
		})
		if ok {
			return k.versions[i].op
		}
	}
	if w := k.byValue[s.value]; s.valued && s.value != "" && !k.unsure && w != nil {
		return w.op
	}
	return nil
}

func (c *causal) checkTxn(o *history.Op) {
	var lastSeen, firstMissing *history.Op
	for _, s := range txnSights(o) {
		k := c.keys[s.key]
		if k == nil {
			continue
		}
		if w := k.writer(&s); w != nil && w != o && (lastSeen == nil || w.Invoke > lastSeen.Invoke) {
			lastSeen = w
		}
		m := k.missing(&s)
		if m != nil && m != o && (firstMissing == nil || m.Return < firstMissing.Return) {
			firstMissing = m
		}
	}
	c.f.saw(o)
	c.judge(firstMissing, lastSeen, o)
}

func (c *causal) checkSet(o *history.Op) {
	in := map[string]bool{}
	for _, id := range o.List {
		in[id] = true
	}
	var lastSeen, firstMissing *history.Op
	for _, a := range c.adds[spaceOf(o)] {
		if in[a.Arg] {
			if lastSeen == nil || a.Invoke > lastSeen.Invoke {
				lastSeen = a
			}
		} else if a.Type == history.OK && (firstMissing == nil || a.Return < firstMissing.Return) {
			firstMissing = a
		}
	}
	c.f.saw(o)
	c.judge(firstMissing, lastSeen, o)
}

func (c *causal) judge(missing, seen, read *history.Op) {
	if missing != nil && seen != nil && missing != seen && before(missing, seen) {
		c.f.found("causal-reverse", because(missing, seen, read),
			"A read saw a write, and not one that had been acknowledged %d ns before that began",
			seen.Invoke-missing.Return)
	}
}

func compareVersions(a, b keyWrite) int { return cmp.Compare(a.version, b.version) }
