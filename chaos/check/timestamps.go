package check

import (
	"cmp"
	"slices"

	"github.com/vipkv/vipkv/chaos/history"
)

// TimestampOptions of NewTimestamps.
type TimestampOptions struct {
	// Snapshot allows what snapshot isolation allows: a key that a writing transaction only read may have changed before
	// it committed.
	Snapshot bool
}

// NewTimestamps checks isolation by the timestamps that the store tells: versions are commit timestamps, and reads of
// several keys say at which timestamp they took place. It sees every violation among operations that tell them, in
// O(n log n). A history without timestamps is void.
//
// An operation of unknown outcome gets its version from whoever saw what it wrote, on all keys that it wrote; while
// nobody did, nothing is concluded from it.
//
// Anomalies of reads: missed-write (a version at or below the read's timestamp was not seen), future-read (one above it
// was), stale-read (of one key, older than what was known before), phantom-version (nobody wrote it), refused-write,
// wrong-value. Of writes: duplicate-version, double-apply (one write at two versions), lost-update (something came
// between what a conditional write found and itself), write-skew (the same on a key that it only read), commit-order
// (not above a timestamp known before it began), read-order (the same of a read's timestamp), early-commit (not above
// the timestamp of its own reads), stream-order (versions of records do not rise).
func NewTimestamps(o TimestampOptions) Checker {
	return checker{"timestamps", func(ops []history.Op, f *findings) {
		t := &timestamps{o: o, f: f, keys: map[space]*timeline{}, resolved: map[*history.Op]uint64{}}
		if !t.collect(ops) {
			f.tooLittle("the history has no timestamps")
			return
		}
		t.resolve(ops)
		t.checkUnique()
		for i := range ops {
			t.checkSights(&ops[i])
			t.checkConditions(&ops[i])
		}
		t.checkPointReads(ops)
		t.checkSets(ops)
		t.checkStreams(ops)
		t.checkRealTime(ops)
	}}
}

type timestamps struct {
	o        TimestampOptions
	f        *findings
	keys     map[space]*timeline
	resolved map[*history.Op]uint64 // versions of writes whose acknowledgements did not tell them
}

// timeline is the versions of one key.
type timeline struct {
	versions []stamp // sorted
	// open are the writes that may have taken effect at a version nobody told, by value; "": not known.
	open    map[string][]keyWrite
	refused []keyWrite
}

// stamp is one version of a key.
type stamp struct {
	version uint64
	value   string      // "": not known
	op      *history.Op // nil: one of several of unknown outcome
}

func (l *timeline) find(version uint64) (at int, ok bool) {
	return slices.BinarySearchFunc(l.versions, version, func(s stamp, v uint64) int {
		return cmp.Compare(s.version, v)
	})
}

func (l *timeline) insert(s stamp) {
	at, _ := l.find(s.version)
	l.versions = slices.Insert(l.versions, at, s)
}

func (t *timestamps) timeline(k space) *timeline {
	l := t.keys[k]
	if l == nil {
		l = &timeline{open: map[string][]keyWrite{}}
		t.keys[k] = l
	}
	return l
}

// collect gathers what was written, and says whether there are timestamps at all.
func (t *timestamps) collect(ops []history.Op) (any bool) {
	for i := range ops {
		o := &ops[i]
		told := o.Version != 0 || o.At != 0 ||
			slices.ContainsFunc(o.Txn, func(m history.Mop) bool { return m.Version != 0 })
		if told && o.Type == history.OK {
			any = true
			t.f.saw(o)
		}
		for _, w := range writesOf(o) {
			l := t.timeline(w.key)
			switch {
			case o.Type == history.Fail:
				l.refused = append(l.refused, w)
			case o.Type == history.OK && w.version != 0:
				l.versions = append(l.versions, stamp{w.version, w.value, o})
			default:
				l.open[w.value] = append(l.open[w.value], w)
			}
		}
	}
	for _, l := range t.keys {
		slices.SortStableFunc(l.versions, func(a, b stamp) int {
			return cmp.Compare(a.version, b.version)
		})
	}
	return any
}

// resolve finds out who wrote the versions that were seen and that no acknowledgement told.
func (t *timestamps) resolve(ops []history.Op) {
	for i := range ops {
		for _, s := range sightsOf(&ops[i]) {
			if s.known && s.version != 0 {
				t.explain(&s)
			}
		}
	}
}

func (t *timestamps) explain(s *sight) {
	l := t.timeline(s.key)
	if at, ok := l.find(s.version); ok {
		if v := &l.versions[at]; v.value != "" && s.valued && v.value != s.value {
			t.f.found("wrong-value", because(v.op, s.op),
				"%s: version %d is %q, and was read as %q", s.key, s.version, v.value, s.value)
		}
		return
	}
	fit := l.open[s.value] // the writes of unknown outcome that wrote this value
	switch unsure := len(l.open[""]) > 0; {
	case !s.valued && len(l.open) > 0, s.valued && unsure, len(fit) > 1:
		l.insert(stamp{s.version, s.value, nil})
	case s.valued && len(fit) == 1:
		t.settle(fit[0].op, s)
	default:
		l.insert(stamp{s.version, s.value, nil})
		t.unexplained(s, l)
	}
}

// settle notes that o took effect at the version that s saw, on all its keys.
func (t *timestamps) settle(o *history.Op, s *sight) {
	if had, ok := t.resolved[o]; ok {
		t.timeline(s.key).insert(stamp{s.version, s.value, o})
		t.f.found("double-apply", because(o, s.op),
			"One write was seen as version %d and as version %d", had, s.version)
		return
	}
	t.resolved[o] = s.version
	for _, w := range writesOf(o) {
		l := t.timeline(w.key)
		if _, there := l.find(s.version); !there {
			l.insert(stamp{s.version, w.value, o})
		}
	}
}

// unexplained: nobody whose write may have taken effect wrote what s saw.
func (t *timestamps) unexplained(s *sight, l *timeline) {
	same := func(value string) bool { return s.valued && value == s.value }
	if i := slices.IndexFunc(l.versions, func(v stamp) bool {
		return v.op != nil && v.version != s.version && same(v.value)
	}); i >= 0 && once(l, s.value) {
		t.f.found("double-apply", because(l.versions[i].op, s.op),
			"%s: what was written as version %d was seen as version %d", s.key, l.versions[i].version,
			s.version)
		return
	}
	if i := slices.IndexFunc(l.refused, func(w keyWrite) bool { return same(w.value) }); i >= 0 {
		t.f.found("refused-write", because(l.refused[i].op, s.op),
			"%s: version %d was seen, and its write had been refused", s.key, s.version)
		return
	}
	t.f.found("phantom-version", because(s.op), "%s: nobody wrote version %d", s.key, s.version)
}

// once: only one operation wrote the value.
func once(l *timeline, value string) bool {
	n := 0
	for _, v := range l.versions {
		if v.op != nil && v.value == value {
			n++
		}
	}
	return n == 1
}

// versionOf is an operation's own commit timestamp; 0: not known.
func (t *timestamps) versionOf(o *history.Op) uint64 {
	if v := t.resolved[o]; v != 0 {
		return v
	}
	if o.Type == history.OK && o.Writes() {
		return o.Version
	}
	return 0
}

func (t *timestamps) checkUnique() {
	for _, k := range sorted(t.keys) {
		l := t.keys[k]
		for i := 1; i < len(l.versions); i++ {
			if a, b := l.versions[i-1], l.versions[i]; a.version == b.version && a.op != b.op {
				t.f.found("duplicate-version", because(a.op, b.op),
					"%s: two writes have version %d", k, a.version)
			}
		}
	}
}
