package schedule

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// movable: nothing is being done with the range and its leader answers.
func (p *Planner) movable(r *Range) bool {
	return r.Reported && p.view.state(r.Leader) == Live && !r.joint() && !p.busy(r.ID())
}

// drainLeaders moves leaders off stores that drain.
func (p *Planner) drainLeaders(c *Cluster) {
	left := p.cfg.DrainsPerTick
	for _, r := range c.Ranges {
		l := p.view.load(r.Leader)
		if left == 0 || l == nil || !l.Draining || !p.movable(r) {
			continue
		}
		to := p.view.successor(r, nil)
		if to == nil {
			p.note(r, fmt.Sprintf("store %d drains, but no other voter is live and caught up", l.ID))
			continue
		}
		p.begin(newOperator(r, DrainLeader, fmt.Sprintf("store %d drains", l.ID),
			step{action: transfer, store: proto.StoreID(to.GetStoreId())}), r)
		left--
	}
}

// spreadable are the stores among which leaders and replicas are spread.
func (p *Planner) spreadable() []*load {
	var out []*load
	for i := range p.view.loads {
		if l := &p.view.loads[i]; l.State == Live && !l.Draining {
			out = append(out, l)
		}
	}
	return out
}

// balanceLeaders transfers leaders from the store with the most towards one with fewer. A direct transfer may not
// exist, so it looks for the shortest chain of transfers: 1 to 2 and 2 to 3 move a leader from 1 to 3 (I6).
func (p *Planner) balanceLeaders(c *Cluster) {
	stores := p.spreadable()
	if len(stores) < 2 {
		return
	}
	total := 0
	for _, l := range stores {
		total += l.leaders
	}
	tolerance := p.view.tolerance(p.cfg.LeaderTolerance, total/len(stores))
	if spread(stores, func(l *load) int { return l.leaders }) <= tolerance {
		return
	}
	led := map[proto.StoreID][]*Range{}
	for _, r := range c.Ranges {
		// The system range stays where it is: every move of it stops the driver and the oracle for a moment.
		if p.movable(r) && r.ID() != proto.SystemRange {
			led[r.Leader] = append(led[r.Leader], r)
		}
	}
	for left := p.cfg.TransfersPerTick; left > 0; {
		slices.SortFunc(stores, func(a, b *load) int {
			return cmp.Or(cmp.Compare(b.leaders, a.leaders), cmp.Compare(a.ID, b.ID))
		})
		least := stores[len(stores)-1].leaders
		begun := 0
		for _, from := range stores {
			if from.leaders-least <= tolerance || begun > 0 {
				break
			}
			begun = p.transferChain(led, from, tolerance)
		}
		if begun == 0 {
			return
		}
		left -= begun
	}
}

func spread(stores []*load, count func(*load) int) int {
	lo, hi := count(stores[0]), count(stores[0])
	for _, l := range stores {
		lo, hi = min(lo, count(l)), max(hi, count(l))
	}
	return hi - lo
}

// hop is one transfer of a chain.
type hop struct {
	from proto.StoreID
	r    *Range
}

// transferChain begins the transfers of the shortest chain from a store to one that has fewer leaders by more than the
// tolerance, and answers their number.
func (p *Planner) transferChain(led map[proto.StoreID][]*Range, from *load, tolerance int) int {
	came := map[proto.StoreID]hop{from.ID: {}}
	queue := []proto.StoreID{from.ID}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, r := range led[at] {
			if p.busy(r.ID()) {
				continue
			}
			for _, rep := range r.Desc.GetReplicas() {
				to := proto.StoreID(rep.GetStoreId())
				if _, seen := came[to]; seen || !p.view.canLead(r, rep) {
					continue
				}
				came[to] = hop{at, r}
				if from.leaders-p.view.load(to).leaders > tolerance {
					return p.beginChain(came, from.ID, to)
				}
				queue = append(queue, to)
			}
		}
	}
	return 0
}

func (p *Planner) beginChain(came map[proto.StoreID]hop, from, to proto.StoreID) int {
	n := 0
	for at := to; at != from; at = came[at].from {
		h := came[at]
		reason := fmt.Sprintf("store %d leads %d ranges, store %d leads %d",
			h.from, p.view.load(h.from).leaders, at, p.view.load(at).leaders)
		p.begin(newOperator(h.r, TransferLeader, reason, step{action: transfer, store: at}), h.r)
		n++
	}
	return n
}

// balanceReplicas moves replicas of healthy ranges from full stores to emptier ones. It uses half of the limit of adds,
// so that repairs always find room.
func (p *Planner) balanceReplicas(c *Cluster) {
	stores := p.spreadable()
	if len(stores) <= p.cfg.Replicas {
		return // every healthy range is on all of them
	}
	total := 0
	for _, l := range stores {
		total += l.replicas
	}
	tolerance := p.view.tolerance(p.cfg.ReplicaTolerance, total/len(stores))
	if spread(stores, func(l *load) int { return l.replicas }) <= tolerance {
		return
	}
	on := map[proto.StoreID][]*Range{}
	for _, r := range c.Ranges {
		if _, ok := p.view.healthy(r); !ok || !p.movable(r) {
			continue
		}
		for _, rep := range r.Desc.GetReplicas() {
			on[proto.StoreID(rep.GetStoreId())] = append(on[proto.StoreID(rep.GetStoreId())], r)
		}
	}
	limit := max(1, p.cfg.AddsPerStoreMax/2)
	for p.moveOne(on, stores, tolerance, limit) {
	}
}

func (p *Planner) moveOne(on map[proto.StoreID][]*Range, stores []*load, tolerance, limit int) bool {
	slices.SortFunc(stores, func(a, b *load) int {
		return cmp.Or(cmp.Compare(b.replicas, a.replicas), cmp.Compare(a.ID, b.ID))
	})
	for _, from := range stores {
		for i := len(stores) - 1; i >= 0; i-- {
			to := stores[i]
			if from.replicas-to.replicas <= tolerance {
				break
			}
			if to.adds >= limit || !p.view.hasSpace(to) {
				continue
			}
			if r, rep := p.pick(on[from.ID], from, to); r != nil {
				reason := fmt.Sprintf("store %d has %d replicas, store %d has %d",
					from.ID, from.replicas, to.ID, to.replicas)
				p.begin(newOperator(r, MoveReplica, reason,
					step{action: addLearner, store: to.ID},
					step{action: enterJoint, promote: []proto.StoreID{to.ID}, remove: []uint64{rep.GetReplicaId()}},
					step{action: leaveJoint}), r)
				return true
			}
		}
	}
	return false
}

// pick chooses the range to move: one that is not on the target, keeps its isolation, and rather one that the source
// does not lead.
func (p *Planner) pick(ranges []*Range, from, to *load) (*Range, *internalpb.Replica) {
	var led *Range
	for _, r := range ranges {
		if p.busy(r.ID()) || r.replicaOn(to.ID) != nil {
			continue
		}
		var others []proto.StoreID
		for _, rep := range r.Desc.GetReplicas() {
			if store := proto.StoreID(rep.GetStoreId()); store != from.ID {
				others = append(others, store)
			}
		}
		if p.view.sharedLevels(to.ID, others) > p.view.sharedLevels(from.ID, others) {
			continue
		}
		if r.Leader != from.ID {
			return r, r.replicaOn(from.ID)
		}
		if led == nil && p.view.successor(r, nil) != nil {
			led = r
		}
	}
	if led != nil {
		return led, led.replicaOn(from.ID)
	}
	return nil, nil
}
