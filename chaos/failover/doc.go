// Package failover measures how long writes are not acknowledged when a machine fails in one way or
// another, and writes the table of docs/recovery.md.
//
// One trial: clients write in an open loop, 20 writes a second to one key of each of several ranges, with
// the SDK's default settings. At a random phase a fault comes (package machine). It lasts until
// writing has gone on for a while, or for Config.Hold. The gap is the longest time between two
// acknowledgements of one key from the fault to its end, on the worst key. A gap that is still open when
// the fault is mended is reported as longer than the hold, never as a number. Beside it stands the
// gap of the seconds before the fault, which says how busy this machine was.
//
// What it is not: it judges nothing but that the fault bit and that the cluster becomes healthy again.
// Budgets are docs/recovery.md's.
//
// How to test it: go test ./chaos/failover for the arithmetic; make failover measures.
package failover
