// Package chaos is the harness that breaks a cluster and judges what its clients saw. It holds no code itself; its
// packages are the parts.
//
//	history   what clients asked and were told: one format for every way of running
//	workload  what clients do and what must then hold; workload/load lets them do it in real time
//	check     judges a history: linearizable registers, dense streams, complete sets
//	sim       one process, virtual time, simulated network and disks, one seed: thousands of short lives
//	proc      real processes of the product on this machine, killed, paused, robbed of their disks
//
// What it is not. It is no part of the product: a node imports nothing of it, and the faults that it asks for (package
// proto/fault, the environment variables of a build with the tag chaos) are not in the release binary, which a test
// looks after. It does not guess: an operation whose outcome is not known stays unknown in the history.
//
// The life of one run. (1) A cluster starts: sim.Run builds cores in one goroutine, proc.New starts processes; (2)
// clients work and record every call (workload/load.Start); (3) faults come; (4) all faults end, and the cluster must
// become healthy by itself (proc.Cluster.WaitHealthy); (5) final reads see everything (load.Load.Final); (6) each
// workload's checkers judge (load.Load.Check); (7) the run is refused as void when too little happened: too few
// acknowledged writes, no change of leaders, no write acknowledged while a minority was away.
//
// Invariants.
//   - I1. An error that is not ambiguous is recorded as a failure: the checkers then hold the cluster to it.
//   - I2. Values and client ids are unique in a run, so each read names the write that it saw.
//   - I3. Every process ends with the test: it is killed by its own id, and by the kernel when the test dies first.
//   - I4. A verdict needs evidence that the faults took place.
//
// Goroutines and locks. A simulation has one goroutine. proc.Cluster belongs to one goroutine, which starts and kills;
// a goroutine of each proc.Process holds its thread until the process has ended. load.Load and proc.Probe own their
// clients' goroutines until Stop; Load.mu guards the history and is not held across calls.
//
// How to test it: make sim-short, make mutants, make chaos-smoke, make accept. chaos/README.md says what each covers.
package chaos
