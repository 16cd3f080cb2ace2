package fault

// Mutant is a row of the registry.
type Mutant struct {
	Name    Name
	Breaks  string   // the invariant, of raftstore/replica unless it says otherwise
	Killers []string // the checkers of chaos/sim that see it: who else does is no proof
}

// Registry lists all mutants.
func Registry() []Mutant {
	const equal, history, boot, fatal, sizes = "replica-equality", "history", "boot", "fatal", "sizes"
	const completeness, matching = "leader-completeness", "log-matching"
	const leader, final, invariant, log = "one-leader", "final-read", "invariant", "log-place"
	return append(upper(), []Mutant{
		{SkipLogSync, "I1: what is acknowledged is on the disk",
			[]string{leader, equal, history, fatal, boot, invariant, "timestamps", completeness, matching}},
		{SkipEpochCheck, "I5: a command takes effect only under the epoch of its evaluation",
			[]string{equal, history, "leftovers", sizes, invariant}},
		{SkipTermCheck, "I5: a command takes effect only in the term of its evaluation",
			[]string{sizes, history, invariant}},
		{AppliedIndexApart, "I1: the applied index is in the batch of the effects",
			[]string{equal, sizes, history}},
		{TruncatePastApplied, "I2: a truncation never passes the applied index",
			[]string{log, boot, fatal, "panic"}},
		{SnapshotInTwoSteps, "I3: a range snapshot is installed in one step",
			[]string{boot, equal, fatal, "leftovers"}},
		{AnswerBeforeSync, "an answer leaves when what it depends on is on the disk",
			[]string{leader, equal, history, fatal, boot, invariant, completeness, matching}},
		{SplitLosesBoundary, "the sides of a split are all of the range",
			[]string{"rest", "leftovers", history, final, invariant, sizes}},
		{ForgetTombstone, "I8: a replica id is used once",
			[]string{"rest", "leftovers", boot, leader, fatal, "panic", "spans", invariant, completeness}},
		{TwoChanges, "a change of membership is made from the one before it",
			[]string{"rest", "voters", leader, invariant, "panic"}},
		{LeakReservation, "a range snapshot that broke off is offered again", []string{"rest"}},
		{OneReplicaDiffers, "replicas are identical at the same applied index", []string{equal}},
		{SkipChecksum, "engine: bytes that are not what was written are ErrCorrupt",
			[]string{equal, boot, sizes, "rot", invariant, history, fatal, final, "panic"}},
		{SwallowSyncError, "engine I5: the first write that fails is final",
			[]string{leader, equal, history, fatal, boot, invariant, "timestamps", completeness, matching,
				"rest"}},
	}...)
}
