// Package check judges histories. A Checker takes the operations of a workload and gives a Verdict: pass, or anomalies,
// each with a name, a story in words and the few operations that show it. What a checker could not decide in its time
// is undecided, what too little happened for is void; neither is a pass.
//
//	NewRegisters      reads, writes and compare-and-sets of single keys are linearizable (porcupine)
//	NewStreams        records are dense, each acknowledged one is there once, at its number; reads are not stale
//	NewSets           acknowledged elements are there, refused ones are not, and reads are not stale
//	NewCounter        sums lie between what was acknowledged and what was asked for, and do not go back
//	NewBank           transfers conserve the total in every read of all accounts; no balance is below zero
//	NewTimestamps     isolation by commit and read timestamps: each read sees exactly the newest version, commits follow
//	                  real time, nothing comes between a condition and its write
//	NewLongFork       reads of the same keys see all writes in one order
//	NewCausalReverse  who sees a write sees what had been acknowledged before it began
//	NewMonotonic      no client sees a key go back
//	NewTenants        nobody is told a value with another tenant's canary
//	NewMessenger      parts of streams, read cursors and inboxes fit together
//	NewPresence       values that live for a while are there that long
//
// Beside the checkers: Audit compares a history with the final state of the store and resolves what was unknown; Guard
// makes a run void in which too little happened or a fault did not bite; Measure finds gaps and recovery times;
// CanaryScan searches files and streams of bytes for plaintext.
//
// An operation of unknown outcome (info) may have taken effect at any moment from its call on, or never. No checker
// raises an alarm that one of these would explain, and none leaves it out: what it wrote may be seen, and once it was
// seen it must stay.
//
// What it is not: it knows nothing of how the operations came about, and reads no clock but those of the history, but
// for the limits of searches. How to test it: go test ./chaos/check. The tests let a small correct store live from a
// thousand seeds, where nothing may be found, and spoil its histories in each way that a checker claims to see.
package check
