package client

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

func TestStreamRoutes(t *testing.T) {
	for name, want := range map[string]string{
		"":       "s\x00\x01z",
		"a":      "sa\x00\x01z",
		"a\x00b": "sa\x00\xFFb\x00\x01z",
		"a\x00":  "sa\x00\xFF\x00\x01z",
	} {
		if got := routeOfStream(name); string(got) != want {
			t.Errorf("%q: got %q", name, got)
		}
	}
}

// Whatever servers say, in whatever order: routes stay sorted and apart, and what was said last and newest is found.
func TestRouteCacheHoldsNoOverlaps(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newRouteCache()
		newest := make(map[uint64]uint64)
		bound := rapid.SliceOfN(rapid.ByteRange(0, 3), 0, 2)
		for range rapid.IntRange(1, 30).Draw(rt, "updates") {
			pb := &vipkvpb.RangeRoute{
				RangeId:        rapid.Uint64Range(1, 4).Draw(rt, "id"),
				EpochVersion:   rapid.Uint64Range(1, 4).Draw(rt, "version"),
				Start:          bound.Draw(rt, "start"),
				End:            bound.Draw(rt, "end"),
				LeaderEndpoint: fmt.Sprint(rapid.IntRange(0, 3).Draw(rt, "leader")),
			}
			had := c.find(pb.Start)
			c.update([]*vipkvpb.RangeRoute{pb})
			for i, r := range c.mu.routes {
				if i > 0 && (bytes.Compare(c.mu.routes[i-1].start, r.start) >= 0 || c.mu.routes[i-1].overlaps(r)) {
					rt.Fatalf("routes %d and %d overlap", i-1, i)
				}
			}
			if len(pb.End) > 0 && bytes.Compare(pb.Start, pb.End) >= 0 {
				continue
			}
			got := c.find(pb.Start)
			older := had != nil && had.rangeID == pb.RangeId && had.version > pb.EpochVersion
			switch {
			case older && got != had:
				rt.Fatal("an older route took the place of a newer one")
			case !older && newest[pb.RangeId] <= pb.EpochVersion && (got == nil || got.rangeID != pb.RangeId):
				rt.Fatal("a new route is not found")
			}
			newest[pb.RangeId] = max(newest[pb.RangeId], pb.EpochVersion)
		}
		c.dropLeader("1")
		for _, r := range c.mu.routes {
			if r.leader == "1" {
				rt.Fatal("the leader was not dropped")
			}
		}
	})
}
