// Package check judges histories. A checker returns nil, or an error that names the operations which cannot be
// explained. An outcome that a checker could not decide in its time is an error too: unknown is not a pass.
//
//	Registers  reads, writes and compare-and-sets of single keys are linearizable (porcupine)
//	Streams    records are numbered 1..n, each acknowledged one is there once, at its number, and reads are not stale
//	Sets       acknowledged elements are there, refused ones are not, and reads are not stale
//
// Each has a test that takes a valid history, spoils one operation, and expects a refusal.
package check
