package check

import (
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/vipkv/vipkv/chaos/history"
)

// NewMessenger checks what a messenger relies on. Parts of streams are contiguous, reach as far as they must, and show
// each record at the one number it has for ever; cursors never go back and hold what somebody asked for; an inbox shows
// every cursor, and for every conversation as many unread records as a model of it allows.
//
// Anomalies: hole, lost-record, stale-read, wrong-number, diverging-reads, phantom-record, refused-record,
// future-record; cursor-went-back, phantom-cursor; negative-unread, phantom-head; malformed.
func NewMessenger() Checker {
	return checker{"messenger", func(ops []history.Op, f *findings) {
		m := messenger{f: f, streams: map[space]*talk{}, cursors: map[space]*cursor{}}
		m.gather(ops)
		for i := range ops {
			if o := &ops[i]; o.Type == history.OK {
				m.judge(o)
			}
		}
		for _, name := range sorted(m.streams) {
			m.checkHeads(name, m.streams[name])
		}
	}}
}

type messenger struct {
	f       *findings
	streams map[space]*talk
	cursors map[space]*cursor
}

// talk is what is known of one stream.
type talk struct {
	*elements
	acked peaks                  // numbers, by the time of their acknowledgement
	asked []int64                // times at which appends began that may have taken effect
	shown map[uint64]*history.Op // the read that showed a number first
	ids   map[uint64]string      // and what it showed there
	heads []headRead
}

type headRead struct {
	op   *history.Op
	last uint64
}

// cursor is what is known of one cursor.
type cursor struct {
	told  peaks // values, by the time at which somebody had been told them
	asked peaks // values, by the time at which somebody began to ask for them
}

func (m *messenger) gather(ops []history.Op) {
	appends := map[space][]*history.Op{}
	for i := range ops {
		o := &ops[i]
		switch o.Kind {
		case history.Append:
			appends[spaceOf(o)] = append(appends[spaceOf(o)], o)
		case history.Advance:
			m.gatherCursor(o)
		}
	}
	for name, as := range appends {
		t := m.talk(name)
		t.elements = newElements(as, history.Append)
		for _, e := range t.all {
			if e.acked != nil {
				t.acked.add(e.acked.Return, uint64(e.number), e.acked)
			}
			if !e.failed {
				t.asked = append(t.asked, e.first.Invoke)
			}
		}
		t.acked.sort()
		slices.Sort(t.asked)
	}
	for _, c := range m.cursors {
		c.told.sort()
		c.asked.sort()
	}
}

func (m *messenger) gatherCursor(o *history.Op) {
	if m.cursors[spaceOf(o)] == nil {
		m.cursors[spaceOf(o)] = &cursor{}
	}
	c := m.cursors[spaceOf(o)]
	asked, err := strconv.ParseUint(o.Arg, 10, 64)
	if err != nil {
		m.f.found("malformed", because(o), "A cursor is asked for that is no number")
		return
	}
	if o.Type != history.Fail {
		c.asked.add(o.Invoke, asked, o)
	}
	if told, err := strconv.ParseUint(o.Result, 10, 64); o.Type == history.OK && err == nil {
		c.told.add(o.Return, told, o)
	}
}

func (m *messenger) talk(name space) *talk {
	if m.streams[name] == nil {
		m.streams[name] = &talk{
			elements: newElements(nil, history.Append),
			shown:    map[uint64]*history.Op{},
			ids:      map[uint64]string{},
		}
	}
	return m.streams[name]
}

func (m *messenger) judge(o *history.Op) {
	switch o.Kind {
	case history.Pull:
		m.f.saw(o)
		m.checkPull(o)
	case history.Advance:
		m.f.saw(o)
		was, err1 := strconv.ParseUint(o.Expect, 10, 64)
		told, err2 := strconv.ParseUint(o.Result, 10, 64)
		if err1 != nil || err2 != nil {
			m.f.found("malformed", because(o), "A cursor is no number")
			return
		}
		m.checkCursor(spaceOf(o), was, o)
		m.checkCursor(spaceOf(o), told, o)
		if asked, _ := strconv.ParseUint(o.Arg, 10, 64); told < asked {
			m.f.found("cursor-went-back", because(o), "A cursor is less than what was just asked for")
		}
	case history.Inbox:
		m.f.saw(o)
		m.checkInbox(o)
	}
}

// checkPull judges a part of a stream.
func (m *messenger) checkPull(o *history.Op) {
	name := spaceOf(o)
	t := m.talk(name)
	head, err := strconv.ParseUint(o.Result, 10, 64)
	if err != nil {
		m.f.found("malformed", because(o), "A stream's last number is none")
		return
	}
	after, _ := strconv.ParseUint(o.Arg, 10, 64)
	next := after + 1
	if o.Backward {
		next = head
	}
	for _, text := range o.List {
		e, err := history.ParseEntry(text)
		if err != nil {
			m.f.found("malformed", because(o), "%v", err)
			return
		}
		if e.Number != next {
			m.f.found("hole", because(o), "Stream %s: number %d where %d belongs", name, e.Number, next)
			return
		}
		m.checkShown(name, t, e, o)
		if o.Backward {
			next--
		} else {
			next++
		}
	}
	m.checkHead(name, t, head, o)
	acked, by := t.acked.before(o.Invoke)
	end := next - 1 // the last number shown, or the one before the first
	missing := end < acked && len(o.List) < o.Limit
	if o.Backward {
		missing = head < acked || next > 0 && len(o.List) < o.Limit
	}
	if missing {
		m.f.found("lost-record", because(by, o),
			"Stream %s: a read ends before record %d, which was there", name, acked)
	}
}

// checkHead: a stream has no more records than may have been appended.
func (m *messenger) checkHead(name space, t *talk, last uint64, o *history.Op) {
	t.heads = append(t.heads, headRead{o, last})
	asked := sort.Search(len(t.asked), func(i int) bool { return t.asked[i] > o.Return })
	if last > uint64(asked) {
		m.f.found("phantom-head", because(o),
			"Stream %s: it has %d records, of %d that may have been appended", name, last, asked)
	}
}

// checkShown judges one record at its number.
func (m *messenger) checkShown(name space, t *talk, e history.Entry, o *history.Op) {
	if !t.checkPresent(name, o, e.ID, m.f) {
		return
	}
	if w := t.byID[e.ID]; w.number != 0 && uint64(w.number) != e.Number {
		m.f.found("wrong-number", because(w.acked, o),
			"Stream %s: %s is record %d, but was acknowledged as %d", name, e.ID, e.Number, w.number)
	}
	if first := t.shown[e.Number]; first != nil && t.ids[e.Number] != e.ID {
		m.f.found("diverging-reads", because(first, o),
			"Stream %s: record %d is %s in one read and %s in another", name, e.Number,
			t.ids[e.Number], e.ID)
		return
	}
	t.shown[e.Number], t.ids[e.Number] = o, e.ID
}

// checkHeads: no stream is shorter than what somebody saw of it before.
func (m *messenger) checkHeads(name space, t *talk) {
	var seen peaks
	for _, h := range t.heads {
		seen.add(h.op.Return, h.last, h.op)
	}
	seen.sort()
	for _, h := range t.heads {
		if most, by := seen.before(h.op.Invoke); h.last < most {
			m.f.found("stale-read", because(by, h.op),
				"Stream %s: it had %d records, and now %d", name, most, h.last)
		}
	}
}

// checkCursor judges what a cursor is said to be; 0 when it is not there.
func (m *messenger) checkCursor(name space, told uint64, o *history.Op) {
	c := m.cursors[name]
	if c == nil {
		c = &cursor{}
	}
	if least, by := c.told.before(o.Invoke); told < least {
		m.f.found("cursor-went-back", because(by, o),
			"Cursor %s: it was %d, and is %d", name, least, told)
	}
	if most, by := c.asked.before(o.Return + 1); told > most {
		m.f.found("phantom-cursor", because(by, o),
			"Cursor %s: it is %d, and nobody asked for more than %d", name, told, most)
	}
}

func (m *messenger) checkInbox(o *history.Op) {
	shown := map[space]bool{}
	for _, text := range o.List {
		u, err := history.ParseUnread(text)
		if err != nil {
			m.f.found("malformed", because(o), "%v", err)
			return
		}
		name := space{o.Tenant, o.Key + "/" + u.Name}
		shown[name] = true
		m.checkCursor(name, u.Cursor, o)
		stream := space{o.Tenant, o.Arg + u.Name}
		t := m.talk(stream)
		if acked, by := t.acked.before(o.Invoke); u.Last < acked {
			m.f.found("lost-record", because(by, o),
				"Stream %s: it ends before record %d, which was there", stream, acked)
		}
		m.checkHead(stream, t, u.Last, o)
		if u.Last < u.Cursor {
			m.f.found("negative-unread", because(o),
				"Stream %s: somebody has read %d of %d records", stream, u.Cursor, u.Last)
		}
	}
	for _, name := range sorted(m.cursors) {
		if name.tenant == o.Tenant && strings.HasPrefix(name.key, o.Key+"/") && !shown[name] {
			m.checkCursor(name, 0, o)
		}
	}
}

// peaks tell the greatest of the numbers that were known before a moment.
type peaks []peak

type peak struct {
	at    int64
	value uint64
	op    *history.Op
}

func (p *peaks) add(at int64, value uint64, op *history.Op) { *p = append(*p, peak{at, value, op}) }

// sort is called once, after all add.
func (p peaks) sort() {
	slices.SortStableFunc(p, func(a, b peak) int { return int(a.at - b.at) })
	for i := 1; i < len(p); i++ {
		if p[i].value < p[i-1].value {
			p[i].value, p[i].op = p[i-1].value, p[i-1].op
		}
	}
}

func (p peaks) before(t int64) (value uint64, op *history.Op) {
	i := sort.Search(len(p), func(i int) bool { return p[i].at >= t })
	if i == 0 {
		return 0, nil
	}
	return p[i-1].value, p[i-1].op
}
