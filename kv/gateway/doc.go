// Package gateway is the front door of a node: it authenticates and authorises every call of a
// client, admits it, finds the ranges that it touches, and carries it out by commands on their
// leaders, wherever they are.
//
// What it is not: it evaluates nothing and holds no data; a range's leader does (package txn). It
// decides nothing about placement, and it has no way to a tenant's keys but an
// authz.AuthorizedSpan.
//
// The life of a Put: (1) Gateway.Unary bounds time and number of requests and catches panics; (2)
// admit asks the Authenticator who calls and authz.Check whether the role may call the method at
// all; (3) Put builds the AuthorizedSpan and gives the write a request id when it came without; (4)
// commands.send checks the form in which the command is executed against what was authorised; (5)
// Router.Send locates the range in its cache or by a lookup, sends the command to the leader, and
// on NotLeader, StaleEpoch, Throttled, a broken connection or an unknown outcome learns from it and
// tries again until the deadline; (6) outward encodes the error table, and keeps the text of
// internal errors on this side.
//
// Invariants:
//
//	I1. Nothing is done for a caller before Check, and nothing to keys outside of an AuthorizedSpan.
//	I2. A write is sent again only under its request id, so it takes effect once.
//	I3. When an attempt may have been carried out and no answer settled it, the caller gets AmbiguousError.
//	I4. Routes that a tenant sees are clipped to its keys.
//	I5. Pages over several ranges are read at one timestamp (mvcc's plans).
//
// Goroutines and locks: none of its own; Router.mu guards the cache and is held over no call.
//
// How to test it: `go test ./kv/gateway`; the whole path is in package kv/node's tests.
package gateway
