package check

import (
	"cmp"
	"maps"
	"slices"

	"github.com/vipkv/vipkv/chaos/history"
)

// newestUpTo is the newest version at or below a timestamp that another operation than o wrote.
func (l *timeline) newestUpTo(ts uint64, o *history.Op) *stamp {
	at, ok := l.find(ts)
	if ok {
		at++
	}
	for at--; at >= 0; at-- {
		if l.versions[at].op != o {
			return &l.versions[at]
		}
	}
	return nil
}

// checkSights: a read at a timestamp sees of each key exactly the newest version at or below it.
func (t *timestamps) checkSights(o *history.Op) {
	if o.Type != history.OK || o.At == 0 || o.Kind == history.Set {
		return
	}
	for _, s := range sightsOf(o) {
		if !s.known {
			continue
		}
		if s.version > o.At {
			t.f.found("future-read", because(o),
				"%s: version %d was seen at timestamp %d", s.key, s.version, o.At)
			continue
		}
		if n := t.timeline(s.key).newestUpTo(o.At, o); n != nil && n.version > s.version {
			t.f.found("missed-write", because(n.op, o),
				"%s: a read at timestamp %d did not see version %d", s.key, o.At, n.version)
		}
	}
}

// conditional says whether o writes on condition that something is as it was found.
func conditional(o *history.Op) bool {
	switch o.Kind {
	case history.CAS, history.Incr, history.Txn, history.Advance:
		return true
	}
	return false
}

// checkConditions: what a writing transaction or a conditional write found was still so when it committed.
func (t *timestamps) checkConditions(o *history.Op) {
	version := t.versionOf(o)
	if version == 0 || !conditional(o) {
		return
	}
	if o.At != 0 && version <= o.At {
		t.f.found("early-commit", because(o),
			"A transaction committed at or below the timestamp of its reads")
	}
	done := *o // it took effect, so its conditions held, also when its client was not told
	done.Type = history.OK
	writes := writesOf(o)
	for _, s := range sightsOf(&done) {
		written := slices.ContainsFunc(writes, func(w keyWrite) bool { return w.key == s.key })
		if !s.known || !written && t.o.Snapshot {
			continue
		}
		n := t.timeline(s.key).newestUpTo(version-1, o)
		if n == nil || n.version <= s.version {
			continue
		}
		name := "write-skew"
		if written {
			name = "lost-update"
		}
		t.f.found(name, because(n.op, o),
			"%s: version %d came between version %d, which was found, and version %d, which was written",
			s.key, n.version, s.version, version)
	}
}

// known is that a version of a key existed at a time.
type known struct {
	at      int64
	version uint64
	op      *history.Op
}

// checkPointReads: a read of one key sees nothing older than what anybody knew before it began, and nothing that was
// asked for after it ended.
func (t *timestamps) checkPointReads(ops []history.Op) {
	facts := map[space][]known{}
	reads := map[space][]sight{}
	for i := range ops {
		o := &ops[i]
		if o.Type != history.OK {
			continue
		}
		for _, w := range writesOf(o) {
			if w.version != 0 {
				facts[w.key] = append(facts[w.key], known{o.Return, w.version, o})
			}
		}
		for _, s := range sightsOf(o) {
			if !s.known {
				continue
			}
			facts[s.key] = append(facts[s.key], known{o.Return, s.version, o})
			if o.At == 0 {
				reads[s.key] = append(reads[s.key], s)
			}
		}
	}
	for _, k := range sorted(reads) {
		newest := newestBefore(facts[k])
		for _, s := range reads[k] {
			if n := newest(s.op.Invoke); n != nil && n.version > s.version {
				t.f.found("stale-read", because(n.op, s.op),
					"%s: version %d was read, and version %d was known before", k, s.version, n.version)
			}
			l := t.timeline(k)
			at, ok := l.find(s.version)
			if ok && l.versions[at].op != nil && l.versions[at].op.Invoke > s.op.Return {
				t.f.found("future-read", because(s.op, l.versions[at].op),
					"%s: version %d was read before anybody asked for it", k, s.version)
			}
		}
	}
}

// newestBefore returns a function that finds the fact with the greatest version that was known before a time.
func newestBefore(facts []known) func(at int64) *known {
	slices.SortStableFunc(facts, func(a, b known) int { return cmp.Compare(a.at, b.at) })
	best := make([]*known, len(facts))
	for i := range facts {
		best[i] = &facts[i]
		if i > 0 && best[i-1].version >= facts[i].version {
			best[i] = best[i-1]
		}
	}
	return func(at int64) *known {
		i, _ := slices.BinarySearchFunc(facts, at, func(k known, at int64) int {
			return cmp.Compare(k.at, at)
		})
		if i == 0 {
			return nil
		}
		return best[i-1]
	}
}

// setElement is what is known about when an element of a set came to be: above low, at or below high.
type setElement struct {
	low, high         uint64 // 0: not known
	lowestBy, highest *history.Op
}

// checkSets: a scan at a timestamp has exactly the elements that were added at or below it.
func (t *timestamps) checkSets(ops []history.Op) {
	sets := map[space][]*history.Op{}
	adds := map[space]map[string]*setElement{}
	for i := range ops {
		o := &ops[i]
		switch {
		case o.Kind == history.Add && mayHaveHappened(o):
			if adds[spaceOf(o)] == nil {
				adds[spaceOf(o)] = map[string]*setElement{}
			}
			e := adds[spaceOf(o)][o.Arg]
			if e == nil {
				e = &setElement{low: o.Version - 1, lowestBy: o}
				adds[spaceOf(o)][o.Arg] = e
			}
			e.admit(o)
		case o.Kind == history.Set && o.Type == history.OK && o.At != 0:
			sets[spaceOf(o)] = append(sets[spaceOf(o)], o)
		}
	}
	for _, k := range sorted(sets) {
		scans := slices.SortedStableFunc(slices.Values(sets[k]), func(a, b *history.Op) int {
			return cmp.Compare(a.At, b.At)
		})
		names := slices.Sorted(maps.Keys(adds[k]))
		for _, scan := range scans {
			t.checkScan(scan, adds[k], names)
		}
	}
}

// admit takes one more add of the element into account: it is there at the latest from the version of the first that
// was acknowledged, and at the earliest at that version when no other can have been before.
func (e *setElement) admit(o *history.Op) {
	if o.Type != history.OK || o.Version == 0 {
		e.low, e.lowestBy = 0, nil
		return
	}
	if e.low != 0 && o.Version-1 < e.low {
		e.low, e.lowestBy = o.Version-1, o
	}
	if e.high == 0 || o.Version < e.high {
		e.high, e.highest = o.Version, o
	}
}

// checkScan compares one scan with what is known, and learns from it; scans come in order of their timestamps.
func (t *timestamps) checkScan(scan *history.Op, elements map[string]*setElement, names []string) {
	in := map[string]bool{}
	for _, id := range scan.List {
		in[id] = true
		e := elements[id]
		if e == nil {
			continue // package check's sets say so
		}
		if scan.At <= e.low && e.low != 0 {
			t.f.found("future-read", because(e.lowestBy, scan),
				"%s is in a scan at timestamp %d", id, scan.At)
		}
		if e.high == 0 || scan.At < e.high {
			e.high, e.highest = scan.At, scan
		}
	}
	for _, id := range names {
		if e := elements[id]; !in[id] && e.high != 0 && e.high <= scan.At {
			t.f.found("missed-write", because(e.highest, scan),
				"%s is not in a scan at timestamp %d", id, scan.At)
			break
		}
	}
}
