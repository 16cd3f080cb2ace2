// Package workload holds what clients do in a run, once for every way of running: the simulator, real processes, a live
// cluster. A Workload draws operations and judges them afterwards; Exec carries one operation out on a Store.
package workload
