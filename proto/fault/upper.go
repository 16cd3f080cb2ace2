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
	}
}
