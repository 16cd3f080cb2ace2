package placement

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/vipkv/vipkv/placement/schedule"
	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// TestRangeMapAgainstHistory splits ranges in a model and delivers the descriptors of all times in any order, some
// twice: spans never overlap, versions never go back, and once the newest ones are there the map is the model.
func TestRangeMapAgainstHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		truth := map[uint64]*internalpb.Descriptor{1: desc(1, 1, 1, "", "", 1)}
		history := []*internalpb.Descriptor{truth[1]}
		m := newRangeMap()
		deliver := func(d *internalpb.Descriptor) {
			id := proto.RangeID(d.RangeId)
			var known *internalpb.Epoch
			if r := m.byID[id]; r != nil {
				known = r.Desc.Epoch
			}
			m.put(d)
			if r := m.byID[id]; known != nil &&
				(r.Desc.Epoch.Version < known.Version || r.Desc.Epoch.Conf < known.Conf) {
				t.Fatalf("range %d went back from %v to %v", id, known, r.Desc.Epoch)
			}
			checkSpans(t, m)
		}
		next := uint64(2)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := rapid.Uint64Range(1, next-1).Draw(t, "range")
			old := truth[id]
			switch rapid.IntRange(0, 3).Draw(t, "action") {
			case 0:
				key := fmt.Sprintf("%03d", rapid.IntRange(1, 999).Draw(t, "key"))
				if !covers(old, []byte(key)) || string(old.Start) == key {
					continue
				}
				v := old.Epoch.Version + 1
				left := desc(id, v, old.Epoch.Conf, string(old.Start), key, 1)
				right := desc(next, v, old.Epoch.Conf, key, string(old.End), 1)
				truth[id], truth[next] = left, right
				history = append(history, left, right)
				next++
			case 1:
				truth[id] = desc(id, old.Epoch.Version, old.Epoch.Conf+1, string(old.Start), string(old.End), 1, 2)
				history = append(history, truth[id])
			default:
				deliver(history[rapid.IntRange(0, len(history)-1).Draw(t, "which")])
			}
		}
		// What is known finds a place for every key that it covers, hole or not.
		probe := []byte(fmt.Sprintf("%03d", rapid.IntRange(0, 999).Draw(t, "probe")))
		if found := m.lookup(probe, 3); len(m.byID) > 0 && m.byID[1] != nil && m.byID[1].Desc.Epoch.Version == 1 {
			if len(found) == 0 || !covers(found[0].Desc, probe) {
				t.Fatalf("nothing stands in for %q", probe)
			}
		}
		for range 2 { // a heartbeat each second: what was refused the first time is heard again
			for id := uint64(1); id < next; id++ {
				deliver(truth[id])
			}
		}
		var at []byte
		n := 0
		for _, r := range m.lookup(nil, 1000) {
			want := truth[uint64(r.ID())]
			if !bytes.Equal(r.Desc.Start, at) || r.Desc.Epoch.Conf != want.Epoch.Conf || !bytes.Equal(r.Desc.End, want.End) {
				t.Fatalf("at %q: have %v, want %v", at, r.Desc, want)
			}
			at = r.Desc.End
			n++
		}
		if n != len(truth) || len(at) != 0 || len(m.displaced) != 0 {
			t.Fatalf("%d of %d ranges, end %q, displaced %d", n, len(truth), at, len(m.displaced))
		}
	})
}

func checkSpans(t *rapid.T, m *rangeMap) {
	var last *schedule.Range
	m.byStart.Ascend(func(r *schedule.Range) bool {
		if last != nil && (len(last.Desc.End) == 0 || bytes.Compare(last.Desc.End, r.Desc.Start) > 0) {
			t.Fatalf("ranges %d and %d overlap", last.ID(), r.ID())
		}
		last = r
		return true
	})
	if m.byStart.Len()+len(m.displaced) != len(m.byID) || len(m.ordered) != len(m.byID) {
		t.Fatalf("%d in order, %d displaced, %d listed, %d known",
			m.byStart.Len(), len(m.displaced), len(m.ordered), len(m.byID))
	}
}
