// Package transport moves raft's messages and range snapshots between stores over gRPC.
//
// What it is not: reliable. It is a network: messages may be dropped, and raft sends again. It knows no addresses (Dial
// does), no ranges, and nothing of what it carries.
//
// The life of a message: (1) Send puts it into its peer's queue, or drops it when that is full; (2) peer.batch takes
// what has gathered; (3) peer.stream sends it on the peer's stream; (4) when the stream breaks, drain drops what is
// queued, and run opens a new one after a pause. A range snapshot has a stream of its own (Snapshot).
//
// Invariants:
//
//	I1. Send never blocks: a worker is never stalled by a slow peer.
//	I2. What waits for a peer is bounded in messages and bytes.
//	I3. Messages of one pair of stores arrive in the order of Send while their stream lives.
//
// Goroutines and locks: one goroutine a peer, which Run owns and waits for; Transport.mu guards the map of peers.
//
// How to test it: `go test ./raftstore/transport`.
package transport
