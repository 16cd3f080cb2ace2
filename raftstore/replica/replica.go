package replica

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/keys"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// Raft's log of a new range starts behind this place, so that whoever has nothing takes a range snapshot.
const (
	InitialIndex = 10
	InitialTerm  = 5
)

// replica is one replica around a raft.RawNode.
type replica struct {
	c         *Core
	id        proto.RangeID
	replicaID proto.ReplicaID
	node      *raft.RawNode
	log       *raftLog
	marked    bool
	gone      bool // dropped from the core; acknowledgements of it may still come

	state *internalpb.RangeState // as of the last entry that was handed to apply
	acked *internalpb.RangeState // as of what the engine holds

	// soft is raft's state as of the last ready.
	soft            raft.BasicStatus
	leaderlessTicks int
	ticks           int
	statusDirty     bool
	peers           map[uint64]uint64 // replica id -> store, of those that wrote to us

	// term and vote are the last ones that were handed to the disk. unsynced: they, or entries, are not yet covered by a
	// sync. An answer that depends on nothing new, as that to a heartbeat of the commit index, needs none.
	term, vote uint64
	unsynced   bool

	logWrites     []logWrite        // handed out and not done, oldest first
	heirs         []proto.ReplicaID // to whom it was handed, in this term, since the disk is slow
	applyInFlight int
	held          []*raftpb.Message // appends behind a range snapshot that waits for applies (I4)
	installing    bool
	snapshot      *offer // reserved or received

	applyQueue  []applyItem
	preparing   bool // applies wait for HandoffPrepared
	preparedFor *Handoff
	doomed      uint64 // replica ids below must go; 0: live

	proposals  map[uint64]int // proposal id -> bytes
	queueBytes int
	changing   uint64 // the proposal that changes the descriptor; 0: none
	// confBarrier is the last entry that raft must know as applied before it takes another change of membership: a
	// change, or the first of a term.
	confBarrier uint64

	readQueue []uint64            // reads that have no context yet
	readWait  map[string][]uint64 // context -> reads
	readReady []readReady
}

type readReady struct {
	index uint64
	reads []uint64
}

type applyItem struct {
	entries   []*raftpb.Entry
	responses []*raftpb.Message
}

// load makes a replica from what the engine holds. want is the replica id of an uninitialised one; 0: it must be there.
func (c *Core) load(id proto.RangeID, want proto.ReplicaID) (*replica, error) {
	r := &replica{
		c: c, id: id, replicaID: want,
		state:     &internalpb.RangeState{},
		proposals: map[uint64]int{}, readWait: map[string][]uint64{}, peers: map[uint64]uint64{},
		statusDirty: true,
	}
	hard, truncated := &internalpb.HardState{}, &internalpb.TruncatedState{}
	found, err := getProto(c.cfg.Reader, keys.Local(id, keys.KindApplied), r.state)
	if err != nil {
		return nil, err
	}
	switch {
	case found:
		r.replicaID = proto.ReplicaID(r.state.ReplicaId)
	case want == 0:
		return nil, fmt.Errorf("the engine has no state of it")
	}
	if _, err := getProto(c.cfg.Reader, keys.Local(id, keys.KindHardState), hard); err != nil {
		return nil, err
	}
	if _, err := getProto(c.cfg.Reader, keys.Local(id, keys.KindTruncated), truncated); err != nil {
		return nil, err
	}
	if hard.ReplicaId != uint64(r.replicaID) {
		hard = &internalpb.HardState{ReplicaId: uint64(r.replicaID)}
	}
	r.log = &raftLog{
		id: id, reader: c.cfg.Reader, hard: hard, truncated: truncated, cacheMax: c.cfg.CacheBytesMax,
		conf: func() *raftpb.ConfState { return confState(r.state.Desc) }, snapshot: r.snapshotMeta,
	}
	if r.log.last, r.log.lastTerm, err = lastIndex(c.cfg.Reader, id, truncated); err != nil {
		return nil, err
	}
	fault.Sometimes("boot-with-commit-behind", found && hard.Commit < r.state.AppliedIndex)
	hard.Commit = max(hard.Commit, r.state.AppliedIndex) // I4
	if term := max(r.state.AppliedTerm, r.log.lastTerm); term > hard.Term {
		hard.Term, hard.Vote = term, 0 // it has not voted in that term
	}
	if r.state.AppliedIndex < truncated.Index || hard.Commit > r.log.last {
		return nil, fmt.Errorf("%w: applied %d, committed %d, but the log holds (%d, %d]", ErrLogLost,
			r.state.AppliedIndex, hard.Commit, truncated.Index, r.log.last)
	}
	r.acked = cloneState(r.state)
	if r.node, err = raft.NewRawNode(r.raftConfig()); err != nil {
		return nil, err
	}
	r.soft = r.node.BasicStatus()
	c.add(r)
	return r, nil
}

func (r *replica) raftConfig() *raft.Config {
	cfg := &r.c.cfg
	return &raft.Config{
		ID:                        uint64(r.replicaID),
		ElectionTick:              cfg.ElectionTicks,
		HeartbeatTick:             cfg.HeartbeatTicks,
		Storage:                   r.log,
		Applied:                   r.state.AppliedIndex,
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             cfg.MessageBytesMax,
		MaxCommittedSizePerReady:  cfg.ApplyingBytesMax,
		MaxUncommittedEntriesSize: uint64(cfg.QueueBytesMax) * 2,
		MaxInflightMsgs:           cfg.InflightMessages,
		MaxInflightBytes:          cfg.InflightBytes,
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		Logger:                    cfg.Logger,
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,

		DisableConfChangeValidation: fault.On(fault.TwoChanges),
	}
}

func cloneState(s *internalpb.RangeState) *internalpb.RangeState {
	return &internalpb.RangeState{ // descriptors are never changed in place
		Desc: s.Desc, AppliedIndex: s.AppliedIndex, AppliedTerm: s.AppliedTerm,
		Bytes: s.Bytes, ApplyVersion: s.ApplyVersion, ReplicaId: s.ReplicaId,
	}
}

func (r *replica) initialised() bool { return r.state.Desc != nil }

func (r *replica) leads() bool { return r.soft.RaftState == raft.StateLeader }

func (r *replica) snapshotMeta() (*raftpb.Snapshot, error) {
	if !r.initialised() || r.acked.Desc.Epoch.Conf != r.state.Desc.Epoch.Conf { // the receiver may not be in it yet
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	if fault.Buggify("snapshot-unavailable") {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return snapshotOf(r.acked), nil
}

func snapshotOf(s *internalpb.RangeState) *raftpb.Snapshot {
	return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		ConfState: confState(s.Desc), Index: &s.AppliedIndex, Term: &s.AppliedTerm,
	}}
}

func (r *replica) tick() {
	r.ticks++
	if r.c.cfg.Liveness.Ticks(r.id) && r.doomed == 0 {
		r.node.Tick()
		r.leaderlessTicks++
	}
	if r.leads() {
		r.leaderlessTicks = 0
	}
	if r.leaderlessTicks > 0 && r.leaderlessTicks%(askAfter*r.c.cfg.ElectionTicks) == 0 {
		r.statusDirty = true
		r.askWhetherGone()
	}
	r.watchDisk()
	if r.leads() && r.ticks%r.c.cfg.ElectionTicks == 0 {
		r.maybeTruncate()
	}
	if r.statusDirty || r.node.HasReady() {
		r.c.mark(r)
	}
}

// step hands a message of another replica to raft.
func (r *replica) step(m *internalpb.RaftMessage, rm *raftpb.Message) {
	switch rm.GetType() {
	case raftpb.MsgVote, raftpb.MsgPreVote:
		if !r.c.cfg.Liveness.AllowVote(r.id, proto.StoreID(m.FromStore)) {
			return
		}
	case raftpb.MsgSnap:
		return // range snapshots come through SnapshotReceived
	case raftpb.MsgHup, raftpb.MsgBeat, raftpb.MsgProp, raftpb.MsgReadIndex, raftpb.MsgTransferLeader:
		return // never from another store
	case raftpb.MsgApp, raftpb.MsgHeartbeat:
		if rm.GetTerm() >= r.soft.HardState.GetTerm() {
			r.leaderlessTicks = 0
		}
		if rm.GetType() == raftpb.MsgHeartbeat && rm.GetCommit() > r.log.last {
			// A heartbeat's commit is never above what this replica said to have on its disk.
			r.c.fail(fmt.Errorf("range %d: %w: it acknowledged index %d, and its log ends at %d",
				r.id, ErrLogLost, rm.GetCommit(), r.log.last))
			return
		}
	}
	r.peers[m.FromReplica] = m.FromStore
	if err := r.node.Step(rm); err != nil && err != raft.ErrStepPeerNotFound {
		r.c.cfg.Logger.Debugf("range %d: step: %v", r.id, err)
	}
	r.c.mark(r)
}

// ready moves raft's output into effects.
func (r *replica) ready() {
	r.issueReads()
	for !r.gone && r.node.HasReady() {
		rd := r.node.Ready()
		r.noteLeadership()
		for _, rs := range rd.ReadStates {
			r.readState(rs)
		}
		for _, m := range rd.Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				r.append(m)
			case raft.LocalApplyThread:
				r.applyQueue = append(r.applyQueue, applyItem{m.GetEntries(), m.GetResponses()})
			default:
				r.send(m)
			}
		}
		r.runApplies()
	}
	if r.gone {
		return
	}
	r.dropIgnoredSnapshot()
	r.maybeDestroy()
	r.publish()
}

func (r *replica) noteLeadership() {
	before := r.soft
	r.soft = r.node.BasicStatus()
	if before.RaftState == r.soft.RaftState && before.HardState.GetTerm() == r.soft.HardState.GetTerm() &&
		before.Lead == r.soft.Lead {
		return
	}
	r.statusDirty, r.heirs = true, nil
	if !r.leads() || before.HardState.GetTerm() != r.soft.HardState.GetTerm() {
		r.failProposals()
		r.failReads() // raft forgets rounds with the term, also when the same replica leads the next one
	}
}

// send routes a message to another store.
func (r *replica) send(m *raftpb.Message) {
	if out := r.envelope(m); out != nil {
		if m.GetType() == raftpb.MsgSnap {
			r.c.eff.Snapshots = append(r.c.eff.Snapshots, SendSnapshot{
				Range: r.id, ToStore: proto.StoreID(out.ToStore), ToReplica: proto.ReplicaID(m.GetTo()), Template: out})
			return
		}
		r.c.eff.Messages = append(r.c.eff.Messages, out)
	}
}

func (r *replica) envelope(m *raftpb.Message) *internalpb.RaftMessage {
	to := r.storeOf(m.GetTo())
	if to == 0 {
		return nil
	}
	out := &internalpb.RaftMessage{
		RangeId: uint64(r.id), FromStore: uint64(r.c.cfg.Store), FromReplica: uint64(r.replicaID),
		ToStore: to, ToReplica: m.GetTo(),
	}
	if d := r.state.Desc; d != nil {
		out.RangeStart, out.EpochConf = d.Start, d.Epoch.Conf
	}
	b, err := gproto.Marshal(m)
	if err != nil {
		r.c.fail(fmt.Errorf("encode a message of range %d: %w", r.id, err))
		return nil
	}
	out.Message = b
	return out
}

// storeOf finds where a replica lies: in the descriptor, or, for one that is not initialised, where its message came
// from.
func (r *replica) storeOf(replicaID uint64) uint64 {
	if d := r.state.Desc; d != nil {
		if p := replicaByID(d, replicaID); p != nil {
			return p.StoreId
		}
	}
	return r.peers[replicaID]
}

// append carries out a MsgStorageAppend, or holds it back behind a range snapshot.
func (r *replica) append(m *raftpb.Message) {
	if r.installing || len(r.held) > 0 || !raft.IsEmptySnap(m.GetSnapshot()) {
		r.held = append(r.held, m)
		r.runHeld()
		return
	}
	r.writeLog(m)
}

func (r *replica) writeLog(m *raftpb.Message) {
	step := r.c.logStep()
	if m.Term != nil {
		if err := setProto(&step.Batch, keys.Local(r.id, keys.KindHardState), &internalpb.HardState{
			Term: m.GetTerm(), Vote: m.GetVote(), Commit: m.GetCommit(), ReplicaId: uint64(r.replicaID)}); err != nil {
			r.c.fail(err)
			return
		}
	}
	if err := r.log.append(&step.Batch, m.GetEntries()); err != nil {
		r.c.fail(err)
		return
	}
	local := r.splitResponses(m, step)
	r.unsynced = r.unsynced || len(m.GetEntries()) > 0 || m.Term != nil && (m.GetTerm() != r.term || m.GetVote() != r.vote)
	if m.Term != nil {
		r.term, r.vote = m.GetTerm(), m.GetVote()
	}
	if len(m.GetResponses()) > 0 && r.unsynced && !fault.On(fault.SkipLogSync) {
		step.Sync, r.unsynced = true, false
	}
	step.Sync = step.Sync || fault.Buggify("sync-anyway")
	r.inLog(m.GetEntries())
	r.c.logAcks[step.Token] = append(r.c.logAcks[step.Token], logAck{r: r, responses: local})
}

// splitResponses puts those for other stores behind the step and returns those for this replica.
func (r *replica) splitResponses(m *raftpb.Message, step *LogStep) (local []*raftpb.Message) {
	for _, resp := range m.GetResponses() {
		if resp.GetTo() == uint64(r.replicaID) {
			local = append(local, resp)
			continue
		}
		out := r.envelope(resp)
		switch {
		case out == nil:
		case fault.On(fault.AnswerBeforeSync):
			r.c.eff.Messages = append(r.c.eff.Messages, out)
		default:
			step.After = append(step.After, out)
		}
	}
	return local
}

// logStep returns the last log step when it can take more, or a new one.
func (c *Core) logStep() *LogStep {
	n := len(c.eff.Log)
	if n > 0 && c.eff.Log[n-1].Install == nil && !fault.Buggify("append-apart") {
		return &c.eff.Log[n-1]
	}
	c.eff.Log = append(c.eff.Log, LogStep{Token: c.nextToken()})
	return &c.eff.Log[len(c.eff.Log)-1]
}

// deliver hands storage's answers to raft.
func (r *replica) deliver(responses []*raftpb.Message) {
	if r.gone {
		return
	}
	for _, m := range responses {
		if err := r.node.Step(m); err != nil && err != raft.ErrStepPeerNotFound {
			r.c.cfg.Logger.Debugf("range %d: storage response: %v", r.id, err)
		}
	}
}

// publish says what changed, as of what the engine holds.
func (r *replica) publish() {
	if !r.statusDirty {
		return
	}
	r.statusDirty = false
	r.c.eff.Statuses = append(r.c.eff.Statuses, r.status())
}

func (r *replica) status() Status {
	first, last := r.log.truncated.Index+1, r.log.last
	if r.installing { // the log is reset here, but not yet in the engine
		first, last = r.acked.AppliedIndex+1, r.acked.AppliedIndex
	}
	return Status{
		Range: r.id, Replica: r.replicaID, Descriptor: r.acked.Desc,
		Term: r.soft.HardState.GetTerm(), Leader: proto.ReplicaID(r.soft.Lead), Leads: r.leads(),
		AppliedTerm: r.acked.AppliedTerm, Applied: r.acked.AppliedIndex, Commit: r.soft.HardState.GetCommit(),
		FirstIndex: first, LastIndex: last, Bytes: r.acked.Bytes,
		LeaderlessTicks: r.leaderlessTicks,
	}
}

// maybeTruncate proposes to cut the log (leader only).
func (r *replica) maybeTruncate() {
	first, applied := r.log.truncated.Index+1, r.acked.AppliedIndex
	all := applied
	for _, p := range r.progress() {
		if p.InSnapshot { // it will need what follows its range snapshot
			all = min(all, max(p.Match, first-1))
			continue
		}
		all = min(all, p.Match)
	}
	to := all
	tooLong := r.log.bytes > r.c.cfg.LogBytesMax || r.log.last+1-first > r.c.cfg.LogEntriesMax
	if tooLong && applied >= first {
		to = max(all, first+(applied-first)/2)
	}
	few := to-first < r.c.cfg.TruncateEntries && r.log.bytes <= r.c.cfg.LogBytesMax
	if to < first || few && !fault.Buggify("truncate-eagerly") {
		return
	}
	fault.Sometimes("log-cut-under-follower", to > all)
	r.proposeData(0, &internalpb.Command{Kind: &internalpb.Command_Truncate{
		Truncate: &internalpb.TruncateCommand{Index: to}}})
}

func (r *replica) progress() (out []*internalpb.ReplicaProgress) {
	r.node.WithProgress(func(id uint64, _ raft.ProgressType, pr trackerProgress) {
		out = append(out, &internalpb.ReplicaProgress{
			ReplicaId: id, Match: pr.Match, RecentlyActive: pr.RecentActive || id == uint64(r.replicaID),
			InSnapshot: pr.State == trackerStateSnapshot})
	})
	slices.SortFunc(out, func(a, b *internalpb.ReplicaProgress) int { return int(a.ReplicaId) - int(b.ReplicaId) })
	return out
}
