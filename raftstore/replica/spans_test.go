package replica

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/vipkv/vipkv/proto"
)

// TestSpanTable compares the table with one that looks at everything.
func TestSpanTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := NewSpanTable()
		held, claimed := map[proto.RangeID]span{}, map[proto.RangeID]span{}
		free := func(id proto.RangeID, want span) bool {
			for _, m := range []map[proto.RangeID]span{held, claimed} {
				for other, s := range m {
					if other != id && s.overlaps(want) {
						return false
					}
				}
			}
			return true
		}
		key := func(name string) []byte { return []byte{byte(rapid.IntRange('a', 'p').Draw(t, name))} }
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := proto.RangeID(rapid.IntRange(1, 6).Draw(t, "id"))
			s := span{key("start"), key("end")}
			if rapid.IntRange(0, 5).Draw(t, "open") == 0 {
				s.end = nil
			} else if s.end[0] <= s.start[0] {
				s.end = []byte{s.start[0] + 1}
			}
			switch rapid.IntRange(0, 4).Draw(t, "op") {
			case 0, 1:
				other, ok := table.Claim(id, s.start, s.end)
				if ok != free(id, s) || ok != (other == 0) {
					t.Fatalf("claim %d %q: %v %d; held %v claimed %v", id, s, ok, other, held, claimed)
				}
				if !ok {
					h, c := held[other], claimed[other]
					if !(held[other].start != nil && h.overlaps(s)) && !(claimed[other].start != nil && c.overlaps(s)) {
						t.Fatalf("claim %d %q: %d is no conflict", id, s, other)
					}
					continue
				}
				claimed[id] = s
			case 2:
				// A range snapshot is installed. Its span is not what a split has given away since it was claimed.
				if c, ok := claimed[id]; ok && free(id, c) {
					table.Set(id, c.start, c.end)
					held[id] = c
					delete(claimed, id)
				}
			case 3:
				table.Remove(id)
				delete(held, id)
				delete(claimed, id)
			case 4:
				right := proto.RangeID(rapid.IntRange(7, 9).Draw(t, "right"))
				_, taken := held[right]
				if h, ok := held[id]; ok && !taken && string(h.start) < string(s.start) &&
					(len(h.end) == 0 || string(s.start) < string(h.end)) {
					table.Split(id, right, s.start)
					held[id], held[right] = span{h.start, s.start}, span{s.start, h.end}
				}
			}
		}
	})
}
