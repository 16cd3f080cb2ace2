// Package chaos is the harness that breaks a cluster and judges what its clients saw. It holds no code itself; its
// packages are the parts, and ADR 0010 says why there are so many ways of running.
//
// What all ways of running share:
//
//	history   what clients asked and were told, and which faults came: one format
//	workload  what clients do, and what must then hold; workload/load carries it out in real time
//	nemesis   one name for each fault
//	check     judges a history; check/cycle finds cycles of transactions; judge picks the checkers that a file needs
//	report    a page for people, JSON and JUnit for programs
//
// The ways of running, from the cheapest to the most real:
//
//	sim       one goroutine, virtual time, simulated network, disks and clocks, one seed: thousands of short lives
//	bubble    real nodes with all their goroutines, in virtual time, over memory pipes and disks, for the race detector
//	proc      real processes on loopback, killed, paused, robbed of their disks: no root needed
//	machine   real processes on machines made of namespaces, loop devices and control groups (netns, disk, limits,
//	          sandbox): power losses, one-way cuts, stalls; failover measures with it how long writes wait
//	soak      real processes for hours, whose memory must not grow
//	live      anybody's cluster, by its addresses and drivers: vipkv chaos run
//
// What it is not. It is no part of a node: a node imports nothing of it, and the faults that it asks for (package
// proto/fault, the environment variables of a build with the tag chaos) are not in the release binary, which a test
// looks after. It does not guess: an operation whose outcome is not known stays unknown in the history.
//
// The life of one run. (1) A cluster starts, or is there; (2) the workloads' Setup, then their clients work and each
// call is recorded; (3) faults come, each with an end of its own; (4) all faults end, and the cluster must become
// healthy by itself; (5) Final reads everything; (6) Check and the white-box oracles judge; (7) the run is refused as
// void when too little happened, or when a fault's effect was not seen.
//
// Invariants.
//   - I1. An error that is not ambiguous is recorded as a failure: the checkers then hold the cluster to it.
//   - I2. Values and client ids are unique in a run, so each read names the write that it saw.
//   - I3. Whatever a run starts or makes (processes, namespaces, disks, limits) ends with it, however it ends.
//   - I4. A verdict needs evidence that the faults took place. Only a pass is green: undecided and void are not.
//   - I5. Each checker is tested by spoiling what it judges, and the whole by seeded bugs (proto/fault).
//
// Goroutines and locks. A simulation has one goroutine and coroutines. In the other packages the doc comment says who
// owns what; no lock is held across a call to a cluster.
//
// How to test it: make help lists the targets; chaos/README.md says what each proves.
package chaos
