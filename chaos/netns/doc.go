// Package netns is a network of its own for each machine of a run: a star of Linux network
// namespaces with a router in this program at its centre.
//
// Each host is a namespace with one TUN device, whose other end the router reads. So every packet
// between two hosts passes the router, which loses, delays, duplicates or drops it by the rules of
// that pair and direction, and counts what it did: the counts are the evidence that a fault bit. No
// firewall, no queueing discipline and no program but this one is needed; the caller is root and in a
// sandbox (package sandbox), whose network namespace becomes the host Clients.
//
// What it is not: it does not reorder on purpose (jitter does), corrupt, or limit bandwidth, and it
// speaks IPv4 only.
//
// Leftovers. The namespaces have no names and the devices are not persistent: the kernel removes both
// with the last process and file descriptor that holds them, however this program ends.
//
// Goroutines: one a host reads packets until Close, one sends what is delayed. Network.mu guards
// rules and counters and is held for one packet at a time, not across writes.
//
// How to test it: go test ./chaos/netns, as root for the part on real namespaces.
package netns
