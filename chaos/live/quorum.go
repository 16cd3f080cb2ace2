package live

import (
	"fmt"

	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// neverSafe tells whether these nodes could not be away even if all others, and all their replicas, were well.
func (v *view) neverSafe(away map[uint64]bool) bool {
	well := &view{}
	for _, n := range v.nodes {
		n.live = true
		well.nodes = append(well.nodes, n)
	}
	for _, r := range v.ranges {
		fine := &vipkvpb.RangeInfo{Id: r.Id, LeaderStore: or(r.LeaderStore, 1)}
		for _, p := range r.Replicas {
			fine.Replicas = append(fine.Replicas,
				&vipkvpb.ReplicaInfo{StoreId: p.StoreId, Role: p.Role, Live: true})
		}
		well.ranges = append(well.ranges, fine)
	}
	return well.losesQuorum(away) != ""
}

// losesQuorum says which range would have no quorum if these nodes were away, besides those that are not live; empty:
// none. A range of whose state the view knows too little counts as lost.
func (v *view) losesQuorum(away map[uint64]bool) string {
	for _, r := range v.ranges {
		if reason := v.loses(r, away); reason != "" {
			return fmt.Sprintf("range %d: %s", r.Id, reason)
		}
	}
	return ""
}

// loses looks at both halves of a joint configuration: each needs its own majority.
func (v *view) loses(r *vipkvpb.RangeInfo, away map[uint64]bool) string {
	if r.LeaderStore == 0 {
		return "it has no leader that is known"
	}
	for _, half := range []struct{ name, other string }{{"old", "outgoing"}, {"new", "incoming"}} {
		voters, left := 0, 0
		for _, p := range r.Replicas {
			if p.Role != "voter" && p.Role != half.other {
				continue
			}
			voters++
			n, ok := v.nodeOfStore(p.StoreId)
			if ok && n.live && !away[n.ID] && (p.Live || p.StoreId == r.LeaderStore) {
				left++
			}
		}
		if 2*left <= voters {
			return fmt.Sprintf("%d of its %d voters would be left", left, voters)
		}
	}
	return ""
}

// spare is how many more nodes could be away at the same time, whichever they are, if every range had as many voters
// as the one that has fewest.
func (v *view) spare() int {
	fewest := 0
	for _, r := range v.ranges {
		n := 0
		for _, p := range r.Replicas {
			if p.Role == "voter" {
				n++
			}
		}
		if fewest == 0 || n < fewest {
			fewest = n
		}
	}
	return max((fewest-1)/2, 1)
}
