// Package schedule decides where replicas and leaders should be: a pure function from the state of the cluster to
// operators, kept as a state machine over ticks. It is PURE: no clock, no locks, no I/O, no map order in any output.
//
// What it is not: it does not know how the state was learned nor how a step reaches a leader; package placement does
// both. It does not split, merge, or move by heat.
//
// The life of one decision: (1) Planner.Tick gets the cluster; operators that run are advanced, finished, cancelled
// (advance); (2) ranges that are not as wanted are checked in order of urgency: the system range, then those with the
// fewest live voters (check): a joint configuration left behind is left, missing and lost replicas are replaced,
// surplus ones removed; (3) leaders leave draining stores and spread (balanceLeaders); (4) replicas spread
// (balanceReplicas); (5) Planner.Step answers the request that a range's leader should carry out now. The same request
// is answered until the descriptor shows that it is done, so it may be sent any number of times.
//
// How many replicas: three. A range with fewer stores than that stays at an odd number of voters, which is one: with
// two voters the loss of either stops the range, with one voter only the loss of that one does. On two stores the
// second one holds a learner: a second copy of the data on another disk that costs no availability, and a head start
// for the day a third store joins, when both learners are promoted in one joint step. A range that had three voters
// and lost one keeps its two live voters' quorum of three: taking the dead one out would gain nothing.
//
// Invariants:
//
//	I1. A joint configuration is entered only while live voters are a majority of the old half and of the new half.
//	I2. A learner is promoted only when it is active, not in a range snapshot, and close to the leader's applied index.
//	I3. A dead voter leaves in the same joint step in which its replacement becomes a voter, never before.
//	I4. Every step carries the epoch of the descriptor that it was decided on.
//	I5. One operator a range. It is cancelled when the range is split or another hand changes its members.
//	I6. Moves for balance are made only when they narrow a difference greater than the tolerance, with running operators
//	    counted as if done. So a balanced cluster is quiet.
//	I7. Everything that can not be decided leaves a note that a person can read.
//
// Goroutines and locks: none; the caller serialises calls.
//
// How to test it: `go test ./placement/schedule`; testdata/ holds stories, TestAnyClusterConverges is the property.
package schedule
