// Package machine runs a cluster of the product's real processes on machines of their own, made out of
// this one, and breaks the machines: a network namespace behind a router (package netns), a disk
// that can lose power (package disk), control groups (package limits) for each node.
//
// What it is not: it starts no virtual machines and needs no container engine. Clocks are the host's:
// the simulator shifts them.
//
// The life of one fault. (1) Fault.Aim picks nodes; (2) Cluster.Inject breaks them and returns an
// Injection; (3) it lasts; (4) Injection.Mend gathers the evidence that it bit, mends, and starts again
// what the fault was allowed to end; a process that ended otherwise is an error. The caller then waits
// until the cluster is healthy by itself.
//
// A fault without evidence is history.Fault with Bit unset: the caller must not count its run.
//
// Everything goes with the program: see packages sandbox and disk. A Cluster is for one goroutine.
//
// How to test it: make chaos-short, as root; make chaos for the long run. CHAOS_REQUIRE=1 fails where
// the machine can not do what is needed; Capabilities is printed in each run and says what is not done
// here at all, and why.
package machine
