// Package node assembles a node: it opens the store, finds out or decides who it is, joins
// raftstore, txn, placement, encryption, tenants and gateway to each other, serves clients, other
// nodes and HTTP, and stops cleanly.
//
// What it is not: a place for logic. What is here is wiring, and the adapters by which the siblings
// raftstore, txn and placement, which do not know each other, meet.
//
// The life of a node: Run: (1) open takes the ports, checks the keyfile, the directory and that
// both belong together; (2) identify reads the identity, or joins a cluster, or makes one; (3)
// assemble builds the parts; (4) serve runs them until the context ends or the store fails; (5)
// close frees in the opposite order. The life of a request between nodes: Ranges.Execute,
// Placement, and Raft on the peer port, for nodes with the cluster's secret only.
//
// Invariants:
//
//	I1. Nothing on disk is changed before the ports are taken and the keyfile is known to be the right one.
//	I2. The identity is the last thing that making or joining a cluster writes: a crash before it starts over.
//	I3. The placement driver is active only in a term in which this node leads the system range, and everything that it
//	    writes is evaluated in that very term (fenced).
//	I4. A timestamp is handed out only after a quorum has confirmed, in a round that began after it was taken, that this
//	    node leads the system range (Timestamps). Without leases nothing less is enough.
//	I5. An operator's step carries the epoch on which it was decided.
//	I6. Replication, elections and repair need neither the placement driver nor a key: addresses are kept in the store.
//
// Goroutines: all belong to serve's group and end with it; reporter.start's end by their timeouts
// and are waited for. Locks: peers.mu, placementClient.mu and reporter.mu, each held over no call.
//
// How to test it: `go test ./kv/node`: clusters in one process on real files; chaos/proc does it
// with processes.
package node
