package replica

import (
	"bytes"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/keys"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// ApplyVersion is the version of the rules of apply that new ranges start with.
const ApplyVersion = 1

// Split is a proposal to split a range.
type Split struct {
	Epoch     *internalpb.Epoch // of the range when the key was chosen
	Key       []byte            // the first replicated key of the right-hand side
	Right     proto.RangeID     // from the placement driver
	LeftBytes uint64            // counted; the right-hand side gets the rest
	// Campaigner leads the right-hand side first. 0: this replica.
	Campaigner proto.ReplicaID
}

// ProposeSplit offers a split.
func (c *Core) ProposeSplit(id proto.RangeID, proposal uint64, s Split) {
	c.guard(func() {
		r, ok := c.leader(id, proposal)
		if !ok || !r.mayChange(proposal, s.Epoch) {
			return
		}
		d := r.state.Desc
		if bytes.Compare(s.Key, d.Start) <= 0 || (len(d.End) > 0 && bytes.Compare(s.Key, d.End) >= 0) {
			r.refuse(proposal, Refused, "the split key is not inside the range")
			return
		}
		if InJoint(d) {
			r.refuse(proposal, QueueFull, "the range is in a joint configuration")
			return
		}
		if s.Campaigner == 0 {
			s.Campaigner = r.replicaID
		}
		left, right := cloneDescriptor(d), cloneDescriptor(d)
		left.End, left.Epoch.Version = s.Key, d.Epoch.Version+1
		right.Start = rightStart(s.Key)
		right.Epoch.Version, right.RangeId = d.Epoch.Version+1, uint64(s.Right)
		r.changing = proposal
		r.proposeData(proposal, &internalpb.Command{
			EpochVersion: s.Epoch.Version, EvalTerm: r.soft.HardState.GetTerm(),
			Kind: &internalpb.Command_Split{Split: &internalpb.SplitCommand{
				Left: left, Right: right, LeftBytes: s.LeftBytes, Campaigner: uint64(s.Campaigner)}}})
		if _, waits := r.proposals[proposal]; !waits {
			r.changing = 0
		}
	})
}

// rightStart is where the right-hand side of a split begins.
func rightStart(key []byte) []byte {
	if fault.On(fault.SplitLosesBoundary) {
		return append(bytes.Clone(key), 0)
	}
	return key
}

// applySplit writes both sides in one batch (I3). It first has the right-hand side's core stop and drain what an early
// message may have made of it; false: not answered yet.
func (r *replica) applySplit(e *raftpb.Entry, cmd *internalpb.Command, s *internalpb.SplitCommand, ack *applyAck,
	o *Outcome) bool {
	d := r.state.Desc
	if v := r.current(e, cmd); v != Applied {
		o.Verdict = v
		return true
	}
	if s.Left.Epoch.Version != d.Epoch.Version+1 || s.Left.Epoch.Conf != d.Epoch.Conf {
		o.Verdict = StaleEpoch
		return true
	}
	me := replicaOnStore(s.Right, uint64(r.c.cfg.Store))
	invariant(me != nil, "range %d: a split without a replica for store %d", r.id, r.c.cfg.Store)
	right := proto.RangeID(s.Right.RangeId)
	if r.preparedFor == nil {
		r.preparing = true
		r.c.eff.Handoffs = append(r.c.eff.Handoffs, Handoff{
			Kind: HandoffPrepare, To: right, From: r.id, Replica: proto.ReplicaID(me.ReplicaId)})
		return false
	}
	skip := r.preparedFor.Skip
	fault.Sometimes("split-skips-right", skip)
	r.preparedFor = nil
	b := &r.c.eff.Apply.Batch
	if skip {
		lower, upper := keys.DataSpan(s.Right.Start, s.Right.End)
		b.DeleteRange(lower, upper)
	} else if err := writeInitial(b, s.Right, me.ReplicaId, r.state.Bytes-min(s.LeftBytes, r.state.Bytes)); err != nil {
		r.c.fail(err)
		return false
	}
	r.state.Desc = s.Left
	r.state.Bytes = min(s.LeftBytes, r.state.Bytes)
	ack.split = &splitAck{right: right, key: s.Right.Start, rightHas: !skip, handoff: Handoff{
		Kind: HandoffInit, To: right, From: r.id, Replica: proto.ReplicaID(me.ReplicaId), Skip: skip,
		Campaign: s.Campaigner == me.ReplicaId}}
	o.Descriptors = []*internalpb.Descriptor{s.Left, s.Right}
	return true
}

// rightPrepared goes on with the split that waited.
func (r *replica) rightPrepared(h Handoff) {
	if !r.preparing {
		return
	}
	r.preparing = false
	if r.doomed != 0 { // the split will not be applied here; its right-hand side is let go
		fault.Reached("split-of-doomed")
		r.c.eff.Handoffs = append(r.c.eff.Handoffs, Handoff{
			Kind: HandoffInit, To: h.From, From: r.id, Replica: h.Replica, Skip: true})
		r.c.mark(r)
		return
	}
	r.preparedFor = &h
	r.runApplies()
	r.c.mark(r)
}

// prepareRight stops the right-hand side of a split that is about to be applied by another replica of this store.
func (c *Core) prepareRight(h Handoff) {
	c.frozen[h.To] = true
	c.pending[h.To] = h
	c.tryPrepared(h.To)
}

// tryPrepared answers HandoffPrepare once nothing of the right-hand side is on its way to the disk.
func (c *Core) tryPrepared(id proto.RangeID) {
	h, waits := c.pending[id]
	if !waits || c.leaving[id] {
		return
	}
	answer := Handoff{Kind: HandoffPrepared, To: h.From, From: id, Replica: h.Replica}
	if r := c.replicas[id]; r != nil {
		if len(r.logWrites) > 0 || r.node.HasReady() || r.marked {
			fault.Reached("split-waits-for-right")
			return
		}
		invariant(!r.initialised(), "range %d has state before the split that makes it", id)
		if r.replicaID > h.Replica {
			answer.Skip = true // it was removed and added again, and waits for a range snapshot
		} else {
			if r.snapshot != nil {
				c.eff.Dropped = append(c.eff.Dropped, r.snapshot.id)
				c.cfg.Spans.Release(id)
				r.snapshot = nil
			}
			c.drop(r)
		}
	}
	t := &internalpb.Tombstone{}
	if _, err := getProto(c.cfg.Reader, keys.Local(id, keys.KindTombstone), t); err != nil {
		c.fail(fmt.Errorf("read the tombstone of range %d: %w", id, err))
		return
	}
	answer.Skip = answer.Skip || uint64(h.Replica) < t.NextReplicaId
	delete(c.pending, id)
	c.eff.Handoffs = append(c.eff.Handoffs, answer)
}

// initRight starts the right-hand side of an applied split, or lets it go. What tryPrepared dropped of one that is let
// go is not a replica here any more, unless a message makes it again.
func (c *Core) initRight(h Handoff) {
	early := c.early[h.To]
	delete(c.frozen, h.To)
	delete(c.early, h.To)
	if !h.Skip {
		r, err := c.load(h.To, 0)
		if err != nil {
			c.fail(fmt.Errorf("start range %d after its split: %w", h.To, err))
			return
		}
		if h.Campaign && !fault.Buggify("no-campaign") {
			r.campaign()
		}
	} else if c.replicas[h.To] == nil {
		c.eff.Statuses = append(c.eff.Statuses, Status{Range: h.To, Removed: true})
	}
	for _, m := range early {
		c.message(m)
	}
}
