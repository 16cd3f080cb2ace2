// Package replica is the replicas of one worker of one store, as a state machine: a Core takes
// events and hands back Effects. Each replica is one raft.RawNode and what a range needs around it:
// proposals, applies, splits, membership, log truncation, range snapshots. It is PURE: time enters
// as Tick, the disk and the network are effects, so the production shell (package raftstore) and
// the simulator (chaos/sim) run the same code.
//
// # What it is not
//
// It does not evaluate requests, hold latches or keep a view: who proposes a command has done that,
// and says under which epoch and in which term. It moves no tables of range snapshots, decides on
// no placement, split key or member, and knows no tenant but the one that a command names. It has
// no goroutine, lock, timer or log line of its own.
//
// # The life of a write
//
//  1. The caller evaluates a command at a view whose RangeState has the term in which the replica
//     leads as its applied term, and calls Core.Propose with the epoch and the term of that view.
//     Wrong ones, a full queue and a follower are answered at once (an Outcome).
//  2. Core.Ready steps all replicas that something happened to. replica.append puts entries and
//     hard states of all of them into one LogStep, replica.send the messages for followers into
//     Effects.Messages: they go out in parallel.
//  3. The driver makes the LogStep durable, sends what waited for it (LogStep.After: votes,
//     acknowledgements), and calls Core.LogDone, which tells raft.
//  4. A committed entry comes back as work for replica.runApplies. applyEntry checks it
//     (replica.current, checkOps) and adds its effects, and then the RangeState with the new
//     applied index, to the one ApplyStep of this Ready.
//  5. The driver commits the ApplyStep, without a sync, and calls Core.ApplyDone: Outcomes,
//     ReadOutcomes and Statuses speak of what is in the engine only.
//
// A read is Core.Read: a quorum round of its own (or shared with reads that came before the same
// Ready), and then the moment when that much has been applied. The caller takes its view after the
// ReadOutcome, and looks at the RangeState in that view for the bounds.
//
// # Invariants
//
//   - I1. A batch that applies entries holds the applied index that they lead to
//     (replica.flushApply). Applying is a function of the entry and the RangeState, so what a crash
//     took from the end is done again from the log.
//   - I2. A truncation goes no further than what an earlier batch has applied
//     (replica.applyTruncate), whatever its command says; so after any crash the log begins at or
//     before the applied index. Load refuses anything else.
//   - I3. A split is one batch: both states and the start of the right-hand side's log
//     (applySplit); the end of a replica is one batch with its tombstone (maybeDestroy); a range
//     snapshot is one Install with state, hard state and the reset of the log. The batch of a split
//     leaves alone what log the right-hand side has: an early vote is in it.
//   - I4. Load starts from commit = max(HardState.Commit, applied). A log write that has a new
//     commit always carries it. A range snapshot waits until all applies of the range are in the
//     engine, and log writes behind it wait for it (runHeld); its hard state is the one that came
//     with it.
//   - I5. A command takes effect only in the epoch and in the term of its evaluation, checked when
//     it is applied: the epoch against RangeState, the term against the entry. Between the two no
//     other leader has written. A change of the descriptor checks version and conf, and only one is
//     in flight.
//   - I6. The right-hand side of a split is made by its left alone. applySplit has the owner of the
//     right stop it (HandoffPrepare: frozen, drained of log writes, dropped), writes the batch when
//     told so (HandoffPrepared), and lets it start when the batch is in the engine (HandoffInit).
//     Messages in between wait (earlyMax). A tombstone, or a later incarnation, makes the split
//     skip the right-hand side and remove its data.
//   - I7. Spans of a store's replicas do not overlap: a range snapshot claims the hull of what it
//     brings and replaces (Spans.Claim) before any data moves.
//   - I8. A replica id is used once. A tombstone keeps ids below it from coming back. A replica
//     goes when it applies its removal, when a message names a later incarnation, or when a member
//     says Gone: what a member has applied was committed, so that answer is final. A replica that
//     hears from no leader asks (askWhetherGone).
//   - I9. Membership is in the descriptor alone; raft's configuration is derived from it
//     (confState). A voter leaves through a joint configuration, then is a learner, then is removed
//     (Change says why).
//   - I10. Every proposal is answered once: Applied, without effect, or Unknown when leadership is
//     lost while it is in the log. Unknown is never guessed away. A read is answered once.
//
// # Who owns what
//
// A Core and all in it belong to the goroutine that calls it. The Reader is read inside calls
// (raft.Storage); its failure stops the Core (Effects.Fatal). Spans is shared by the cores of a
// store; the driver's implementation has the lock. What is handed out in Effects is not touched
// again, but descriptors are shared and never changed.
//
// # How to test it
//
// Stories in testdata, one claim a file, against the in-memory engine: go test ./raftstore/replica.
// Runs with faults, from a seed: go test ./chaos/sim. The seeded bugs that those must find are in
// proto/fault.
package replica
