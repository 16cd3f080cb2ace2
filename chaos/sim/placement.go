package sim

import (
	"math/rand/v2"
	"slices"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// voters is how many voters a range should have.
const voters = 3

// deadAfter is how long a store is down before its replicas are replaced.
const deadAfter = 6 * sec

// placement stands for the placement driver: it sees the statuses of leaders, keeps each range at three voters, moves
// replicas about, and tells replicas that nobody knows any more that they are gone.
type placement struct {
	c       *cluster
	r       *rand.Rand
	waiting map[[2]uint64]proto.RangeID     // store, proposal -> range
	busy    map[proto.RangeID]int64         // a change is on its way, until then at most
	away    map[proto.RangeID]proto.StoreID // a replica is to move away from here
	downAt  map[proto.StoreID]int64
	latest  map[proto.RangeID]*internalpb.Descriptor // newest applied anywhere
	calm    bool                                     // no moves of its own
}

func newPlacement(c *cluster) *placement {
	return &placement{c: c, r: c.k.rng("placement", 0), waiting: map[[2]uint64]proto.RangeID{},
		busy: map[proto.RangeID]int64{}, away: map[proto.RangeID]proto.StoreID{}, downAt: map[proto.StoreID]int64{},
		latest: map[proto.RangeID]*internalpb.Descriptor{}}
}

func (p *placement) tick() {
	for _, s := range p.c.stores {
		if s.up {
			delete(p.downAt, s.id)
		} else if _, ok := p.downAt[s.id]; !ok {
			p.downAt[s.id] = p.c.k.now
		}
	}
	for _, l := range p.c.leaders() {
		if had := p.latest[l.Range]; had == nil || newer(l.Descriptor.Epoch, had.Epoch) {
			p.latest[l.Range] = l.Descriptor
		}
		if p.busy[l.Range] <= p.c.k.now {
			p.arrange(l)
		}
	}
	p.collect()
	p.c.k.after(between(p.r, 100*ms, 400*ms), 0, "placement", p.tick)
}

func newer(a, b *internalpb.Epoch) bool { return a.Version+a.Conf > b.Version+b.Conf }

func (p *placement) dead(id proto.StoreID) bool {
	at, down := p.downAt[id]
	return down && p.c.k.now-at > deadAfter
}

// arrange takes the one next step of a range.
func (p *placement) arrange(l leaderStatus) {
	d := l.Descriptor
	if replica.InJoint(d) {
		p.change(l, &internalpb.ChangeReplicasStep{LeaveJoint: true})
		return
	}
	var live, learners []*internalpb.Replica
	var victim *internalpb.Replica // a voter that should go
	for _, r := range d.Replicas {
		switch {
		case r.Role == internalpb.ReplicaRole_LEARNER:
			learners = append(learners, r)
		case p.dead(proto.StoreID(r.StoreId)), proto.StoreID(r.StoreId) == p.away[l.Range]:
			victim = r
		default:
			live = append(live, r)
		}
	}
	for _, r := range learners {
		if p.dead(proto.StoreID(r.StoreId)) || len(live) >= voters {
			p.change(l, &internalpb.ChangeReplicasStep{RemoveLearnerReplica: r.ReplicaId})
			return
		}
		if p.caughtUp(l, r.ReplicaId) {
			p.promote(l, r, victim)
			return
		}
	}
	if len(learners) == 0 && len(live) < voters {
		p.addLearner(l, victim)
	}
}

// promote makes a voter of a learner and, in the same step, none of the victim.
func (p *placement) promote(l leaderStatus, r, victim *internalpb.Replica) {
	step := &internalpb.JointStep{PromoteReplicas: []uint64{r.ReplicaId}}
	if victim != nil {
		step.RemoveReplicas = []uint64{victim.ReplicaId}
		delete(p.away, l.Range)
		p.c.count.moves++
	}
	p.change(l, &internalpb.ChangeReplicasStep{EnterJoint: step})
}

func (p *placement) addLearner(l leaderStatus, victim *internalpb.Replica) {
	free := p.freeStores(l.Descriptor)
	if len(free) > 0 {
		p.change(l, &internalpb.ChangeReplicasStep{AddLearnerStore: uint64(free[p.r.IntN(len(free))])})
		return
	}
	if victim != nil && len(l.Descriptor.Replicas) > 1 && !p.calm { // nowhere to move it to
		delete(p.away, l.Range)
	}
}

func (p *placement) freeStores(d *internalpb.Descriptor) (free []proto.StoreID) {
	for _, s := range p.c.stores {
		has := slices.ContainsFunc(d.Replicas, func(r *internalpb.Replica) bool { return r.StoreId == uint64(s.id) })
		if s.up && !has {
			free = append(free, s.id)
		}
	}
	return free
}

func (p *placement) caughtUp(l leaderStatus, id uint64) bool {
	for _, pr := range l.store.coreOf(l.Range).Progress(l.Range) {
		if pr.ReplicaId == id {
			return pr.RecentlyActive && !pr.InSnapshot && pr.Match+20 >= l.Commit
		}
	}
	return false
}

// change offers a step of membership to the leader.
func (p *placement) change(l leaderStatus, step *internalpb.ChangeReplicasStep) {
	proposal := p.begin(l)
	p.c.count.changes++
	p.c.k.note("range %d %v c%d: %v", l.Range, l.Descriptor.Replicas, l.Descriptor.Epoch.Conf, step)
	l.store.with(l.Range, func(c *replica.Core) { c.ProposeChange(l.Range, proposal, l.Descriptor.Epoch, step) })
}

func (p *placement) begin(l leaderStatus) (proposal uint64) {
	f := l.store.front
	f.next++
	p.waiting[[2]uint64{uint64(l.store.id), f.next}] = l.Range
	p.busy[l.Range] = p.c.k.now + between(p.r, 500*ms, 2*sec)
	return f.next
}

// outcome takes the answer to a proposal of placement.
func (p *placement) outcome(s *store, o *replica.Outcome) bool {
	at := [2]uint64{uint64(s.id), o.Proposal}
	id, ok := p.waiting[at]
	if !ok {
		return false
	}
	delete(p.waiting, at)
	delete(p.busy, id)
	if o.Verdict == replica.Applied && len(o.Descriptors) == 2 {
		p.c.count.splits++
	}
	if o.Verdict != replica.Applied {
		p.c.k.note("range %d: change is answered %d %s", id, o.Verdict, o.Reason)
	}
	return true
}

// forget: a store that crashed answers nothing that it was asked before.
func (p *placement) forget(s *store) {
	for at, id := range p.waiting {
		if at[0] == uint64(s.id) {
			delete(p.waiting, at)
			delete(p.busy, id)
		}
	}
}

// split cuts a range between two slots.
func (p *placement) split(l leaderStatus) bool {
	var between []int
	for i := range p.c.work.slots() {
		if k := userKey(slotName(i)); contains(l.Descriptor, k) && string(k) != string(l.Descriptor.Start) {
			between = append(between, i)
		}
	}
	if len(between) == 0 || int(p.c.nextRange-proto.FirstUserRange) >= p.c.o.RangesMax {
		return false
	}
	key := userKey(slotName(between[p.r.IntN(len(between))]))
	proposal := p.begin(l)
	right := p.c.nextRange
	p.c.nextRange++
	campaigner := proto.ReplicaID(0)
	if n := len(l.Descriptor.Replicas); p.r.IntN(2) == 0 {
		campaigner = proto.ReplicaID(l.Descriptor.Replicas[p.r.IntN(n)].ReplicaId)
	}
	p.c.k.note("split range %d at %q into %d", l.Range, key, right)
	l.store.with(l.Range, func(c *replica.Core) {
		c.ProposeSplit(l.Range, proposal, replica.Split{Epoch: l.Descriptor.Epoch, Key: key, Right: right,
			LeftBytes: l.Bytes / 2, Campaigner: campaigner})
	})
	return true
}

// collect tells replicas that are no members any more that they are gone.
func (p *placement) collect() {
	for _, s := range p.c.stores {
		if !s.up {
			continue
		}
		for _, id := range s.ranges() {
			st, d := s.status[id], p.latest[id]
			if d == nil || uint64(st.Replica) >= d.NextReplicaId || hasReplica(d, uint64(st.Replica)) ||
				st.LeaderlessTicks < 20 {
				continue
			}
			gone := &internalpb.RaftMessage{RangeId: uint64(id), ToStore: uint64(s.id), ToReplica: uint64(st.Replica),
				Gone: &internalpb.Gone{NextReplicaId: uint64(st.Replica) + 1}}
			s.after(0, "collect", func() { s.with(id, func(c *replica.Core) { c.Message(gone) }) })
		}
	}
}

func hasReplica(d *internalpb.Descriptor, id uint64) bool {
	return slices.ContainsFunc(d.Replicas, func(r *internalpb.Replica) bool { return r.ReplicaId == id })
}
