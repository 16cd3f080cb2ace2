package replica

import (
	"bytes"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// offer is a range snapshot on its way to this replica.
type offer struct {
	id       uint64
	received bool
}

// SnapshotMessage makes the message that goes with a range snapshot from its template and the state that the view
// holds: raft's metadata and the receiver's state are those of the view.
func SnapshotMessage(template *internalpb.RaftMessage, s *internalpb.RangeState) (*internalpb.RaftMessage, error) {
	rm := &raftpb.Message{}
	if err := gproto.Unmarshal(template.Message, rm); err != nil {
		return nil, fmt.Errorf("decode the template: %w", err)
	}
	state := cloneState(s)
	state.ReplicaId = template.ToReplica
	data, err := gproto.MarshalOptions{Deterministic: true}.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("encode the state: %w", err)
	}
	rm.Snapshot = snapshotOf(state)
	rm.Snapshot.Data = data
	out := gproto.Clone(template).(*internalpb.RaftMessage)
	if out.Message, err = gproto.Marshal(rm); err != nil {
		return nil, fmt.Errorf("encode the message: %w", err)
	}
	return out, nil
}

// ReadState reads a range's state from a view.
func ReadState(r storage.Reader, id proto.RangeID) (*internalpb.RangeState, error) {
	s := &internalpb.RangeState{}
	found, err := getProto(r, keys.Local(id, keys.KindApplied), s)
	if err != nil {
		return nil, fmt.Errorf("read the state of range %d: %w", id, err)
	}
	if !found {
		return nil, fmt.Errorf("read the state of range %d: %w", id, storage.ErrNotFound)
	}
	return s, nil
}

// SnapshotSent says what became of a SendSnapshot.
func (c *Core) SnapshotSent(id proto.RangeID, to proto.ReplicaID, ok bool) {
	c.guard(func() {
		r := c.replicas[id]
		if r == nil {
			return
		}
		status := raft.SnapshotFailure
		if ok {
			status = raft.SnapshotFinish
		}
		r.node.ReportSnapshot(uint64(to), status)
		c.mark(r)
	})
}

// ReserveSnapshot asks whether a range snapshot may come: before any data is made or moved. snapshot is the driver's
// name for it, not 0. The answer is a Reservation; an accepted one ends with SnapshotReceived or SnapshotAborted.
func (c *Core) ReserveSnapshot(snapshot uint64, m *internalpb.RaftMessage, s *internalpb.RangeState) {
	c.guard(func() {
		reason := c.reserve(snapshot, m, s)
		c.eff.Reservations = append(c.eff.Reservations,
			Reservation{Snapshot: snapshot, Accepted: reason == "", Reason: reason})
	})
}

func (c *Core) reserve(snapshot uint64, m *internalpb.RaftMessage, s *internalpb.RangeState) (refusal string) {
	id := proto.RangeID(m.RangeId)
	if proto.StoreID(m.ToStore) != c.cfg.Store || c.leaving[id] || c.frozen[id] || s.GetDesc() == nil {
		fault.Sometimes("snapshot-while-split", c.frozen[id])
		return "the replica is being removed, split or is not here"
	}
	r := c.replicas[id]
	if r == nil {
		if r = c.create(m); r == nil {
			return "the replica was removed from this store"
		}
	}
	switch {
	case m.ToReplica != uint64(r.replicaID):
		if m.ToReplica > uint64(r.replicaID) {
			r.destroy(m.ToReplica)
		}
		return "another incarnation of the replica is here"
	case r.doomed != 0:
		return "the replica is being removed"
	case r.snapshot != nil:
		return "another range snapshot is on its way"
	case s.AppliedIndex <= r.acked.AppliedIndex:
		fault.Reached("snapshot-is-behind")
		r.answerSnapshot(m)
		return "the replica is further than the range snapshot"
	case replicaByID(s.Desc, m.ToReplica) == nil:
		return "the range snapshot is older than the replica"
	}
	if fault.Buggify("refuse-reservation") {
		return "this store takes none just now"
	}
	start, end := hull(r.state.Desc, s.Desc)
	if other, ok := c.cfg.Spans.Claim(id, start, end); !ok {
		fault.Reached("snapshot-overlaps")
		return fmt.Sprintf("its span overlaps that of range %d on this store", other)
	}
	r.snapshot = &offer{id: snapshot}
	return ""
}

// answerSnapshot has raft, which ignores a range snapshot behind its commit, tell the leader how far this replica is.
// Else a leader that took it for empty, as the right-hand side of a split is until its left has applied, would offer
// the same again for ever.
func (r *replica) answerSnapshot(m *internalpb.RaftMessage) {
	rm := &raftpb.Message{}
	if err := gproto.Unmarshal(m.Message, rm); err != nil {
		return
	}
	r.peers[m.FromReplica] = m.FromStore
	if err := r.node.Step(rm); err != nil {
		r.c.cfg.Logger.Debugf("range %d: snapshot: %v", r.id, err)
	}
	r.c.mark(r)
}

// hull is the smallest span that covers both descriptors; a may be nil.
func hull(a, b *internalpb.Descriptor) (start, end []byte) {
	start, end = b.Start, b.End
	if a == nil {
		return start, end
	}
	if bytes.Compare(a.Start, start) < 0 {
		start = a.Start
	}
	if len(a.End) == 0 || (len(end) > 0 && bytes.Compare(a.End, end) > 0) {
		end = a.End
	}
	return start, end
}

// SnapshotReceived says that all tables of a reserved range snapshot are here.
func (c *Core) SnapshotReceived(snapshot uint64, m *internalpb.RaftMessage) {
	c.guard(func() {
		r := c.replicas[proto.RangeID(m.RangeId)]
		rm := &raftpb.Message{}
		if r == nil || r.snapshot == nil || r.snapshot.id != snapshot || r.doomed != 0 ||
			gproto.Unmarshal(m.Message, rm) != nil {
			c.eff.Dropped = append(c.eff.Dropped, snapshot)
			return
		}
		r.snapshot.received = true
		r.peers[m.FromReplica] = m.FromStore
		if err := r.node.Step(rm); err != nil {
			c.cfg.Logger.Debugf("range %d: snapshot: %v", r.id, err)
		}
		c.mark(r)
	})
}

// SnapshotAborted gives a reservation up; its files are the driver's to remove.
func (c *Core) SnapshotAborted(id proto.RangeID, snapshot uint64) {
	c.guard(func() {
		if fault.Built && fault.On(fault.LeakReservation) { // Built, for this closure is not looked into
			return
		}
		if r := c.replicas[id]; r != nil && r.snapshot != nil && r.snapshot.id == snapshot && !r.snapshot.received {
			r.snapshot = nil
			c.cfg.Spans.Release(id)
			r.maybeDestroy()
		}
	})
}

// dropIgnoredSnapshot gives a range snapshot up that raft did not want.
func (r *replica) dropIgnoredSnapshot() {
	if r.snapshot == nil || !r.snapshot.received || r.installing {
		return
	}
	for _, m := range r.held {
		if !raft.IsEmptySnap(m.GetSnapshot()) {
			return
		}
	}
	fault.Reached("snapshot-ignored")
	r.c.eff.Dropped = append(r.c.eff.Dropped, r.snapshot.id)
	r.snapshot = nil
	r.c.cfg.Spans.Release(r.id)
}

// runHeld carries out appends that waited. One with a range snapshot waits until all applies are in the engine (I4);
// those behind it wait until it is installed.
func (r *replica) runHeld() {
	for len(r.held) > 0 && !r.installing {
		m := r.held[0]
		if raft.IsEmptySnap(m.GetSnapshot()) {
			r.writeLog(m)
		} else {
			if r.applyInFlight > 0 || len(r.applyQueue) > 0 {
				fault.Reached("snapshot-waits-for-apply")
				return
			}
			r.install(m)
		}
		r.held = r.held[1:]
	}
}

// install emits the one step that replaces the range's data, its state and its log (I3). The hard state is the one that
// came with the range snapshot, not raft's present one: that may have committed entries which wait behind this step.
func (r *replica) install(m *raftpb.Message) {
	state := &internalpb.RangeState{}
	if err := gproto.Unmarshal(m.GetSnapshot().GetData(), state); err != nil {
		r.c.fail(fmt.Errorf("range %d: the state of a range snapshot: %w", r.id, err))
		return
	}
	invariant(r.snapshot != nil, "range %d: a range snapshot without a reservation", r.id)
	invariant(m.Term != nil, "range %d: a range snapshot without a hard state", r.id)
	state.ReplicaId = uint64(r.replicaID)
	start, end := hull(r.state.Desc, state.Desc)
	lower, upper := keys.DataSpan(start, end)
	in := &Install{Snapshot: r.snapshot.id, Range: r.id, ExciseStart: lower, ExciseEnd: upper}
	if err := errors.Join(
		r.log.reset(&in.Local, state.AppliedIndex, state.AppliedTerm),
		r.log.append(&in.Local, m.GetEntries()),
		setProto(&in.Local, keys.Local(r.id, keys.KindApplied), state),
		setProto(&in.Local, keys.Local(r.id, keys.KindHardState), &internalpb.HardState{
			Term: m.GetTerm(), Vote: m.GetVote(), Commit: max(m.GetCommit(), state.AppliedIndex),
			ReplicaId: uint64(r.replicaID)}),
	); err != nil {
		r.c.fail(err)
		return
	}
	fault.Sometimes("snapshot-into-data", r.initialised())
	r.state = state
	r.installing = true
	step := LogStep{Token: r.c.nextToken(), Sync: true, Install: in}
	local := r.splitResponses(m, &step)
	r.inLog(nil)
	r.c.logAcks[step.Token] = append(r.c.logAcks[step.Token], logAck{r: r, responses: local})
	r.c.eff.Log = append(r.c.eff.Log, step)
	if fault.On(fault.SnapshotInTwoSteps) {
		second := LogStep{Token: r.c.nextToken(), Batch: in.Local, Sync: true}
		in.Local = storage.Batch{}
		r.c.eff.Log = append(r.c.eff.Log, second)
	}
}

// installed goes on after the install.
func (r *replica) installed(responses []*raftpb.Message) {
	r.installing, r.snapshot = false, nil
	r.acked, r.statusDirty = cloneState(r.state), true
	d := r.state.Desc
	r.c.cfg.Spans.Set(r.id, d.Start, d.End)
	r.deliver(responses)
	r.runHeld()
	r.maybeDestroy()
}

// writeInitial writes the first state of a range: what a split makes of its right-hand side, and bootstrap of a range.
// The hard state is left alone: an early vote may be in it.
func writeInitial(b *storage.Batch, d *internalpb.Descriptor, replicaID, size uint64) error {
	id := proto.RangeID(d.RangeId)
	return errors.Join(
		setProto(b, keys.Local(id, keys.KindApplied), &internalpb.RangeState{
			Desc: d, AppliedIndex: InitialIndex, AppliedTerm: InitialTerm, Bytes: size,
			ApplyVersion: ApplyVersion, ReplicaId: replicaID}),
		setProto(b, keys.Local(id, keys.KindTruncated), &internalpb.TruncatedState{
			Index: InitialIndex, Term: InitialTerm}),
	)
}

// Bootstrap writes a new range with one replica, and size bytes of data, into an empty store's first batch.
func Bootstrap(b *storage.Batch, d *internalpb.Descriptor, size uint64) error {
	return writeInitial(b, d, d.Replicas[0].ReplicaId, size)
}
