// Package wait is how code of the product waits: for a time, for another goroutine, for a deadline.
// It is one value, a Scheduler, which Configs carry; nil stands for Real, the clock and the
// goroutines of Go. The simulator has another, in which code runs as coroutines under virtual time:
// so loops, retries and locks that wait run there as they are.
//
// It is not a clock for data: what is compared with stored times is given by its Config (NowMs and
// the like).
//
// To test: go test ./proto/wait.
package wait
