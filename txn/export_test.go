package txn

// LatchedKeys is the number of entries that the latches hold.
func LatchedKeys(l *Latches) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.points.Len() + len(l.mu.spans) + l.mu.waiters
}

// RangesInUse is the number of ranges for which the executor holds latches.
func RangesInUse(e *Executor) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.mu.ranges)
}
