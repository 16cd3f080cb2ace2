// Package live runs chaos against a cluster that is somebody's: it knows addresses and a credential, and reaches the
// nodes by drivers. Workloads, histories and checkers are those of the other rungs, faults those of package nemesis.
//
//	report, err := live.Run(ctx, live.Cluster{Endpoints: e, AdminCredential: key}, live.Plan{Suite: "smoke",
//		Driver: live.DriverPlan{Processes: &live.ProcessesPlan{}}}, live.Options{Journal: "journal", Understood: true})
//
// What it is not. It starts no cluster and knows no simulator; it reads and writes no tenant but the run's own; it is
// no supervisor: a node that it killed comes back by the plan's command or by somebody else's doing.
//
// The life of one run. (1) Plan.Complete fills the plan in, schedule draws the faults from the seed; (2) look asks
// the cluster, which must be healthy; (3) OpenJournal refuses while an earlier run's faults are there, startGuard
// starts the process that heals when this one dies; (4) prepare makes the tenant and splits its keys, startLoad
// starts workloads and probes; (5) for each fault reserve waits for a moment that loses no quorum and chooses whom
// it hits, begin notes the undo and injects, bite looks for the effect, end undoes; (6) waitHealthy, final reads;
// (7) conclude judges histories, budgets and whether the faults bit.
//
// Invariants.
//   - I1. A fault's undo is in the journal, synced, before the fault is injected, and stays there until it was undone.
//   - I2. An undo may be carried out any number of times, by anybody who has the journal.
//   - I3. No fault is injected that would leave a range without a quorum by what the cluster said right before it,
//     unless the plan allows that.
//   - I4. Every fault has an end of its own; whatever ends the run ends it earlier.
//   - I5. Keys, stream names and splits lie within the run's tenant, under a prefix of the run.
//   - I6. A fault whose effect nobody saw, and a run in which too little happened, are no pass.
//
// Goroutines and locks. Run owns all of them: one for each fault while it lasts, one for each node that is waited for,
// one that watches for the end, and those of two load.Loads. run.mu guards what they share and is not held across
// calls. The guard is another process; Journal.mu and the file's lock keep lines whole.
//
// How to test it: go test ./chaos/live; the end-to-end tests run a cluster of real processes for a minute. The
// processes and exec drivers are tested on real nodes, ssh with a program in the place of ssh.
package live
