// Package proto holds the small types that every floor shares: ids, timestamps, epochs. The
// packages below it are the bottom floor: keys (the layout of an engine's keys), storage (batches
// and readers), rpcerr (the one table of errors), authz (what was authorised), fault (mutants),
// vipkv/v1 (the API) and vipkv/node/v1 (messages between nodes, and records).
//
// What it is not: a place for behaviour. Nothing here does I/O, starts a goroutine or knows a floor
// above.
//
// The life of an id: the placement driver hands range, node and store ids out; a descriptor hands
// replica ids out; the oracle hands timestamps out. None is ever used twice.
//
// Invariants:
//
//	I1. Ids of different kinds are different types, so that they can not be swapped.
//	I2. A Timestamp's order is time's order: physical milliseconds first, then the counter.
//
// Goroutines and locks: none.
//
// How to test it: `go test ./proto/...`; the formats are pinned by tests beside each package.
package proto
