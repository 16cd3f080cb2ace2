// Package bubble runs the real assembly of a few nodes (kv/node.Run: all goroutines, gRPC, Pebble) in one process with
// virtual time (testing/synctest), over a network and disks in memory, for the race detector: data races, deadlocks,
// timers and goroutines that are left behind. Minutes of a cluster's life cost seconds.
//
// What it is not: it replays nothing. Which goroutine runs next and which of two timers that are due at the same time
// fires first is Go's choice, and differs each time; a failure is what its log and its dump of goroutines say. The
// simulator (package sim) replays seeds; real processes (package proc) have real clocks.
//
// The life of a scenario. (1) A test starts its own binary again for itself alone: some libraries keep channels beyond
// the end of a bubble, so a process has one. (2) In the bubble New starts the nodes of a Cluster, each with a Host on
// the Network and a crashable file system. (3) StartLoad runs workloads, whose clients are on a host of their own; the
// scenario cuts links, takes power, stops and starts nodes. (4) All is mended, Load.Finish reads everything and the
// checkers judge. (5) Close ends everything; synctest fails the test when a goroutine is left.
//
// Invariants.
//   - I1. A node that loses power has sent nothing that its disk did not hold when it promised it: its host leaves the
//     network first, then the disk is copied with what was synced only, then its goroutines are told to end.
//   - I2. Nothing in a bubble waits for the real world: no lock is held while something waits, no real connection.
//
// Goroutines and locks. All of Network is guarded by one lock, held over no wait. Cluster belongs to the test's
// goroutine. Load.mu guards workloads and history and is not held across calls.
//
// How to test it: make bubble, or go test -race ./chaos/bubble -run NAME -v for one scenario.
package bubble
