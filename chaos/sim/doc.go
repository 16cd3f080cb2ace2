// Package sim runs a whole cluster in one goroutine, in virtual time, from one seed: the replica
// cores of production (raftstore/replica), the in-memory engine with its crashes, a network that
// loses, doubles, delays and cuts, clients that record what they were told, and a nemesis. A seed
// replays a run exactly.
//
// # What it is not
//
// It is not a mock of the store: what it drives is what vipkv start drives, by the same calls and
// effects. It does not test goroutines, fsync, gRPC or Pebble; packages engine, raftstore and the
// process tests do.
//
// # The life of a run
//
//  1. DrawOptions draws everything that is fixed for a run: stores, latencies, limits at their
//     extremes, which faults.
//  2. cluster.bootstrap makes a range with one replica; placement grows it to three and keeps it
//     so.
//  3. kernel.runUntil lets events happen. store.pump asks a core for its effects, store.runLog and
//     runApply carry them out after the disk's latency, network.send encodes and delivers, front
//     evaluates what clients ask.
//  4. nemesis crashes, pauses, cuts, stalls, moves, splits and hands leadership about until
//     Options.Duration.
//  5. The liveness phase: everything is mended, and within healMax the cluster must come to rest
//     (oracle.converged).
//  6. finalReads reads all back through a client, oracle.final compares all replicas, judge checks
//     the history.
//
// # Invariants
//
//   - I1. Nothing in a run depends on anything but its options and crypto/rand, which the test
//     seeds: no map order, no clock. Each concern draws from its own stream of random numbers
//     (kernel.rng).
//   - I2. An event of a process never happens after its crash (store.after).
//   - I3. A write whose outcome is not known stays unknown; a client tries again only after a
//     definite refusal, and then it is evaluated anew.
//   - I4. Values are unique and appends read what they write, so nothing can happen twice unseen.
//
// # What is checked
//
// While it runs, by oracle: one leader a term; replicas identical at the same applied index, as
// read back from the engine; the log never begins behind the applied index; spans do not overlap;
// every boot succeeds; no read sees a value of a later epoch; no answer comes twice. At the end:
// everything is answered, all replicas are where their leader is, stores hold nothing else, sizes
// add up; registers are linearizable, streams dense, sets complete (chaos/check).
//
// # How to test it
//
//	go test ./chaos/sim -run TestSeeds -seeds=200            many seeds; a failure prints how to
//	    replay it
//	go test ./chaos/sim -run TestSeeds -seed=17 -v           one, with what happens
//	go test -tags chaos ./chaos/sim -run TestMutants -v      the seeded bugs of proto/fault,
//	    each of which must be found
//
// One goroutine owns all.
package sim
