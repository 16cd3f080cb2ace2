// Package txn carries out commands on the ranges that this store leads: it decides in which order commands that touch
// the same keys run, at which timestamp, and what may be answered when.
//
// It is not replication (the consumer's Engine is, which raftstore satisfies), not the meaning of commands (package
// mvcc), and no coordinator: a command touches one range.
//
// The life of a write (Executor.Execute, command.write):
//
//  1. mvcc.Validate; Engine.Begin: this store leads, and the caller's epoch is the range's; the tenant's sealer.
//  2. Latches.Acquire on mvcc.Spans, in order of arrival.
//  3. Begin again, since the command may have waited; a timestamp from the oracle; Engine.NewView; Begin again, in the
//     same term: the view shows the span of this epoch.
//  4. mvcc.Evaluate. With nothing to write (a request that was carried out before, a condition that does not hold)
//     Engine.Confirm, then the answer.
//  5. Engine.Propose with the epoch and the term of the evaluation, without the caller's cancellation. When it returns
//     the latches go; then the answer. A caller that leaves earlier gets an AmbiguousError.
//
// A read of the newest state (Get, Head, Read; command.readLatest): Begin, Confirm, view, Begin, Evaluate, and once
// more with a timestamp, taken first, when a value with an expiry is met. A read at a timestamp (Scan, BatchGet, Get at
// a version; command.readAt): Begin, timestamp, Latches.Wait for the writers that hold latches in the span, Confirm,
// view, Begin, Evaluate.
//
// Invariants:
//
//	I1. Two commands of which one writes a key of the other do not overlap between step 2 and the outcome in step 5.
//	I2. A write's timestamp is taken under its latches. So it is greater than that of every version of its keys, and
//	    greater than every timestamp at which somebody has read or reads them.
//	I3. A read at a timestamp sees all writes at or below it: those that had their timestamps held latches when it
//	    looked, so it waited for them; those that came later are above it.
//	I4. Nothing is answered from a state that is not confirmed to be the newest at some moment of the call, refusals
//	    included.
//	I5. Latches are held until the proposal's outcome is known or settled (see Engine.Propose), whatever the caller does.
//	I6. A guard waits only for guards that came before it: no deadlock, and no command is overtaken for ever.
//
// Goroutines: one for each proposal under way, which ends with Engine.Propose (Executor.Drain waits for all). Locks:
// Executor.mu guards the map of ranges in use; Latches.mu guards one range's latches; neither is held while waiting,
// and neither is taken under the other.
//
// To test: go test ./txn/... ; the latches against a model (latch_test.go), executors over txntest.Engine with lost
// proposals and answers (executor_test.go), and txntest.RunEngine for any engine.
package txn
