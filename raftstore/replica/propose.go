package replica

import (
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

type trackerProgress = tracker.Progress

const trackerStateSnapshot = tracker.StateSnapshot

// Propose offers a write command to the range's log. The answer is an Outcome with this proposal id, which is not 0 and
// is used once. cmd's proposal id and store are filled in.
func (c *Core) Propose(id proto.RangeID, proposal uint64, cmd *internalpb.Command) {
	c.guard(func() { c.propose(id, proposal, cmd) })
}

func (c *Core) propose(id proto.RangeID, proposal uint64, cmd *internalpb.Command) {
	r, ok := c.leader(id, proposal)
	if !ok {
		return
	}
	if cmd.EvalTerm != r.soft.HardState.GetTerm() && !fault.On(fault.SkipTermCheck) {
		r.refuse(proposal, NotLeader, "")
		return
	}
	if cmd.EpochVersion != r.state.Desc.Epoch.Version && !fault.On(fault.SkipEpochCheck) {
		r.refuse(proposal, StaleEpoch, "")
		return
	}
	r.proposeData(proposal, cmd)
}

// leader finds the replica when it leads, or refuses.
func (c *Core) leader(id proto.RangeID, proposal uint64) (*replica, bool) {
	r := c.replicas[id]
	if r == nil {
		c.eff.Outcomes = append(c.eff.Outcomes, Outcome{Range: id, Proposal: proposal, Verdict: NotLeader})
		return nil, false
	}
	if !r.leads() || r.doomed != 0 {
		r.refuse(proposal, NotLeader, "")
		return nil, false
	}
	return r, true
}

func (r *replica) refuse(proposal uint64, v Verdict, reason string) {
	if proposal == 0 {
		return
	}
	o := Outcome{Range: r.id, Proposal: proposal, Verdict: v, Leader: proto.ReplicaID(r.soft.Lead), Reason: reason}
	if v == StaleEpoch && r.state.Desc != nil {
		o.Descriptors = []*internalpb.Descriptor{r.state.Desc}
	}
	r.c.eff.Outcomes = append(r.c.eff.Outcomes, o)
}

func (r *replica) proposeData(proposal uint64, cmd *internalpb.Command) {
	data, ok := r.admit(proposal, cmd)
	if !ok {
		return
	}
	r.proposed(proposal, len(data), r.node.Propose(data))
}

// admit encodes the command, when the queues have room. There always is for a change of the descriptor, of which a range
// has one at a time: a range that is full of writes could not be split or moved otherwise.
func (r *replica) admit(proposal uint64, cmd *internalpb.Command) ([]byte, bool) {
	cmd.ProposalId, cmd.ProposerStore = proposal, uint64(r.c.cfg.Store)
	data, err := gproto.Marshal(cmd)
	if err != nil {
		r.refuse(proposal, Refused, err.Error())
		return nil, false
	}
	cfg := &r.c.cfg
	switch {
	case proposal == 0, proposal == r.changing:
	case fault.Buggify("queue-seems-full"):
		r.refuse(proposal, QueueFull, fmt.Sprintf("range %d refuses a write for once", r.id))
		return nil, false
	case len(r.proposals) >= cfg.QueueCountMax, r.queueBytes+len(data) > cfg.QueueBytesMax:
		r.refuse(proposal, QueueFull, fmt.Sprintf("range %d has too many writes waiting", r.id))
		return nil, false
	case r.c.queueBytes+len(data) > cfg.StoreQueueBytesMax:
		r.refuse(proposal, QueueFull, fmt.Sprintf("store %d has too many writes waiting", cfg.Store))
		return nil, false
	}
	return data, true
}

func (r *replica) proposed(proposal uint64, size int, err error) {
	r.c.mark(r)
	switch {
	case errors.Is(err, raft.ErrProposalDropped) && r.node.BasicStatus().LeadTransferee != raft.None:
		fault.Reached("proposal-in-transfer")
		r.refuse(proposal, QueueFull, "the leader is being transferred")
	case errors.Is(err, raft.ErrProposalDropped) && r.node.BasicStatus().RaftState == raft.StateLeader:
		r.refuse(proposal, QueueFull, fmt.Sprintf("range %d has too many uncommitted writes", r.id))
	case err != nil:
		r.refuse(proposal, NotLeader, "")
	case proposal != 0:
		r.proposals[proposal] = size
		r.queueBytes += size
		r.c.queueBytes += size
	}
}

func (r *replica) forget(proposal uint64, size int) {
	delete(r.proposals, proposal)
	r.queueBytes -= size
	r.c.queueBytes -= size
	if r.changing == proposal {
		r.changing = 0
	}
}

// failProposals answers all that wait: leadership is gone, and whether their entries live on is not known here.
func (r *replica) failProposals() {
	ids := make([]uint64, 0, len(r.proposals))
	for id := range r.proposals {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		fault.Reached("proposal-unknown")
		r.refuse(id, Unknown, "the range's leader changed")
		r.forget(id, r.proposals[id])
	}
	r.changing = 0
}

// ProposeChange offers one step of membership. Only one change of the descriptor is in flight at a time.
func (c *Core) ProposeChange(id proto.RangeID, proposal uint64, epoch *internalpb.Epoch, step *internalpb.ChangeReplicasStep) {
	c.guard(func() {
		r, ok := c.leader(id, proposal)
		if !ok || !r.mayChange(proposal, epoch) {
			return
		}
		after, cc, err := Change(r.state.Desc, step)
		if err != nil {
			r.refuse(proposal, Refused, err.Error())
			return
		}
		cmd := &internalpb.Command{EpochVersion: epoch.Version, EvalTerm: r.soft.HardState.GetTerm(),
			Kind: &internalpb.Command_ChangeReplicas{ChangeReplicas: &internalpb.ChangeReplicasCommand{
				After: after, ExpectConf: epoch.Conf}}}
		r.changing = proposal
		if data, ok := r.admit(proposal, cmd); ok {
			cc.Context = data
			r.proposed(proposal, len(data), r.node.ProposeConfChange(cc))
		}
		if _, waits := r.proposals[proposal]; !waits {
			r.changing = 0
		}
	})
}

// mayChange: the epoch is the current one, everything of earlier terms is applied, and no other change is on its way.
func (r *replica) mayChange(proposal uint64, epoch *internalpb.Epoch) bool {
	d := r.state.Desc
	switch {
	case epoch.Version != d.Epoch.Version || epoch.Conf != d.Epoch.Conf && !fault.On(fault.TwoChanges):
		r.refuse(proposal, StaleEpoch, "")
	case (r.changing != 0 || r.preparing) && !fault.On(fault.TwoChanges):
		r.refuse(proposal, QueueFull, "another change of the range is on its way")
	case r.acked.AppliedTerm != r.soft.HardState.GetTerm(), r.node.BasicStatus().Applied < r.confBarrier:
		fault.Reached("change-waits-for-new-leader")
		r.refuse(proposal, QueueFull, "the leader is new and still applies")
	default:
		return true
	}
	return false
}

// TransferLeader asks raft to hand leadership on. What comes of it shows in the statuses.
func (c *Core) TransferLeader(id proto.RangeID, to proto.ReplicaID) {
	c.guard(func() {
		if r := c.replicas[id]; r != nil && r.leads() {
			r.node.TransferLeader(uint64(to))
			c.mark(r)
		}
	})
}

// Campaign makes the replica stand for election at once.
func (c *Core) Campaign(id proto.RangeID) {
	c.guard(func() {
		if r := c.replicas[id]; r != nil {
			r.campaign()
		}
	})
}

func (r *replica) campaign() {
	if r.leads() {
		return
	}
	if err := r.node.Campaign(); err != nil {
		r.c.cfg.Logger.Debugf("range %d: campaign: %v", r.id, err)
	}
	r.c.mark(r)
}

// Progress is how far each replica of a range that this store leads has come; nil elsewhere.
func (c *Core) Progress(id proto.RangeID) []*internalpb.ReplicaProgress {
	if r := c.replicas[id]; r != nil && c.fatal == nil && r.leads() {
		return r.progress()
	}
	return nil
}

// Read asks for a moment from which a view is linearizable. The answer is a ReadOutcome. Reads that come before the
// next Ready share one quorum round, and no round is ever used for a read that came after it began.
func (c *Core) Read(id proto.RangeID, read uint64) {
	c.guard(func() {
		r := c.replicas[id]
		switch {
		case r == nil:
			c.eff.Reads = append(c.eff.Reads, ReadOutcome{Range: id, Read: read})
		case !r.leads() || r.doomed != 0:
			c.eff.Reads = append(c.eff.Reads, ReadOutcome{Range: id, Read: read, Leader: proto.ReplicaID(r.soft.Lead)})
		default:
			r.readQueue = append(r.readQueue, read)
			c.mark(r)
		}
	})
}

func (r *replica) issueReads() {
	if len(r.readQueue) == 0 {
		return
	}
	ctx := r.c.readContext() // always fresh: an answer to an older round must not confirm this one
	now := r.readQueue
	if len(now) > 1 && fault.Buggify("read-alone") {
		now = now[:1]
	}
	r.readWait[string(ctx)] = now
	r.readQueue = r.readQueue[len(now):]
	r.node.ReadIndex(ctx)
}

func (r *replica) readState(rs raft.ReadState) {
	reads, ok := r.readWait[string(rs.RequestCtx)]
	if !ok {
		return
	}
	delete(r.readWait, string(rs.RequestCtx))
	r.readReady = append(r.readReady, readReady{index: rs.Index, reads: reads})
	r.answerReads()
}

func (r *replica) answerReads() {
	for len(r.readReady) > 0 && r.readReady[0].index <= r.acked.AppliedIndex {
		for _, read := range r.readReady[0].reads {
			r.c.eff.Reads = append(r.c.eff.Reads,
				ReadOutcome{Range: r.id, Read: read, OK: true, Term: r.soft.HardState.GetTerm()})
		}
		r.readReady = r.readReady[1:]
	}
}

func (r *replica) failReads() {
	reads := r.readQueue
	for _, waiting := range r.readWait {
		reads = append(reads, waiting...)
	}
	for _, ready := range r.readReady {
		reads = append(reads, ready.reads...)
	}
	slices.Sort(reads)
	fault.Sometimes("read-loses-term", len(reads) > 0)
	for _, read := range reads {
		r.c.eff.Reads = append(r.c.eff.Reads, ReadOutcome{Range: r.id, Read: read, Leader: proto.ReplicaID(r.soft.Lead)})
	}
	r.readQueue, r.readReady = nil, nil
	clear(r.readWait)
}
