package replica

import (
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// Effects is what the driver has to do, in no order between the fields, in order within each.
type Effects struct {
	// Messages are to be sent now.
	Messages []*internalpb.RaftMessage
	// Log steps are to be carried out one after the other; each is answered by LogDone or InstallDone.
	Log []LogStep
	// Apply, when it has a token, is to be committed without a sync after all earlier ones, and answered by ApplyDone.
	Apply ApplyStep
	// Snapshots are to be generated and sent; each is answered by SnapshotSent.
	Snapshots []SendSnapshot
	// Reservations answer ReserveSnapshot.
	Reservations []Reservation
	// Dropped names reserved range snapshots whose files are not needed any more.
	Dropped []uint64
	// Outcomes answer proposals.
	Outcomes []Outcome
	// Reads answer reads.
	Reads []ReadOutcome
	// Handoffs are to be given to the core that owns their range, which may be this one.
	Handoffs []Handoff
	// Statuses are of replicas that changed, as of what the engine holds.
	Statuses []Status
	// SlowDisk: at the last tick, entries were overdue on this store's disk (OverdueTicks).
	SlowDisk bool
	// Fatal is set once: the store can not go on. Nothing else is set then.
	Fatal error
}

// LogStep is a write to the log, or the installation of a range snapshot at this place in the order.
type LogStep struct {
	Token uint64
	Batch storage.Batch
	// Sync: everything up to this step is durable before LogDone and before After is sent.
	Sync bool
	// After is to be sent to other stores once the step is done. The driver does it itself, without the core.
	After []*internalpb.RaftMessage
	// Install, when set, replaces Batch.
	Install *Install
}

// Install is one ingest-and-excise (I3).
type Install struct {
	Snapshot               uint64 // the reservation that has the tables
	Range                  proto.RangeID
	ExciseStart, ExciseEnd []byte        // engine bounds
	Local                  storage.Batch // local state and the reset of the log
}

// ApplyStep is the merged batch of the applies of all ranges. Applies are in the engine's order.
type ApplyStep struct {
	Token uint64 // 0: nothing to do
	Batch storage.Batch
	// Ahead is empty but for a mutant: a batch to be committed before.
	Ahead storage.Batch
}

// SendSnapshot asks for a range snapshot to be made from a view and sent. The driver reads the RangeState from the view
// and calls SnapshotMessage for the message that goes with it.
type SendSnapshot struct {
	Range     proto.RangeID
	ToStore   proto.StoreID
	ToReplica proto.ReplicaID
	Template  *internalpb.RaftMessage
}

// Reservation answers ReserveSnapshot.
type Reservation struct {
	Snapshot uint64
	Accepted bool
	Reason   string
}

// Verdict is what became of a proposal.
type Verdict int

// The verdicts.
const (
	// Applied: it took effect here.
	Applied Verdict = iota + 1
	// NotLeader: refused before it was proposed, or at apply because of its term. Without effect.
	NotLeader
	// StaleEpoch: refused, before or at apply. Without effect.
	StaleEpoch
	// QueueFull: refused before it was proposed.
	QueueFull
	// Refused: it can never be carried out; Reason says why. Without effect.
	Refused
	// Unknown: leadership was lost while it was in the log.
	Unknown
)

// Outcome answers a proposal.
type Outcome struct {
	Range    proto.RangeID
	Proposal uint64
	Verdict  Verdict
	Leader   proto.ReplicaID // a hint for NotLeader; 0: not known
	Reason   string
	// Descriptors are what is there now, for StaleEpoch and for changes of the descriptor.
	Descriptors []*internalpb.Descriptor
}

// ReadOutcome answers a read: from now on a view of the engine holds everything that was committed before Read.
type ReadOutcome struct {
	Range  proto.RangeID
	Read   uint64
	OK     bool
	Term   uint64          // in which the replica led, when OK
	Leader proto.ReplicaID // a hint, when not OK
}

// HandoffKind is a kind of message between the cores of one store.
type HandoffKind int

// The kinds of handoffs. A split stops its left-hand side's applies, asks the core of the right-hand side to stop and
// drain it (Prepare), goes on when told (Prepared), and says when the batch is in the engine (Init).
const (
	HandoffPrepare HandoffKind = iota + 1
	HandoffPrepared
	HandoffInit
)

// Handoff is a message from one core of a store to the core that owns To.
type Handoff struct {
	Kind     HandoffKind
	To       proto.RangeID
	From     proto.RangeID
	Replica  proto.ReplicaID // the right-hand side's replica on this store
	Skip     bool            // Prepared: a later incarnation was here; Init: it is not to be made
	Campaign bool            // Init: campaign at once
}

// Status is a replica as readers on other goroutines see it: never ahead of the engine.
type Status struct {
	Range       proto.RangeID
	Replica     proto.ReplicaID
	Descriptor  *internalpb.Descriptor // nil: not initialised
	Term        uint64
	Leader      proto.ReplicaID
	Leads       bool
	AppliedTerm uint64
	Applied     uint64
	Commit      uint64
	FirstIndex  uint64
	LastIndex   uint64
	Bytes       uint64
	Removed     bool // no replica of the range is here any more; nothing else is set but Range
	// LeaderlessTicks counts ticks since the replica led or heard from a leader. Statuses follow it in steps of five
	// election timeouts. A replica that is not a member any more hears from nobody who would tell it: whoever knows the
	// descriptor tells it by a message with Gone.
	LeaderlessTicks int
}

// Spans is a store's table of which replica holds which span, shared by all its cores. Its calls are synchronous and
// do no I/O. SpanTable is the implementation; a driver with several goroutines puts a lock around it.
type Spans interface {
	// Set says that the range's replica holds [start, end).
	Set(id proto.RangeID, start, end []byte)
	// Split shrinks left to [.., key) and, unless right is 0, gives right the rest, in one step.
	Split(left, right proto.RangeID, key []byte)
	// Remove forgets the range, its claim included.
	Remove(id proto.RangeID)
	// Claim reserves [start, end) for a range snapshot, unless another range holds or claims a part of it.
	Claim(id proto.RangeID, start, end []byte) (conflict proto.RangeID, ok bool)
	// Release gives a claim up.
	Release(id proto.RangeID)
}

// Liveness stands between replicas and ticks. Plain ticks each replica and lets all votes pass; a fabric of store pairs
// answers otherwise for replicas that support a leader.
type Liveness interface {
	Ticks(id proto.RangeID) bool
	AllowVote(id proto.RangeID, from proto.StoreID) bool
}

// PlainTicks is Raft's own failure detection: every replica is ticked, every vote passes.
type PlainTicks struct{}

// Ticks implements Liveness.
func (PlainTicks) Ticks(proto.RangeID) bool { return true }

// AllowVote implements Liveness.
func (PlainTicks) AllowVote(proto.RangeID, proto.StoreID) bool { return true }
