// Package sim runs a whole cluster in one goroutine, in virtual time, from one seed: the cores of
// production with everything above them, the in-memory engine with its crashes, a network that
// loses, doubles, delays and cuts, the clients that programs use, with workloads that record what
// they were told, and a nemesis. A seed replays a run exactly.
//
// # What is real
//
// The replica cores (raftstore/replica), what is asked of them (raftstore.Calls), the executor with
// its latches and mvcc (txn), real envelopes (encryption), the timestamp oracle and its batcher
// (placement/tso), the placement driver with its planner (placement), gateway and router
// (kv/gateway), what joins all this on a node (kv/node.Member: the system range, reports, steps,
// leadership), and the client (kv/client). All messages are encoded and decoded. This code waits
// through a wait.Scheduler; here that is a process, whose fibers are coroutines.
//
// # What it is not
//
// It does not test goroutines, fsync, gRPC or Pebble; packages engine, raftstore and the process
// tests do. Instead of raftstore's shell there is store, instead of gRPC conn, and there are no
// tenants' records: the keys of the one tenant are given (front.sealer), its credential is known
// (tenants).
//
// It does not let the oracle's clock jump by more than a stream's window (ten minutes) where a
// workload counts on that window (front.nowMs), and clients' clocks go by the oracle's (truth.wall):
// the product promises nothing then. It refuses writes of clients whose clocks are further off.
//
// # The life of a run
//
//  1. DrawOptions draws everything that is fixed for a run: stores, latencies, limits at their
//     extremes, which faults, which workloads.
//  2. cluster.bootstrap makes a new cluster of the first store, as a node does; the others join
//     (front.join), and the placement driver brings the ranges to three replicas.
//  3. kernel.runUntil lets events happen. store.pump asks a core for its effects, store.runLog and
//     runApply carry them out after the disk's latency, network.send encodes and delivers;
//     process.run lets fibers go on: loops of nodes, calls that are served, clients.
//  4. nemesis carries out a plan of faults until Options.Duration (faults_*.go: processes and clocks,
//     network, disks, ranges); the hand splits and moves ranges beside the driver. Each entry of the
//     plan has a seed of its own, from which it draws. What would take the last majority of a range
//     is refused (cluster.mayLose).
//  5. The liveness phase: everything is mended, and within healMax the cluster must come to rest
//     (oracle.converged, truth.settled).
//  6. finalReads reads all back through clients, and the cluster rests again; oracle.final compares
//     all replicas, truth.final looks through the disks, judge lets the workloads check the
//     history.
//
// # Invariants
//
//   - I1. Nothing in a run depends on anything but its options and crypto/rand, which the test
//     seeds: no map order, no clock. Each concern draws from its own stream of random numbers
//     (kernel.rng).
//   - I2. An event of a process never happens after its crash (store.after), and its fibers are
//     unwound by it (process.kill).
//   - I3. A write whose outcome is not known stays unknown; what tries again is the product.
//   - I4. Values are unique, so nothing can happen twice unseen.
//   - I5. One fiber runs at a time, from one event to where it waits next.
//
// # What is checked
//
// checkers.go lists who can end a run. While it runs, by oracle: one leader a term, who has all
// that was committed before; the same committed entries everywhere; the commit index goes forward;
// replicas identical at the same applied index, as read back from the engine; the log never begins
// behind the applied index; spans do not overlap; every boot succeeds; no answer comes twice. By
// truth: timestamps are above all that were received before they were asked for; no range that had
// three voters is left with fewer; no value leaves in a message of raft in clear. At the end:
// everything is answered, all replicas are where their leader is, stores hold nothing else, sizes
// add up; the driver's map has each key once; no version is above the oracle's last timestamp; no
// value lies on a disk in clear; and the workloads' own checks (chaos/workload, chaos/check).
//
// # How to test it
//
//	go test ./chaos/sim -run TestSeeds -seeds=200            many seeds; a failure prints how to
//	    replay it
//	go test ./chaos/sim -run TestSeeds -seed=17 -v           one, with what happens
//	    ... -seed=17 -shrink -out=DIR                        looks for a smaller plan that fails
//	    alike, and writes it to DIR
//	go test ./chaos/sim -run TestSeeds -plan=FILE -v         runs a plan; testdata/plans has those
//	    that found something, for TestPlans
//	make sim SEEDS=1000                                      one process a core, one table: faults
//	    by class, operations, probes that were reached and that were not
//	go test -tags chaos ./chaos/sim -run TestMutants -v      the seeded bugs of proto/fault,
//	    each of which a nominated checker must find
//
// With the tag chaos the quirks of proto/fault are on, a quarter of them in each run, so a seed is
// another run without it.
//
// One goroutine owns all.
package sim
