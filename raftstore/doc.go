// Package raftstore replicates ranges by Raft on one store: the production shell around the pure
// cores of package replica.
//
// # What it is not
//
// It decides nothing about Raft, membership, splits or truncation: replica.Core does, and the
// simulator runs the same Core without this package. It knows no users, tenants, versions or
// transactions: a command is a batch of engine keys that somebody else has evaluated. It does not
// place replicas: the placement driver sends it steps.
//
// # The life of a write
//
//  1. Begin returns the descriptor and the term under which the caller evaluates its command.
//  2. Propose registers a waiter and posts the command to the mailbox of the worker that owns the
//     range (mailbox.offer; a full one refuses at once). The worker takes all that has come
//     (worker.run), and Core.Propose checks leadership, term, epoch and queues.
//  3. Core.Ready returns the effects, worker.dispatch hands them on: appends to followers go to the
//     Transport at once, in parallel with the store's own log write.
//  4. runLog gathers the steps of all ranges into one batch with one sync (writeLog), sends what
//     was to be sent after it, the followers' acknowledgements above all, and posts LogDone.
//  5. When a quorum has it, the next Ready holds the apply batch. runApply commits it without a
//     sync (it is in the log) and posts ApplyDone.
//  6. The Core answers with an Outcome, dispatch gives it to the waiter (answerProposal), Propose
//     returns.
//
// # The life of a read
//
//  1. Begin, as above.
//  2. Confirm posts Core.Read. Reads that come together share one round of heartbeats to a quorum
//     (ReadIndex); when it is answered and everything committed before it is applied, dispatch
//     answers the waiter.
//  3. The caller takes a view with NewView, and checks in it that the range still holds the key: it
//     may have split.
//
// A range snapshot: startSend queues it, runSends streams one view's tables (sendSnapshot,
// exporter). ReceiveSnapshot has the Core accept or refuse the header, writes and checks the tables
// (receiveTables), and hands them over; the log writer installs them at their place in the order of
// log steps (install).
//
// # Invariants
//
// I1 to I4 of the design are kept by Core's order of effects; the shell keeps that order:
//
//   - S1. Log steps of one worker are carried out in the order of Ready, and what is behind a step
//     (After, LogDone) is sent only when it is durable. Nothing is written behind an install that
//     did not happen.
//   - S2. Apply batches are committed in the order of Ready.
//   - S3. After the first error nothing is acknowledged: fail stops the store, waiters get an
//     AmbiguousError or a NotLeaderError, and Run returns the error. OnFatal is called once.
//   - S4. A status is published before the answers that go with it, and is never ahead of the
//     engine.
//   - S5. Every waiter is answered, or sees its context or the store end.
//
// # Goroutines, locks, queues
//
// Run owns all goroutines and returns after them: Workers workers, each the only one to touch its
// Core; one log writer; one applier; one for ticks; one for splits; SendSlots senders of range
// snapshots. There is none per range. ReceiveSnapshot runs on its caller's. Locks are leaves, never
// held across I/O: mailbox.mu, queue.mu, waiters.mu, incoming.mu, lockedSpans.mu. A mailbox refuses
// new work when full (MailboxMax) and always takes answers to the worker's own effects; the log and
// apply queues hold what the Core's proposal limits and Raft's inflight limits admitted; a full
// queue of range snapshots to send reports failure, and Raft asks again.
//
// # How to test it
//
// Package raftstoretest runs clusters on crashable disks behind a network that can be cut. The
// tests here crash stores at every operation on a file, break disks, tear logs, split, move and
// replace under load, and check disks and replicas against what was acknowledged. `go test -race
// ./raftstore/...`; BenchmarkPropose measures.
package raftstore
