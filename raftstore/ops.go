package raftstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// retryAfter is what a full queue tells its callers: about the time of a few syncs.
const retryAfter = 20 * time.Millisecond

// changeTimeout bounds how long a change of a descriptor is waited for.
const changeTimeout = 10 * time.Second

// Begin returns the descriptor and the term under which a command on the range may be evaluated: this store leads the
// range and has applied an entry of its term, so nothing of an earlier term can be applied any more.
func (s *Calls) Begin(id proto.RangeID) (*internalpb.Descriptor, uint64, error) {
	st, ok := s.Status(id)
	switch {
	case !ok || st.Descriptor == nil:
		return nil, 0, notLeader(id, 0)
	case !st.Leads:
		return nil, 0, notLeader(id, storeOf(st.Descriptor, st.Leader))
	case st.AppliedTerm != st.Term:
		return nil, 0, rpcerr.Throttled(fmt.Sprintf("range %d has a new leader", id), retryAfter)
	}
	return st.Descriptor, st.Term, nil
}

func notLeader(id proto.RangeID, store proto.StoreID) error {
	return &rpcerr.NotLeaderError{NotLeader: &vipkvpb.NotLeader{RangeId: uint64(id), LeaderStore: uint64(store)}}
}

func storeOf(d *internalpb.Descriptor, id proto.ReplicaID) proto.StoreID {
	for _, p := range d.GetReplicas() {
		if p.ReplicaId == uint64(id) {
			return proto.StoreID(p.StoreId)
		}
	}
	return 0
}

func (s *Calls) leaderStore(id proto.RangeID, leader proto.ReplicaID) proto.StoreID {
	if st, ok := s.Status(id); ok {
		return storeOf(st.Descriptor, leader)
	}
	return 0
}

// Confirm returns nil once this store is known to have led the range in this term at a moment after the call was made,
// and to have applied everything that was committed before the call.
func (s *Calls) Confirm(ctx context.Context, id proto.RangeID, term uint64) error {
	read := s.nextID.Add(1)
	one := s.reads.add(read)
	if one == nil {
		return notLeader(id, 0)
	}
	if !s.cfg.Offer(id, func(c *replica.Core) { c.Read(id, read) }) {
		s.reads.remove(read)
		return rpcerr.Throttled("the store is busy", retryAfter)
	}
	switch o, err := s.reads.result(ctx, s.cfg.Wait, read, one); {
	case errors.Is(err, ErrStopped):
		return notLeader(id, 0)
	case err != nil:
		return fmt.Errorf("read index of range %d: %w", id, err)
	case !o.OK || o.Term != term:
		return notLeader(id, s.leaderStore(id, o.Leader))
	}
	return nil
}

// Propose returns nil when the command was applied here. NotLeaderError, StaleEpochError and ThrottledError: without
// effect. AmbiguousError: not known. cmd belongs to the store from here on, whatever the answer.
func (s *Calls) Propose(ctx context.Context, id proto.RangeID, cmd *internalpb.Command) error {
	o, err := s.propose(ctx, id, func(c *replica.Core, proposal uint64) { c.Propose(id, proposal, cmd) })
	if err != nil {
		return err
	}
	return s.verdict(o)
}

// propose posts a proposal and waits for its outcome. Leadership lost, a full queue or the end of the store resolve it.
func (s *Calls) propose(ctx context.Context, id proto.RangeID,
	post func(*replica.Core, uint64)) (*replica.Outcome, error) {
	proposal := s.nextID.Add(1)
	one := s.proposals.add(proposal)
	if one == nil {
		return nil, notLeader(id, 0)
	}
	if !s.cfg.Offer(id, func(c *replica.Core) { post(c, proposal) }) {
		s.proposals.remove(proposal)
		return nil, rpcerr.Throttled("the store is busy", retryAfter)
	}
	o, err := s.proposals.result(ctx, s.cfg.Wait, proposal, one)
	switch {
	case errors.Is(err, ErrStopped):
		return nil, rpcerr.Ambiguous("the node stopped while the write was in the log")
	case err != nil:
		return nil, rpcerr.Ambiguous("the call ended while the write was in the log")
	}
	return &o, nil
}

func (s *Calls) verdict(o *replica.Outcome) error {
	switch o.Verdict {
	case replica.Applied:
		return nil
	case replica.NotLeader:
		return notLeader(o.Range, s.leaderStore(o.Range, o.Leader))
	case replica.StaleEpoch:
		return &rpcerr.StaleEpochError{StaleEpoch: &vipkvpb.StaleEpoch{}}
	case replica.QueueFull:
		s.cfg.QueueFull()
		return rpcerr.Throttled(o.Reason, retryAfter)
	case replica.Refused:
		return fmt.Errorf("range %d refused the command: %s", o.Range, o.Reason)
	}
	return rpcerr.Ambiguous(o.Reason)
}

// ChangeReplicas carries out one step of membership and returns the descriptor that it made.
func (s *Calls) ChangeReplicas(ctx context.Context, id proto.RangeID, epoch *internalpb.Epoch,
	step *internalpb.ChangeReplicasStep) (*internalpb.Descriptor, error) {
	ctx, cancel := s.cfg.Wait.WithTimeout(ctx, changeTimeout)
	defer cancel()
	o, err := s.propose(ctx, id, func(c *replica.Core, proposal uint64) { c.ProposeChange(id, proposal, epoch, step) })
	if err != nil {
		return nil, err
	}
	if err := s.verdict(o); err != nil {
		return nil, err
	}
	return o.Descriptors[0], nil
}

// TransferLeader hands the range's leadership to another replica and waits until it has gone.
func (s *Calls) TransferLeader(ctx context.Context, id proto.RangeID, to proto.ReplicaID) error {
	if _, _, err := s.Begin(id); err != nil {
		return err
	}
	if !s.cfg.Offer(id, func(c *replica.Core) { c.TransferLeader(id, to) }) {
		return rpcerr.Throttled("the store is busy", retryAfter)
	}
	ctx, cancel := s.cfg.Wait.WithTimeout(ctx, s.cfg.TransferTimeout)
	defer cancel()
	for {
		if st, ok := s.Status(id); !ok || !st.Leads || st.Replica == to {
			return nil
		}
		if err := s.cfg.Wait.Sleep(ctx, s.cfg.TransferTimeout/transferLooks); err != nil {
			return fmt.Errorf("transfer range %d to replica %d: %w", id, to, err)
		}
	}
}

// transferLooks is how often TransferLeader looks within its timeout.
const transferLooks = 80

// visit runs f with the core that owns the range, on its goroutine, and waits for it.
func (s *Calls) visit(ctx context.Context, id proto.RangeID, f func(*replica.Core)) error {
	visit := s.nextID.Add(1)
	one := s.visits.add(visit)
	if one == nil {
		return ErrStopped
	}
	if !s.cfg.Offer(id, func(c *replica.Core) { f(c); s.visits.answer(visit, struct{}{}) }) {
		s.visits.remove(visit)
		return rpcerr.Throttled("the store is busy", retryAfter)
	}
	_, err := s.visits.result(ctx, s.cfg.Wait, visit, one)
	return err
}

// Led describes every range that this store leads, and the replicas that have had no leader for orphanTicks, each in
// the order of ids.
func (s *Calls) Led(ctx context.Context, orphanTicks int) (led []*internalpb.RangeHeartbeat,
	orphans []*internalpb.OrphanReplica, replicas int, err error) {
	perWorker := make([][]*replica.Status, s.cfg.Workers)
	s.Statuses(func(st *replica.Status) bool {
		replicas++
		if st.Leads && st.Descriptor != nil {
			i := uint64(st.Range) % uint64(s.cfg.Workers)
			perWorker[i] = append(perWorker[i], st)
		} else if st.LeaderlessTicks >= orphanTicks {
			orphans = append(orphans, &internalpb.OrphanReplica{RangeId: uint64(st.Range), ReplicaId: uint64(st.Replica)})
		}
		return true
	})
	for _, sts := range perWorker {
		if len(sts) == 0 {
			continue
		}
		var part []*internalpb.RangeHeartbeat
		err := s.visit(ctx, sts[0].Range, func(c *replica.Core) {
			for _, st := range sts {
				if p := c.Progress(st.Range); p != nil {
					part = append(part, &internalpb.RangeHeartbeat{
						Desc: st.Descriptor, Term: st.Term, Applied: st.Applied, Bytes: st.Bytes, Progress: p})
				}
			}
		})
		if err != nil {
			return nil, nil, 0, fmt.Errorf("describe the ranges of store %d: %w", s.cfg.Store, err)
		}
		led = append(led, part...)
	}
	slices.SortFunc(led, func(a, b *internalpb.RangeHeartbeat) int {
		return cmp.Compare(a.Desc.RangeId, b.Desc.RangeId)
	})
	slices.SortFunc(orphans, func(a, b *internalpb.OrphanReplica) int { return cmp.Compare(a.RangeId, b.RangeId) })
	return led, orphans, replicas, nil
}

// Gone tells a replica of this store that the range's descriptor does not have it any more.
func (s *Calls) Gone(id proto.RangeID, rep proto.ReplicaID) {
	s.cfg.Offer(id, func(c *replica.Core) {
		c.Message(&internalpb.RaftMessage{RangeId: uint64(id), ToStore: uint64(s.cfg.Store), ToReplica: uint64(rep),
			Gone: &internalpb.Gone{NextReplicaId: uint64(rep) + 1}})
	})
}

// Campaign makes this store's replica of the range stand for election at once.
func (s *Calls) Campaign(id proto.RangeID) {
	s.cfg.Offer(id, func(c *replica.Core) { c.Campaign(id) })
}
