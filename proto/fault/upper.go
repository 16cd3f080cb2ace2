package fault

// The mutants above the replicas.
const (
	// ForgetBound starts an oracle without regard to the bound that an earlier one saved.
	ForgetBound Name = "forget-bound"
	// UnconfirmedTimestamps hands timestamps out without asking a quorum who leads.
	UnconfirmedTimestamps Name = "unconfirmed-timestamps"
	// UnconfirmedReads answers from what is applied here, whoever leads by now.
	UnconfirmedReads Name = "unconfirmed-reads"
	// SkipLatches evaluates writes to the same keys side by side.
	SkipLatches Name = "skip-latches"
	// SkipReadWait reads at a timestamp without waiting for the writers that have earlier ones.
	SkipReadWait Name = "skip-read-wait"
	// ForgetRequests carries a request out as often as it comes.
	ForgetRequests Name = "forget-requests"
	// ForgetClients appends a record as often as its client sends it.
	ForgetClients Name = "forget-clients"
	// UnknownIsFailure tells the caller of a write that was not answered that nothing was done.
	UnknownIsFailure Name = "unknown-is-failure"
	// DropHealthyReplica takes a healthy replica away where one is missing.
	DropHealthyReplica Name = "drop-healthy-replica"
	// SealNothing stores values in clear.
	SealNothing Name = "seal-nothing"
	// ReadPastMoment reads the newest version where the one of a moment is asked for.
	ReadPastMoment Name = "read-past-moment"
	// SkipCondition writes although a condition does not hold.
	SkipCondition Name = "skip-condition"
	// SkipReadEpoch reads whatever key a range is asked for, also one that it has no more.
	SkipReadEpoch Name = "skip-read-epoch"
	// HalfCommit makes the first mutation of a commit and answers for all.
	HalfCommit Name = "half-commit"
	// FollowClock lets timestamps go back with the clock.
	FollowClock Name = "follow-clock"
	// OtherTenantsKey reads under the prefix of the tenant before.
	OtherTenantsKey Name = "other-tenants-key"
)

// upper lists the mutants above the replicas.
func upper() []Mutant {
	const history, timestamps, invariant = "history", "timestamps", "invariant"
	const final, rest = "final-read", "rest"
	return []Mutant{
		{ForgetBound, "placement/tso I2: an oracle starts above the saved bound",
			[]string{timestamps, history, rest, invariant}},
		{UnconfirmedTimestamps, "kv/node I4: a timestamp is confirmed by a quorum",
			[]string{timestamps, history, invariant}},
		{UnconfirmedReads, "txn I4: nothing is answered from a state that may be old", []string{history}},
		{SkipLatches, "txn I1: commands on the same keys do not overlap",
			[]string{"sizes", history, invariant}},
		{SkipReadWait, "txn I3: a read sees all writes below its timestamp", []string{history}},
		{ForgetRequests, "kv/gateway I2: a write takes effect once under its id",
			[]string{history, final, invariant}},
		{ForgetClients, "txn/mvcc: a stream knows its clients' records again", []string{history}},
		{UnknownIsFailure, "kv/client I2: a failure did nothing", []string{history}},
		{DropHealthyReplica, "placement/schedule I3: a replica leaves after another has come",
			[]string{"voters", rest}},
		{SealNothing, "encryption: values lie nowhere in clear", []string{"clear-text"}},
		{ReadPastMoment, "txn/mvcc: reads of several keys are of one moment", []string{history}},
		{SkipCondition, "txn/mvcc: a conditional write happens under its condition",
			[]string{history, final}},
		{SkipReadEpoch, "I5: a read is of a range that has the key", []string{history, final}},
		{HalfCommit, "txn/mvcc: a commit is atomic", []string{history}},
		{FollowClock, "placement/tso I1: timestamps never go back",
			[]string{timestamps, history, invariant}},
		{OtherTenantsKey, "a tenant sees its own data only", []string{history, final}},
	}
}
