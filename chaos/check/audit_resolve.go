package check

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/vipkv/vipkv/chaos/history"
)

// checkStream: the place of a record is its number.
func (a *audit) checkStream(name space, s *audited) {
	at := map[string]int{}
	for i, r := range s.versions {
		if at[r.Value] != 0 {
			a.f.found("double-apply", because(s.writer(r.Value)),
				"Stream %s: %s is there as %d and as %d", name, r.Value, at[r.Value], i+1)
			continue
		}
		at[r.Value] = i + 1
		a.checkRecord(name, s, i)
	}
	lost := map[string]bool{}
	for _, w := range s.writes {
		if w.op.Type == history.OK && at[w.value] == 0 && !lost[w.value] {
			lost[w.value] = true
			a.f.found("lost-write", because(w.op), "Stream %s: an acknowledged record is not there", name)
		}
	}
}

func (s *audited) writer(id string) *history.Op {
	for _, w := range s.writes {
		if w.value == id {
			return w.op
		}
	}
	return nil
}

// checkRecord compares one record with all tries to append it.
func (a *audit) checkRecord(name space, s *audited, i int) {
	r, number := s.versions[i], strconv.Itoa(i+1)
	var try *history.Op
	taken := false
	for _, w := range s.writes {
		o := w.op
		if w.value != r.Value {
			continue
		}
		try = o
		taken = taken || mayHaveHappened(o)
		switch {
		case o.Type == history.Info:
			a.found[o] = &foundWrite{version: r.Version, value: number}
		case o.Type == history.OK && o.Result != number:
			a.f.found("wrong-number", because(o), "Stream %s: %s is record %s", name, r.Value, number)
		case o.Type == history.OK && o.Version != 0 && o.Version != r.Version:
			a.f.found("moved-write", because(o),
				"Stream %s: %s is there as version %d", name, r.Value, r.Version)
		}
	}
	switch {
	case try == nil:
		a.f.found("phantom-version", nil,
			"Stream %s: record %s is %q, which nobody appended", name, number, r.Value)
	case !taken:
		a.f.found("refused-write", because(try), "Stream %s: it is there as record %s", name, number)
	}
}

// resolve is the history with what was found out about writes of unknown outcome.
func (a *audit) resolve(ops []history.Op) []history.Op {
	out := slices.Clone(ops)
	latest := latestBy(ops)
	for i := range out {
		o := &out[i]
		if o.Type != history.Info || !o.Writes() {
			continue
		}
		found := a.found[&ops[i]]
		if found == nil {
			if o.TTLMs == 0 && !a.dump.NewestOnly && a.dump.SafePoint == 0 || o.Kind == history.Append {
				o.Type, o.Err = history.Fail, "it is not in the final state ("+o.Err+")"
			}
			continue
		}
		o.Type, o.Version = history.OK, found.version
		switch o.Kind {
		case history.CAS:
			o.Result = "true"
		case history.Advance:
			o.Result = o.Arg
		case history.Incr, history.Append:
			o.Result = found.value
		}
		o.Return = latest(&ops[i], found.version)
	}
	return out
}

// latestBy returns a function that tells by when a write at a version had certainly taken effect: by the end of any
// operation that saw or wrote this version or a newer one of one of its keys, else by the end of the history.
func latestBy(ops []history.Op) func(o *history.Op, version uint64) int64 {
	facts := map[space][]known{}
	end := int64(math.MinInt64)
	for i := range ops {
		o := &ops[i]
		end = max(end, o.Return)
		if o.Type != history.OK {
			continue
		}
		for _, w := range writesOf(o) {
			facts[w.key] = append(facts[w.key], known{o.Return, w.version, o})
		}
		for _, s := range sightsOf(o) {
			facts[s.key] = append(facts[s.key], known{o.Return, s.version, o})
		}
	}
	for _, list := range facts {
		slices.SortStableFunc(list, func(a, b known) int { return cmp.Compare(a.version, b.version) })
		for i := len(list) - 2; i >= 0; i-- {
			list[i].at = min(list[i].at, list[i+1].at)
		}
	}
	return func(o *history.Op, version uint64) int64 {
		by := end
		for _, w := range writesOf(o) {
			list := facts[w.key]
			i, _ := slices.BinarySearchFunc(list, version, func(k known, v uint64) int {
				return cmp.Compare(k.version, v)
			})
			if i < len(list) {
				by = min(by, list[i].at)
			}
		}
		if by < o.Invoke {
			return end // what knew of it before it began is an anomaly that others tell
		}
		return by
	}
}
