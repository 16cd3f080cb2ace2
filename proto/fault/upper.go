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
