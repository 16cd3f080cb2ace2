package placement

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/google/btree"

	"github.com/vipkv/vipkv/placement/schedule"
	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// rangeMap is what is known of the ranges, by id and by key.
type rangeMap struct {
	byID    map[proto.RangeID]*schedule.Range
	ordered []*schedule.Range // sorted by id; the planner's input
	byStart *btree.BTreeG[*schedule.Range]
	// displaced ranges have lost (a part of) their span to a newer one and have not reported since.
	displaced map[proto.RangeID]*schedule.Range
}

func newRangeMap() *rangeMap {
	return &rangeMap{
		byID:      map[proto.RangeID]*schedule.Range{},
		displaced: map[proto.RangeID]*schedule.Range{},
		byStart: btree.NewG(16, func(a, b *schedule.Range) bool {
			return bytes.Compare(a.Desc.GetStart(), b.Desc.GetStart()) < 0
		}),
	}
}

// overlaps tells whether two spans do; an empty end is the end of all data.
func overlaps(a, b *internalpb.Descriptor) bool {
	return before(a.GetStart(), b.GetEnd()) && before(b.GetStart(), a.GetEnd())
}

// before tells whether a key lies below an end.
func before(key, end []byte) bool { return len(end) == 0 || bytes.Compare(key, end) < 0 }

func covers(d *internalpb.Descriptor, key []byte) bool {
	return bytes.Compare(d.GetStart(), key) <= 0 && before(key, d.GetEnd())
}

// at calls f for the ranges in the map from the one that holds key on, in key order, until f answers false.
func (m *rangeMap) at(key []byte, f func(r *schedule.Range) bool) {
	probe := &schedule.Range{Desc: &internalpb.Descriptor{Start: key}}
	from := probe
	m.byStart.DescendLessOrEqual(probe, func(r *schedule.Range) bool {
		if covers(r.Desc, key) {
			from = r
		}
		return false
	})
	m.byStart.AscendGreaterOrEqual(from, f)
}

// put takes a descriptor in, when it is newer than what is known of its range and of its span (I2). It answers the
// range and whether the map now holds this descriptor's epoch.
func (m *rangeMap) put(d *internalpb.Descriptor) (r *schedule.Range, changed, ok bool) {
	id := proto.RangeID(d.GetRangeId())
	r = m.byID[id]
	if r != nil {
		known, epoch := r.Desc.GetEpoch(), d.GetEpoch()
		if epoch.GetVersion() < known.GetVersion() || epoch.GetConf() < known.GetConf() {
			return r, false, false
		}
		if epoch.GetVersion() == known.GetVersion() && m.displaced[id] == nil {
			if epoch.GetConf() > known.GetConf() { // the span is the same: replace in place
				r.Desc = d
				return r, true, true
			}
			return r, false, true
		}
	}
	var over []*schedule.Range
	m.at(d.GetStart(), func(other *schedule.Range) bool {
		if other == r {
			return true
		}
		if !overlaps(d, other.Desc) {
			return false
		}
		over = append(over, other)
		return true
	})
	for _, other := range over {
		if other.Desc.GetEpoch().GetVersion() >= d.GetEpoch().GetVersion() {
			return r, false, false
		}
	}
	for _, other := range over {
		m.byStart.Delete(other)
		other.Reported, other.Leader = false, 0
		m.displaced[other.ID()] = other
	}
	if r == nil {
		r = &schedule.Range{}
		m.byID[id] = r
		i, _ := slices.BinarySearchFunc(m.ordered, id, func(r *schedule.Range, id proto.RangeID) int {
			return cmp.Compare(r.ID(), id)
		})
		m.ordered = slices.Insert(m.ordered, i, r)
	} else if m.displaced[id] == nil {
		m.byStart.Delete(r)
	}
	delete(m.displaced, id)
	r.Desc = d
	m.byStart.ReplaceOrInsert(r)
	return r, true, true
}

// lookup answers up to limit ranges from the one that holds start on. Where the newest descriptors leave a hole (a
// split of which only the right side has reported yet), the older range that covers its beginning stands in.
func (m *rangeMap) lookup(start []byte, limit int) []*schedule.Range {
	var out []*schedule.Range
	next, end := start, false
	m.at(start, func(r *schedule.Range) bool {
		if bytes.Compare(r.Desc.GetStart(), next) > 0 {
			if old := m.standIn(next); old != nil {
				out = append(out, old)
			}
		}
		if len(out) < limit {
			out = append(out, r)
		}
		next, end = r.Desc.GetEnd(), len(r.Desc.GetEnd()) == 0
		return len(out) < limit
	})
	if len(out) < limit && !end {
		if old := m.standIn(next); old != nil {
			out = append(out, old)
		}
	}
	return out
}

func (m *rangeMap) standIn(key []byte) *schedule.Range {
	var best *schedule.Range
	for _, r := range m.displaced {
		if covers(r.Desc, key) && (best == nil || newer(r.Desc, best.Desc)) {
			best = r
		}
	}
	return best
}

// newer orders descriptors of different ranges by version, then by id: a total order, so that map order does not show.
func newer(a, b *internalpb.Descriptor) bool {
	av, bv := a.GetEpoch().GetVersion(), b.GetEpoch().GetVersion()
	return av > bv || (av == bv && a.GetRangeId() > b.GetRangeId())
}
