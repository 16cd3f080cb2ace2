// Package raftstoretest runs a cluster of stores in one process, for tests of raftstore and of what stands on it.
//
// A Cluster has real engines, on file systems in memory that know what has been synced, and a Network that can be cut:
// raft's messages travel encoded, range snapshots through gRPC over in-memory connections. Crash takes a store's disk as
// a power loss would leave it; Stop ends it in order; Start brings it back. A Writer writes numbered values, one at a
// time, and knows which were acknowledged, so that CheckReplica can tell from any replica's data whether it is a state
// that a prefix of the log makes. CheckDisk looks at an engine's records alone: logs without holes, applied indexes
// inside them, no data outside of a range.
//
// Every goroutine belongs to the Cluster and ends with the test. Nothing sleeps; Wait polls with a deadline.
package raftstoretest
