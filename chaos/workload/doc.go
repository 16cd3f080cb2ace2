// Package workload holds what clients do in a run, once for every way of running: the simulator, real processes, a live
// cluster. A Workload draws operations and judges them afterwards; Exec carries one operation out on a Store.
//
//	register     reads, writes and compare-and-sets of single keys, a few clients to each
//	monotonic    one client writes increasing values, others read
//	set          elements that are keys of their own, all read at one moment
//	counter      additions on condition that nobody was in between
//	streams      records with dense numbers, sent again under the same id while the outcome is not known
//	bank         transfers between accounts, reads of all of them
//	list-append  transactions of several steps on lists, which tell the order of all that happened
//	fork         single writes of keys that lie far apart, reads of all of them at one moment
//	canary       several tenants do register, set and streams under the same names, and read at the edges
//	messenger    the mix of a messenger's back end: sends, sends that are repeated, read cursors of several devices,
//	             pulls, the latest page, inboxes, membership, edits of two keys, presence that expires
//
// What it is not: it knows neither time nor transport, and draws nothing but from what it is handed, so a simulation
// replays it. Package load carries it out in real time.
//
// The life of one operation. (1) Draw makes it, under the name of a key that may be replaced by another when enough
// has happened to it; (2) whoever runs it gives it a client's number, notes the time, and has Exec do it; (3) Ended
// tells the workload; (4) at last Final reads everything, and Check gives the verdicts of package check.
//
// Invariants.
//   - I1. Keys and streams begin with Options.Prefix, values too, and no two operations write one value. Exceptions:
//     the balances of bank, what counters and cursors hold, and elements of lists, which are unique in their workload.
//   - I2. Draw, Ended and Final depend on the random source and on what Ended was told, in its order: no map's order,
//     no clock.
//   - I3. An error is a certain failure unless it is an *rpcerr.AmbiguousError. Nothing is guessed.
//   - I4. What Setup asks for can be asked for again, also when an earlier attempt takes effect late.
//
// It starts no goroutine and has no lock: one goroutine at a time calls a workload. How to test it: go test
// ./chaos/workload/... lets each one run on a correct store (workloadtest), where it must pass, and on stores that are
// wrong in one way each, where the checkers that it names must see it.
package workload
