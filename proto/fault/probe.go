package fault

// Probe names a rare place that the tests should come by. One that a large number of simulated runs never reaches says
// that the tests are too tame, not that the code is right.
type Probe string

// ProbeRow is a row of the list of probes.
type ProbeRow struct {
	Name Probe
	Says string // what happened
}

// Probes lists all probes.
func Probes() []ProbeRow {
	return []ProbeRow{
		{"split-waits-for-right", "a split waits for log writes of its right-hand side"},
		{"split-skips-right", "a split leaves out a right-hand side that was removed before"},
		{"split-of-doomed", "a split was prepared on a replica that goes"},
		{"early-message", "a message for a right-hand side was kept until the split was applied"},
		{"snapshot-while-split", "a range snapshot came for a right-hand side that is being made"},
		{"snapshot-waits-for-apply", "a range snapshot waits for the applies before it"},
		{"snapshot-is-behind", "a range snapshot was offered to a replica that is further"},
		{"snapshot-overlaps", "a range snapshot's span overlaps another range of the store"},
		{"snapshot-ignored", "raft did not want a range snapshot that was received"},
		{"snapshot-into-data", "a range snapshot replaces a replica that has data"},
		{"log-cut-under-follower", "a leader cuts the log although a follower needs it"},
		{"log-suffix-replaced", "entries that were not committed are replaced by others"},
		{"log-read-from-engine", "entries that the cache does not have are read from the engine"},
		{"applied-in-other-term", "an entry is without effect because of its term"},
		{"applied-in-other-epoch", "an entry is without effect because of its epoch"},
		{"change-of-other-epoch", "a change of membership is without effect because of its epoch"},
		{"foreign-proposal-id", "an older entry has the id of a proposal that waits"},
		{"proposal-unknown", "leadership is lost while a proposal is in the log"},
		{"proposal-in-transfer", "a proposal is refused because leadership is being handed on"},
		{"left-slow-disk", "a leader hands a range over since its log writes hang"},
		{"read-loses-term", "a read's round is lost with the leader's term"},
		{"tombstone-hit", "a tombstone keeps a removed replica from coming back"},
		{"tombstone-raised", "a message names a later incarnation of a replica that is here"},
		{"told-gone", "a replica learns from a member that it was removed"},
		{"boot-of-removed", "a replica is found at boot that had applied its removal"},
		{"boot-with-commit-behind", "a replica boots with more applied than committed"},
		{"joint-leader-leaves", "a leader applies a change in which it is no voter any more"},
		{"change-waits-for-new-leader", "a change of the descriptor comes too early in a term"},
		{"latch-conflict", "a command waits for another one's latch"},
		{"latch-abandoned", "a command gives up while it waits for a latch"},
		{"request-recorded", "a request id is answered from its record"},
		{"client-in-window", "an append is answered from its stream's window"},
		{"operator-timed-out", "an operator of placement timed out"},
		{"operator-cancelled", "an operator of placement was cancelled"},
		{"oracle-clock-behind", "the oracle's clock is behind what it handed out"},
		{"oracle-save-late", "no timestamp fits below the saved bound"},
	}
}
