// Package soak watches real processes for hours: their memory, goroutines and open files must not
// grow once they are warm. Take measures a process, Series keeps what was measured between two
// starts of a node, and Growth is the trend over all but its first third. The run itself, with load
// and faults, is the test of this package: make soak HOURS=n.
package soak
