package replica

import (
	"bytes"

	"github.com/google/btree"

	"github.com/vipkv/vipkv/proto"
)

// SpanTable implements Spans. It is not safe for concurrent use. Its calls cost as much as the
// spans that they meet, and the logarithm of the number of ranges.
type SpanTable struct {
	held    map[proto.RangeID]span
	byStart *btree.BTreeG[heldSpan] // of held, whose spans do not overlap
	claimed map[proto.RangeID]span  // few: one a range snapshot that is on its way
}

type span struct{ start, end []byte } // an empty end is the end of all data

type heldSpan struct {
	span
	id proto.RangeID
}

func (s span) overlaps(o span) bool {
	return (len(o.end) == 0 || bytes.Compare(s.start, o.end) < 0) &&
		(len(s.end) == 0 || bytes.Compare(o.start, s.end) < 0)
}

// NewSpanTable returns an empty table.
func NewSpanTable() *SpanTable {
	less := func(a, b heldSpan) bool { return bytes.Compare(a.start, b.start) < 0 }
	return &SpanTable{held: map[proto.RangeID]span{}, byStart: btree.NewG(16, less), claimed: map[proto.RangeID]span{}}
}

// Set implements Spans.
func (t *SpanTable) Set(id proto.RangeID, start, end []byte) {
	t.put(id, span{start, end})
	delete(t.claimed, id)
}

func (t *SpanTable) put(id proto.RangeID, s span) {
	t.drop(id)
	t.held[id] = s
	t.byStart.ReplaceOrInsert(heldSpan{s, id})
}

func (t *SpanTable) drop(id proto.RangeID) {
	if old, ok := t.held[id]; ok {
		delete(t.held, id)
		t.byStart.Delete(heldSpan{span: old})
	}
}

// Split implements Spans.
func (t *SpanTable) Split(left, right proto.RangeID, key []byte) {
	whole := t.held[left]
	t.put(left, span{whole.start, key})
	if right != 0 {
		t.put(right, span{key, whole.end})
	}
}

// Remove implements Spans.
func (t *SpanTable) Remove(id proto.RangeID) {
	t.drop(id)
	delete(t.claimed, id)
}

// Claim implements Spans. Of several conflicts it reports the first in the order of keys, or the
// smallest id of those that are claimed.
func (t *SpanTable) Claim(id proto.RangeID, start, end []byte) (proto.RangeID, bool) {
	want := span{start, end}
	if other := t.holder(id, want); other != 0 {
		return other, false
	}
	var conflict proto.RangeID
	for other, s := range t.claimed { // the smallest id is reported, so order does not matter
		if other != id && s.overlaps(want) && (conflict == 0 || other < conflict) {
			conflict = other
		}
	}
	if conflict != 0 {
		return conflict, false
	}
	t.claimed[id] = want
	return 0, true
}

// holder finds another range that holds a part of the span.
func (t *SpanTable) holder(id proto.RangeID, want span) (other proto.RangeID) {
	visit := func(h heldSpan) bool {
		if h.id != id && h.overlaps(want) {
			other = h.id
		}
		return other == 0 && h.overlaps(want) // the next one can only overlap if this one does
	}
	at := heldSpan{span: want}
	t.byStart.DescendLessOrEqual(at, func(h heldSpan) bool {
		if h.id != id {
			visit(h)
			return false // spans before this one end before it begins
		}
		return true
	})
	if other == 0 {
		t.byStart.AscendGreaterOrEqual(at, visit)
	}
	return other
}

// Release implements Spans.
func (t *SpanTable) Release(id proto.RangeID) { delete(t.claimed, id) }
