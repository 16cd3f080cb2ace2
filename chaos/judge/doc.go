// Package judge picks the checkers that a history needs, by the kinds of its operations, and runs them: what vipkv
// chaos check does with a file. Workloads that are at hand judge themselves, by workload.Workload.Check; judge is for a
// history whose run is over.
//
// It is no checker itself: packages check and cycle are. How to test it: go test ./chaos/judge.
package judge
