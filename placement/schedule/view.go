package schedule

import (
	"fmt"
	"slices"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// load is a store with what lies on it, running operators counted as if done.
type load struct {
	Store
	replicas int
	leaders  int
	adds     int // replicas on their way to it
}

// view is the cluster during one tick.
type view struct {
	cfg   *Config
	loads []load // sorted by store id
	index map[proto.StoreID]int
}

func newView(cfg *Config, c *Cluster) *view {
	v := &view{cfg: cfg, loads: make([]load, len(c.Stores)), index: make(map[proto.StoreID]int, len(c.Stores))}
	for i, s := range c.Stores {
		v.loads[i].Store = s
		v.index[s.ID] = i
	}
	for _, r := range c.Ranges {
		for _, rep := range r.Desc.GetReplicas() {
			leaving := rep.GetRole() == internalpb.ReplicaRole_VOTER_OUTGOING
			if l := v.load(proto.StoreID(rep.GetStoreId())); l != nil && !leaving {
				l.replicas++
			}
		}
		if l := v.load(r.Leader); l != nil && r.Reported {
			l.leaders++
		}
	}
	return v
}

func (v *view) load(id proto.StoreID) *load {
	if i, ok := v.index[id]; ok {
		return &v.loads[i]
	}
	return nil
}

// state of a store that nobody knows is Lost: it has no record, so it can not come back.
func (v *view) state(id proto.StoreID) StoreState {
	if l := v.load(id); l != nil {
		return l.State
	}
	return Lost
}

func (v *view) stateOf(rep *internalpb.Replica) StoreState {
	return v.state(proto.StoreID(rep.GetStoreId()))
}

// count adds what the rest of an operator will do to the loads.
func (v *view) count(o *operator, r *Range) {
	for i := o.at; i < len(o.steps); i++ {
		s := &o.steps[i]
		switch s.action {
		case addLearner:
			if l := v.load(s.store); l != nil {
				l.replicas++
				l.adds++
			}
		case enterJoint:
			for _, store := range s.promote {
				// Its add is done, but its data may still be on the way.
				if l := v.load(store); l != nil && r.replicaOn(store) != nil {
					l.adds++
				}
			}
			for _, id := range s.remove {
				v.countRemoval(r, id)
			}
		case removeLearner:
			v.countRemoval(r, s.remove[0])
		case transfer:
			if from, to := v.load(r.Leader), v.load(s.store); from != nil && to != nil {
				from.leaders--
				to.leaders++
			}
		}
	}
}

func (v *view) countRemoval(r *Range, id uint64) {
	rep := r.replica(id)
	if rep == nil {
		return
	}
	if l := v.load(proto.StoreID(rep.GetStoreId())); l != nil {
		l.replicas--
	}
}

// quorate tells whether live voters are a majority of what keep selects.
func (v *view) quorate(r *Range, keep func(*internalpb.Replica) bool) (live, all int, ok bool) {
	for _, rep := range r.Desc.GetReplicas() {
		if !keep(rep) {
			continue
		}
		all++
		if v.stateOf(rep) == Live {
			live++
		}
	}
	return live, all, live > all/2
}

// promotable checks I1 and I2 for an enterJoint step and answers the ids to promote.
func (v *view) promotable(r *Range, s *step) (ids []uint64, waits string) {
	gone := make(map[uint64]bool, len(s.remove))
	for _, id := range s.remove {
		gone[id] = true
	}
	coming := make(map[uint64]bool, len(s.promote))
	for _, store := range s.promote {
		rep := r.replicaOn(store)
		if rep == nil {
			return nil, fmt.Sprintf("the learner on store %d is not there yet", store)
		}
		if !r.caughtUp(rep.GetReplicaId(), v.cfg.LagEntriesMax) {
			return nil, fmt.Sprintf("the learner on store %d is catching up", store)
		}
		coming[rep.GetReplicaId()] = true
		ids = append(ids, rep.GetReplicaId())
	}
	if live, all, ok := v.quorate(r, inOldHalf); !ok {
		return nil, fmt.Sprintf("only %d of %d voters are on live stores", live, all)
	}
	live, all, ok := v.quorate(r, func(rep *internalpb.Replica) bool {
		return coming[rep.GetReplicaId()] || (inNewHalf(rep) && !gone[rep.GetReplicaId()])
	})
	if !ok {
		return nil, fmt.Sprintf("afterwards only %d of %d voters would be on live stores", live, all)
	}
	return ids, ""
}

// successor is the voter that should take the leadership from the current leader: live, caught up, not about to be
// removed, on the store with the fewest leaders.
func (v *view) successor(r *Range, removed []uint64) *internalpb.Replica {
	var best *internalpb.Replica
	var bestLoad *load
	for _, rep := range r.Desc.GetReplicas() {
		if !v.canLead(r, rep) || slices.Contains(removed, rep.GetReplicaId()) {
			continue
		}
		l := v.load(proto.StoreID(rep.GetStoreId()))
		if best == nil || l.leaders < bestLoad.leaders || (l.leaders == bestLoad.leaders && l.ID < bestLoad.ID) {
			best, bestLoad = rep, l
		}
	}
	return best
}

// canLead tells whether a replica other than the leader's could take the leadership now.
func (v *view) canLead(r *Range, rep *internalpb.Replica) bool {
	l := v.load(proto.StoreID(rep.GetStoreId()))
	return l != nil && l.ID != r.Leader && l.State == Live && !l.Draining && inNewHalf(rep) &&
		r.caughtUp(rep.GetReplicaId(), v.cfg.LagEntriesMax)
}

// refusesLead says why a transfer that balances leaders, or takes them from a store that drains, must not
// go on: a leader that hands over takes no writes until its successor answers, and one that is away never does.
func (v *view) refusesLead(o *operator, r *Range) string {
	if o.kind != TransferLeader && o.kind != DrainLeader {
		return ""
	}
	to := o.steps[o.at].store
	if rep := r.replicaOn(to); rep == nil || !v.canLead(r, rep) {
		return fmt.Sprintf("store %d can not lead now", to)
	}
	return ""
}

func (v *view) hasSpace(l *load) bool {
	return l.CapacityBytes == 0 || l.AvailableBytes >= l.CapacityBytes/100*uint64(v.cfg.LowSpacePercent)
}

// target picks the store for a new replica in two stages: the best isolation from the stores in beside among all that
// could ever take it; of those, one that can take it now, with the fewest replicas. It never settles for worse
// isolation because of a temporary limit. taken are stores that have, or are about to get, a replica.
func (v *view) target(taken map[proto.StoreID]bool, beside []proto.StoreID, addsMax int) (l *load, why string) {
	var eligible []*load
	low := false
	for i := range v.loads {
		l := &v.loads[i]
		if l.State != Live || l.Draining || taken[l.ID] {
			continue
		}
		if !v.hasSpace(l) {
			low = true
			continue
		}
		eligible = append(eligible, l)
	}
	if len(eligible) == 0 {
		if low {
			return nil, "the stores that could take a replica are low on space"
		}
		return nil, ""
	}
	shared := -1
	for _, l := range eligible {
		if n := v.sharedLevels(l.ID, beside); shared < 0 || n < shared {
			shared = n
		}
	}
	var best *load
	for _, l := range eligible {
		if v.sharedLevels(l.ID, beside) != shared {
			continue
		}
		why = fmt.Sprintf("store %d is receiving %d replicas, the limit", l.ID, l.adds)
		if l.adds < addsMax && (best == nil || l.replicas < best.replicas) {
			best = l
		}
	}
	if best != nil {
		return best, ""
	}
	return nil, why
}

// sharedLevels counts the locality levels that a store has in common with each of the others: lower is safer.
func (v *view) sharedLevels(id proto.StoreID, others []proto.StoreID) int {
	l := v.load(id)
	n := 0
	for _, other := range others {
		o := v.load(other)
		if l == nil || o == nil || other == id {
			continue
		}
		for i := 0; i < len(l.Locality) && i < len(o.Locality) && l.Locality[i] == o.Locality[i]; i++ {
			n++
		}
	}
	return n
}

func (v *view) tolerance(configured int, mean int) int {
	return max(configured, mean*v.cfg.TolerancePercent/100)
}
