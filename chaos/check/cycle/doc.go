// Package cycle judges transactions that append to lists and read them. A list tells its own past: the longest one that
// was read is the order of the appends, so what each transaction must come before or after is known without any
// timestamp of the store. Where these demands run in a cycle, no order explains what the clients saw. The idea is that
// of the paper "Elle: Inferring Isolation Anomalies from Experimental Observations" (VLDB 2020); the names are those of
// Adya's thesis.
//
// It reads operations of kind txn and their steps append and r. A key is a list when a transaction of the history
// appends to it and none writes or increments it; steps on other keys are passed over. The edges:
//
//	ww  a appended just before b did
//	wr  b read a list whose last element a appended
//	rw  a read a list before b appended to it. An acknowledged append that no read shows comes after the longest list
//	process   one client ended a, then began b
//	realtime  a ended, then b began
//
// What it finds, worst first. Every level forbids the first group; a name of the second group is forbidden from the
// level on beside it. Strict serializability also forbids those with the endings -process and -realtime, for
// cycles that need such an edge.
//
//	internal            a transaction contradicts itself
//	duplicate-elements  a list holds one element twice
//	garbage-read        a list holds what nobody appended
//	incompatible-order  two lists of one key, neither the beginning of the other; or half of a transaction
//	G1a, G1b            a read saw an append of a transaction that failed; one that its transaction went beyond
//
//	G0             snapshot isolation  a cycle of ww
//	G1c            snapshot isolation  of ww and wr
//	lost-update    snapshot isolation  two transactions read the same list and appended to it
//	G-single       snapshot isolation  a cycle with one rw
//	G-nonadjacent  snapshot isolation  with several rw, no two of them in a row
//	G2-item        serializable        with rw in a row
//
// How far it can be trusted. It never fails a history that some order explains. For serializable and
// strict-serializable it misses nothing: if it passes, there is such an order. For snapshot isolation that holds when
// each list has at most one acknowledged append that no read shows, which a last read of every list provides. Which
// cycle it shows is another matter: one for each set of transactions that are tangled with each other, under the worst
// name found there, and the shortest one unless Options.Effort ran out. A transaction of unknown outcome counts as
// committed once a read shows one of its appends; what it read itself is not used. Of transactions that failed only the
// appends are.
//
// Cost: linear in the size of the history but for the cycles of a broken one, which Options.Effort bounds; some 2 KiB a
// transaction, so keep a history under a few millions.
//
// How to test it: go test ./chaos/check/cycle compares it with trying every order on small random histories, and plants
// each anomaly in histories of a correct store.
package cycle
