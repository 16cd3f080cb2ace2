// Package load lets the clients of workloads work in real time on stores that are real, and records what they asked
// and were told. The simulator does the same in its own time.
//
// A client that was not told what became of its operation goes on under another number. Operations are not cut off by
// Stop: each comes to its own end, so that no outcome is lost by the harness.
package load
