package replica

import (
	"bytes"

	"github.com/vipkv/vipkv/proto"
)

// SpanTable implements Spans. It is not safe for concurrent use.
type SpanTable struct {
	held    map[proto.RangeID]span
	claimed map[proto.RangeID]span
}

type span struct{ start, end []byte } // an empty end is the end of all data

func (s span) overlaps(o span) bool {
	return (len(o.end) == 0 || bytes.Compare(s.start, o.end) < 0) &&
		(len(s.end) == 0 || bytes.Compare(o.start, s.end) < 0)
}

// NewSpanTable returns an empty table.
func NewSpanTable() *SpanTable {
	return &SpanTable{held: map[proto.RangeID]span{}, claimed: map[proto.RangeID]span{}}
}

// Set implements Spans.
func (t *SpanTable) Set(id proto.RangeID, start, end []byte) {
	t.held[id] = span{start, end}
	delete(t.claimed, id)
}

// Split implements Spans.
func (t *SpanTable) Split(left, right proto.RangeID, key []byte) {
	whole := t.held[left]
	t.held[left] = span{whole.start, key}
	if right != 0 {
		t.held[right] = span{key, whole.end}
	}
}

// Remove implements Spans.
func (t *SpanTable) Remove(id proto.RangeID) {
	delete(t.held, id)
	delete(t.claimed, id)
}

// Claim implements Spans.
func (t *SpanTable) Claim(id proto.RangeID, start, end []byte) (proto.RangeID, bool) {
	want := span{start, end}
	var conflict proto.RangeID
	for _, table := range []map[proto.RangeID]span{t.held, t.claimed} {
		for other, s := range table { // the smallest id is reported, so order does not matter
			if other != id && s.overlaps(want) && (conflict == 0 || other < conflict) {
				conflict = other
			}
		}
	}
	if conflict != 0 {
		return conflict, false
	}
	t.claimed[id] = want
	return 0, true
}

// Release implements Spans.
func (t *SpanTable) Release(id proto.RangeID) { delete(t.claimed, id) }
