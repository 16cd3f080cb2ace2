package sim

// The checkers that can end a run, by the name that Result.Checker has. Others are the workloads, by their names.
const (
	OneLeader       = "one-leader"          // one leader a term
	LogMatching     = "log-matching"        // replicas have the same committed entries
	Completeness    = "leader-completeness" // a new leader has everything that was committed before
	CommitForward   = "commit-forward"      // the commit index never goes back while a process lives
	ReplicaEquality = "replica-equality"    // replicas are identical at the same applied index
	LogPlace        = "log-place"           // the log begins at or before applied
	Spans           = "spans"               // ranges of a store do not overlap
	Boot            = "boot"                // a store starts from what its disk holds
	Fatal           = "fatal"               // a core stopped: its log or its store is not what it left
	Rest            = "rest"                // without faults the cluster comes to rest
	FinalRead       = "final-read"          // everything can be read at the end
	Sizes           = "sizes"               // ranges hold as many bytes as they believe to
	Leftovers       = "leftovers"           // a store holds data of its ranges only
	Rot             = "rot"                 // a flipped bit is found
	Timestamps      = "timestamps"          // above all that were received before
	Voters          = "voters"              // no range is left with fewer than it had
	ClearText       = "clear-text"          // no value lies anywhere in clear
	Panic           = "panic"               // an assertion of the code itself
	Invariant       = "invariant"           // anything else that never happens
)
