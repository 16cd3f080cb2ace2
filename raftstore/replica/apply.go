package replica

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// runApplies turns committed entries into the store's apply batch, up to a split that has to be prepared.
func (r *replica) runApplies() {
	for len(r.applyQueue) > 0 && !r.preparing && r.doomed == 0 && r.hosted() && r.c.fatal == nil {
		item := &r.applyQueue[0]
		ack := applyAck{r: r}
		for len(item.entries) > 0 && ack.split == nil && r.hosted() {
			if !r.applyEntry(item.entries[0], &ack) {
				break
			}
			item.entries = item.entries[1:]
			if fault.Buggify("apply-one") {
				break
			}
		}
		if len(item.entries) == 0 {
			ack.responses = item.responses
			r.applyQueue = r.applyQueue[1:]
		}
		r.flushApply(ack)
	}
}

// hosted: the descriptor still has this replica, or there is none yet.
func (r *replica) hosted() bool {
	return r.state.Desc == nil || replicaByID(r.state.Desc, uint64(r.replicaID)) != nil
}

// flushApply writes the range's state behind its effects, into the same batch (I1).
func (r *replica) flushApply(ack applyAck) {
	if r.state.AppliedIndex == r.acked.AppliedIndex && len(ack.responses) == 0 {
		return
	}
	b := &r.c.eff.Apply.Batch
	if fault.On(fault.AppliedIndexApart) {
		b = &r.c.eff.Apply.Ahead
	}
	if err := setProto(b, keys.Local(r.id, keys.KindApplied), r.state); err != nil {
		r.c.fail(err)
		return
	}
	ack.state = cloneState(r.state)
	r.applyInFlight++
	r.c.applyAcks = append(r.c.applyAcks, ack)
}

// applyEntry applies one entry; false: it has to wait. Everything in here is a function of the entry and r.state, so
// that replicas stay identical; state.ApplyVersion gates changes of the rules.
func (r *replica) applyEntry(e *raftpb.Entry, ack *applyAck) bool {
	data := e.GetData()
	cc := &raftpb.ConfChangeV2{}
	if e.GetType() == raftpb.EntryConfChangeV2 {
		if err := gproto.Unmarshal(data, cc); err != nil {
			r.c.fail(fmt.Errorf("range %d: entry %d: %w", r.id, e.GetIndex(), err))
			return false
		}
		data = cc.GetContext()
	}
	cmd := &internalpb.Command{}
	if err := gproto.Unmarshal(data, cmd); err != nil {
		r.c.fail(fmt.Errorf("range %d: entry %d: %w", r.id, e.GetIndex(), err))
		return false
	}
	outcome := Outcome{Range: r.id, Proposal: cmd.ProposalId, Verdict: Applied}
	switch kind := cmd.Kind.(type) {
	case nil: // the empty entry of a new leader
	case *internalpb.Command_Write:
		outcome.Verdict, outcome.Reason = r.applyWrite(e, cmd, kind.Write)
	case *internalpb.Command_Split:
		if !r.applySplit(e, cmd, kind.Split, ack, &outcome) {
			return false
		}
	case *internalpb.Command_Truncate:
		r.applyTruncate(kind.Truncate)
	case *internalpb.Command_ChangeReplicas:
		r.applyChange(e, cmd, kind.ChangeReplicas, cc, &outcome)
	}
	if e.GetType() == raftpb.EntryConfChangeV2 || e.GetTerm() != r.state.AppliedTerm {
		r.confBarrier = e.GetIndex()
	}
	r.state.AppliedIndex, r.state.AppliedTerm = e.GetIndex(), e.GetTerm()
	r.settle(e, cmd, outcome, ack)
	return true
}

// settle answers the proposal, when it is ours and somebody still waits. An entry of another term is not ours, although
// its proposal id may be: ids begin anew with the process, and the log may hold entries of an earlier one.
func (r *replica) settle(e *raftpb.Entry, cmd *internalpb.Command, o Outcome, ack *applyAck) {
	if cmd.ProposalId == 0 || cmd.ProposerStore != uint64(r.c.cfg.Store) ||
		e.GetTerm() != r.soft.HardState.GetTerm() {
		if _, ok := r.proposals[cmd.ProposalId]; ok {
			fault.Reached("foreign-proposal-id")
		}
		return
	}
	size, ok := r.proposals[cmd.ProposalId]
	if !ok {
		return
	}
	r.forget(cmd.ProposalId, size)
	if o.Verdict == StaleEpoch {
		o.Descriptors = []*internalpb.Descriptor{r.state.Desc}
	}
	o.Leader = proto.ReplicaID(r.soft.Lead)
	ack.outcomes = append(ack.outcomes, o)
}

// current checks under what a command was evaluated.
func (r *replica) current(e *raftpb.Entry, cmd *internalpb.Command) Verdict {
	if cmd.EpochVersion != r.state.Desc.Epoch.Version && !fault.On(fault.SkipEpochCheck) {
		fault.Reached("applied-in-other-epoch")
		return StaleEpoch
	}
	if cmd.EvalTerm != e.GetTerm() && !fault.On(fault.SkipTermCheck) {
		fault.Reached("applied-in-other-term")
		return NotLeader
	}
	return Applied
}

func (r *replica) applyWrite(e *raftpb.Entry, cmd *internalpb.Command, w *internalpb.WriteCommand) (Verdict, string) {
	if v := r.current(e, cmd); v != Applied {
		return v, ""
	}
	batch, err := storage.Decode(w.Batch)
	if err != nil {
		return Refused, err.Error()
	}
	if err := r.checkOps(&batch, w.Tenant); err != nil {
		return Refused, err.Error()
	}
	if !fault.On(fault.OneReplicaDiffers) || r.c.cfg.Store != 2 || e.GetIndex()%50 != 0 {
		r.c.eff.Apply.Batch.Append(&batch)
	}
	if w.DeltaBytes < 0 && uint64(-w.DeltaBytes) > r.state.Bytes {
		r.state.Bytes = 0
	} else {
		r.state.Bytes += uint64(w.DeltaBytes)
	}
	return Applied, ""
}

// checkOps: every key carries the command's tenant and lies in the range's span.
func (r *replica) checkOps(b *storage.Batch, tenant uint32) error {
	if fault.On(fault.SkipEpochCheck) {
		return nil
	}
	d := r.state.Desc
	for ops := b.Ops(); ; {
		op, ok, err := ops.Next()
		if err != nil || !ok {
			return err
		}
		key, _, err := keys.ParseData(op.Key)
		if err != nil {
			return err
		}
		if len(key) < 4 || binary.BigEndian.Uint32(key) != tenant {
			return fmt.Errorf("a key is not of tenant %d", tenant)
		}
		if bytes.Compare(key, d.Start) < 0 || (len(d.End) > 0 && bytes.Compare(key, d.End) >= 0) {
			return fmt.Errorf("a key is outside the range's span")
		}
		if op.Kind != storage.OpDeleteRange {
			continue
		}
		end, _, err := keys.ParseData(op.Value)
		if err != nil {
			return err
		}
		if len(d.End) > 0 && bytes.Compare(end, d.End) > 0 || binary.BigEndian.Uint32(pad4(end)) != tenant {
			return fmt.Errorf("a deleted span ends outside the range or the tenant")
		}
	}
}

func pad4(b []byte) []byte {
	if len(b) >= 4 {
		return b
	}
	return append(append([]byte(nil), b...), 0, 0, 0, 0)
}

// applyTruncate cuts the log up to what an earlier batch has applied (I2), whatever the command says, and no further than
// raft knows of: it reads behind its own applied index, which is told in larger steps when a split was among them.
func (r *replica) applyTruncate(t *internalpb.TruncateCommand) {
	to := min(t.Index, r.acked.AppliedIndex, r.node.BasicStatus().Applied)
	if fault.On(fault.TruncatePastApplied) {
		to = r.log.last
	}
	if to <= r.log.truncated.Index {
		return
	}
	term, err := r.log.Term(to)
	if err != nil {
		r.c.fail(fmt.Errorf("range %d: truncate to %d: %w", r.id, to, err))
		return
	}
	if err := r.log.truncate(&r.c.eff.Apply.Batch, to, term); err != nil {
		r.c.fail(err)
	}
}

func (r *replica) applyChange(e *raftpb.Entry, cmd *internalpb.Command, ch *internalpb.ChangeReplicasCommand,
	cc *raftpb.ConfChangeV2, o *Outcome) {
	d := r.state.Desc
	if ch.ExpectConf != d.Epoch.Conf && !fault.On(fault.TwoChanges) ||
		ch.After.Epoch.Version != d.Epoch.Version {
		fault.Reached("change-of-other-epoch")
		o.Verdict = StaleEpoch
		return // a rejected change must not reach raft
	}
	if cmd.EvalTerm != e.GetTerm() {
		o.Verdict = NotLeader
		return
	}
	cc.Context = nil
	r.node.ApplyConfChange(cc)
	if me := replicaByID(ch.After, uint64(r.replicaID)); r.leads() {
		fault.Sometimes("joint-leader-leaves", me == nil || me.Role == internalpb.ReplicaRole_LEARNER)
	}
	r.state.Desc = ch.After
	r.statusDirty = true
	o.Descriptors = []*internalpb.Descriptor{ch.After}
}

// afterApply goes on with what waited for the engine.
func (r *replica) afterApply() {
	r.runHeld()
	if r.doomed == 0 && !r.hosted() && r.applyInFlight == 0 {
		r.destroy(r.state.Desc.NextReplicaId)
	}
	r.runApplies()
	r.maybeDestroy()
}
