// Package tso is the timestamp oracle: it hands out timestamps that only grow, across crashes and changes of leader.
//
// What it is not: it is not replicated by itself. It saves one number, an upper bound, through a Saver that the caller
// fences with its leadership; which node may serve is decided by Raft, not here.
//
// The life of one request: (1) a caller waits in Batcher.Timestamp; (2) one of Batcher's loops takes all that wait and
// makes one call to the node that leads the system range; (3) Oracle.Timestamps checks leadership, takes a block from
// Core.Take, checks leadership again and answers; (4) when the block does not fit below the saved bound the request
// waits for Oracle.Run, which saves a higher bound ahead of need (Core.Extend, Saver.SaveBound, Core.Saved).
//
// Invariants:
//
//	I1. Every timestamp handed out has a physical part below a bound whose save was acknowledged.
//	I2. An incarnation starts above the bound that it loaded, and serves only after its own first bound was saved.
//	I3. Within an incarnation every block lies above all earlier ones. The clock may go back; timestamps do not.
//	I4. An outcome (of a load, a save) counts only for the incarnation that asked: each carries its generation. A late
//	    save or failure of an older incarnation changes nothing.
//	I5. Leadership is checked before a block is taken and again before it is handed out; a block whose second check
//	    fails is thrown away.
//	I6. (Batcher) A timestamp never goes to a request that arrived after the call was sent. Nothing is cached.
//
// The correctness of a sequence of leaders rests on the Saver: a save of an older term must not take effect after a
// load of a newer one has answered, and of two saves of one term the one with the greater `at` must win, even when the
// other one is applied late. A versioned store that writes the record at version `at` gives the second for free.
//
// Goroutines and locks: Core has neither, a simulator drives it directly. Oracle.mu guards the Core and is never held
// across Saver or Leading calls; Oracle.Run is one loop that extends the bound. Batcher.mu guards the queue;
// Batcher.Run owns the loops that fetch.
//
// How to test it: `go test -race ./placement/tso`. TestLeadersInSequence is the property that matters.
package tso
