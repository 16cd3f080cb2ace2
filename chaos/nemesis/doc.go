// Package nemesis is the vocabulary of faults: one name for one way of breaking things, whoever does it. The simulator,
// real processes and the harness for live clusters differ in how they inject; histories and reports of all of them use
// these names. It is data and does nothing itself.
package nemesis
