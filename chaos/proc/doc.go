// Package proc runs clusters of real processes of the product on this machine and does to them what happens to
// machines: SIGKILL, SIGSTOP, a lost disk, a node that joins. Cluster starts `vipkv start` itself, by the path of the
// binary, with fixed ports, so that a node comes back where it was. Load is a set of clients that record a history for
// packages history and check. Probe measures how long writes were not acknowledged.
//
// Processes are killed by their own ids, and the kernel kills them when the thread that started them ends.
package proc
