// Package placement is the placement driver: it knows the nodes, the stores and the ranges of a cluster, hands out ids,
// answers where keys live, and moves replicas and leaders by what package schedule decides.
//
// What it is not: it is not needed to replicate, apply, elect or repair a range's log. It keeps no data of its own: its
// state lies in the system range, behind State, and it is active only on the node that leads that range. The timestamp
// oracle is package tso; the node starts and stops it beside the driver.
//
// The life of one decision: (1) the node wins the system range and calls Driver.Activate, which loads the records;
// (2) every store sends a heartbeat about once a second with all ranges that it leads (Heartbeat, activation.report):
// newer descriptors go into the range map and are saved behind the answer's back (Flush); (3) Tick judges the
// stores by the time of their last heartbeat and lets schedule.Planner decide; (4) the answer to the next heartbeat
// of a range's leader carries the operator's current step, again and again until the reported epoch shows that it is
// done.
//
// Invariants:
//
//	I1. What is answered to Join and AllocateIDs was saved before, under the term of the activation. No id is ever
//	    answered twice.
//	I2. A report counts only with a term not below, and an epoch not older than, what is known of the range. In the range
//	    map no two ranges overlap; the newer version wins.
//	I3. A replica is called gone only when a descriptor is known that does not have it and whose next replica id is above
//	    its own: ids are never used again, so even an old descriptor proves it.
//	I4. A store is lost only after LostAfter without a heartbeat, counted from the activation at the earliest, and not
//	    while the driver itself stood still; or when an operator said so, for good.
//	I5. A range is scheduled only after its leader reported to this activation.
//	I6. Every State call carries the term of its activation; one call writes at a time, so records never go back.
//
// Goroutines and locks: Driver.mu guards everything known and is never held across State calls; Driver.writing, a
// channel of capacity 1, admits one writer to State. Driver.Run owns two loops: ticks and flushes. All times come from
// Config.NowMs.
//
// How to test it: `go test -race ./placement/...`; drive Tick and Flush by hand with a fake clock, as TestCluster does.
package placement
