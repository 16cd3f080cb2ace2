package check

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/vipkv/vipkv/chaos/history"
)

// keyWrite is what one operation writes to one key.
type keyWrite struct {
	key     space
	value   string // "" when it is not known
	version uint64 // 0: not known
	op      *history.Op
}

// sight is what one operation saw of one key, before it wrote there itself.
type sight struct {
	key     space
	value   string
	version uint64 // 0: nothing was there, when known
	known   bool   // version says what was seen, also that nothing was there
	valued  bool   // value says what was seen
	op      *history.Op
}

// writesOf lists what o writes, or would have written, to keys; the elements of a set are keys of their own.
func writesOf(o *history.Op) []keyWrite {
	w := keyWrite{key: spaceOf(o), value: o.Arg, version: o.Version, op: o}
	switch o.Kind {
	case history.Write, history.Touch:
		return []keyWrite{w}
	case history.Advance:
		if !o.Writes() || o.Type == history.OK && o.Result == o.Expect {
			return nil // it was there already
		}
		return []keyWrite{w}
	case history.CAS:
		if o.Type == history.OK && o.Result != "true" {
			return nil
		}
		return []keyWrite{w}
	case history.Add:
		w.key = elementKey(o.Tenant, o.Key, o.Arg)
		return []keyWrite{w}
	case history.Incr:
		w.value = o.Result
		return []keyWrite{w}
	case history.Txn:
		return txnWrites(o)
	}
	return nil
}

// elementKey is the key of a set's element.
func elementKey(tenant, set, element string) space { return space{tenant, set + "/" + element} }

// txnWrites is the last thing that a transaction leaves in each key, in the order of its steps.
func txnWrites(o *history.Op) []keyWrite {
	var out []keyWrite
	for i := range o.Txn {
		m := &o.Txn[i]
		if m.Part == history.PartRead {
			continue
		}
		w := keyWrite{key: space{o.Tenant, m.Key}, version: o.Version, op: o}
		switch m.Part {
		case history.PartWrite:
			w.value = m.Value
		case history.PartIncr:
			w.value = m.Result
		}
		if at := slices.IndexFunc(out, func(h keyWrite) bool { return h.key == w.key }); at >= 0 {
			out[at] = w
		} else {
			out = append(out, w)
		}
	}
	return out
}

// sightsOf lists what o saw of keys, when it succeeded.
func sightsOf(o *history.Op) []sight {
	if o.Type != history.OK {
		return nil
	}
	s := sight{key: spaceOf(o), value: o.Result, version: o.Version, op: o}
	switch o.Kind {
	case history.Read, history.Count:
		s.valued, s.known = true, s.version != 0 || s.value == ""
		return []sight{s}
	case history.CAS:
		s.value, s.version, s.valued = o.Expect, o.Base, true
		s.known = s.version != 0 || s.value == "" && o.Version != 0
		if o.Result != "true" {
			return nil // it failed because something else was there
		}
		return []sight{s}
	case history.Incr:
		s.version, s.value, s.valued = o.Base, sumBefore(o), true
		s.known = s.version != 0 || s.value == "0" && o.Version != 0
		if s.value == "0" && s.version == 0 {
			s.value = ""
		}
		return []sight{s}
	case history.Advance:
		s.version, s.value, s.valued = o.Base, o.Expect, true
		if s.value == "0" {
			s.value = ""
		}
		s.known = s.version != 0 || s.value == ""
		return []sight{s}
	case history.Peek: // nothing may also mean that its time was over
		s.valued, s.known = true, s.version != 0
		if s.known {
			return []sight{s}
		}
	case history.Txn:
		return txnSights(o)
	}
	return nil
}

// sumBefore is the sum that an addition found.
func sumBefore(o *history.Op) string {
	sum, err1 := strconv.ParseInt(o.Result, 10, 64)
	amount, err2 := strconv.ParseInt(o.Arg, 10, 64)
	if err1 != nil || err2 != nil {
		return ""
	}
	return strconv.FormatInt(sum-amount, 10)
}

// txnSights is what a transaction saw of each key first.
func txnSights(o *history.Op) []sight {
	var out []sight
	seen := map[string]bool{}
	for i := range o.Txn {
		m := &o.Txn[i]
		if seen[m.Key] {
			continue
		}
		seen[m.Key] = true
		s := sight{key: space{o.Tenant, m.Key}, version: m.Version, op: o}
		if m.Part == history.PartRead {
			s.value, s.valued = m.Result, true
		}
		s.known = m.Version != 0 || o.At != 0 || s.valued && s.value == ""
		out = append(out, s)
	}
	return out
}

// ranks order the values of one key as far as it is certain. A version decides; without one, a value decides that was
// written once and when no write of the key ran at the same time as its own.
type ranks struct {
	byValue map[string]*keyWrite
	twice   map[string]bool
	unsure  bool // somebody wrote a value that nobody knows
}

func ranksOf(writes []keyWrite) ranks {
	r := ranks{byValue: map[string]*keyWrite{}, twice: map[string]bool{}}
	for i := range writes {
		w := &writes[i]
		if w.op.Type == history.Fail {
			continue
		}
		if w.value == "" {
			r.unsure = true
			continue
		}
		if r.byValue[w.value] != nil {
			r.twice[w.value] = true
		}
		r.byValue[w.value] = w
	}
	return r
}

// older says whether a certainly was replaced by b.
func (r *ranks) older(a, b *sight) bool {
	if a.known && b.known {
		return a.version < b.version
	}
	if !a.valued || !b.valued || a.value == b.value || b.value == "" {
		return false
	}
	if a.value == "" {
		return true
	}
	if r.unsure || r.twice[a.value] || r.twice[b.value] {
		return false
	}
	wa, wb := r.byValue[a.value], r.byValue[b.value]
	return wa != nil && wb != nil && before(wa.op, wb.op)
}

// byTime sorts operations by a time of theirs; what is open ends last.
func byTime(ops []*history.Op, at func(*history.Op) int64) []*history.Op {
	return slices.SortedStableFunc(slices.Values(ops), func(a, b *history.Op) int {
		return cmp.Compare(at(a), at(b))
	})
}

func invokedAt(o *history.Op) int64 { return o.Invoke }

func endedAt(o *history.Op) int64 {
	if o.Type != history.OK {
		return math.MaxInt64
	}
	return o.Return
}
