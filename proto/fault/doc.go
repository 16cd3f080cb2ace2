// Package fault holds what is in the product for the sake of its tests: seeded bugs (mutants) by
// which the simulator and the checkers are themselves tested; probes, which say that a rare place
// was reached; and quirks, places that may behave in a rare but legal way (package point has those at
// which a process dies). In a build without the tag `chaos` every question answers a constant false, so the
// compiler removes all of it; a test asserts that the release binary holds no symbol of this
// package. With the tag, at most one mutant is on, the one that Enable named, and quirks are active
// between Begin and End only. The lists in this package are the registries: what has no row does
// not exist.
package fault

// Name is the name of a mutant.
type Name string

// The mutants.
const (
	// SkipLogSync acknowledges log writes that are not on the disk.
	SkipLogSync Name = "skip-log-sync"
	// SkipEpochCheck applies commands that were evaluated under another epoch.
	SkipEpochCheck Name = "skip-epoch-check"
	// SkipTermCheck applies commands that were evaluated in another term.
	SkipTermCheck Name = "skip-term-check"
	// AppliedIndexApart writes the applied index in a batch of its own, before the one that has the effects.
	AppliedIndexApart Name = "applied-index-apart"
	// TruncatePastApplied cuts the log past the applied index.
	TruncatePastApplied Name = "truncate-past-applied"
	// SnapshotInTwoSteps installs a range snapshot's data first and the range's local state in a step after it.
	SnapshotInTwoSteps Name = "snapshot-in-two-steps"
	// AnswerBeforeSync sends votes and acknowledgements while the log write that they depend on is on its way.
	AnswerBeforeSync Name = "answer-before-sync"
	// SplitLosesBoundary lets the right-hand side of a split begin behind the split key.
	SplitLosesBoundary Name = "split-loses-boundary"
	// ForgetTombstone lets a replica that was removed come back.
	ForgetTombstone Name = "forget-tombstone"
	// OneReplicaDiffers leaves a write out on one store.
	OneReplicaDiffers Name = "one-replica-differs"
	// TwoChanges lets several changes of membership be under way, each made from what was before the others.
	TwoChanges Name = "two-changes"
	// LeakReservation keeps what was reserved for a range snapshot that broke off.
	LeakReservation Name = "leak-reservation"
	// SkipChecksum takes bytes of the simulated disk for what was written, whatever they are.
	SkipChecksum Name = "skip-checksum"
	// SwallowSyncError goes on after a write or sync that failed, as if it had not.
	SwallowSyncError Name = "swallow-sync-error"
)
