// Package history is the record of what clients asked and were told, in one form for every rung of the chaos harness:
// the simulator, real processes, a live cluster. Checkers read nothing else.
//
// A history is newline-delimited JSON, one Op a line, in the order in which operations ended. All times are of one
// monotonic clock. Three outcomes are kept apart, and a writer must never guess between them:
//
//	ok    it took effect, or read what it says
//	fail  it certainly did not take effect
//	info  it is not known, and may still take effect at any later time
//
// A client that gets info does not go on under the same number: the operation stays open for ever. Values are unique
// over the whole history, so that a read names the write that it saw.
package history
