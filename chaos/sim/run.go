package sim

import (
	"runtime/debug"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/proto/fault"
)

// Result is what became of a run.
type Result struct {
	Options Options
	Err     error // nil: every promise held
	Trace   uint64
	Events  uint64
	Time    int64 // virtual, ns
	History []history.Op
	Probes  map[fault.Probe]int // how often each was reached; nil without the tag chaos
	Quirks  map[fault.Quirk]int // how often each fired
	Plan    []Entry             // the faults that were injected
	Faults  map[string]int      // how many of each class
	Idle    map[string]int      // how many found nothing to break
	Checker string              // who found the failure; one of the names in checkers.go
	count   counters
}

// healMax is how long a cluster without faults may take to come to rest.
const healMax = 90 * sec

// joinMax is how long a new cluster may take until all stores belong to it.
const joinMax = 30 * sec

// Run carries out one run. log, when it is not nil, is told what happens. Everything follows from the options, if
// crypto/rand has been seeded, from which raft draws its election timeouts.
func Run(o Options, log func(format string, args ...any)) (res Result) {
	c := newCluster(&o, log)
	fault.Begin(o.Seed, o.Quirks)
	defer func() {
		c.close()
		if p := recover(); p != nil {
			c.k.broken(Panic, "panic: %v\n%s", p, debug.Stack())
		}
		res = Result{Options: o, Err: c.k.failure, Trace: c.k.trace, Events: c.k.count, Time: c.k.now,
			History: c.history, Plan: c.nemesis.plan, Faults: c.nemesis.counts, Idle: c.nemesis.idle,
			Checker: c.k.checker, count: c.count}
		res.Probes, res.Quirks = fault.End()
	}()
	if err := c.bootstrap(); err != nil {
		c.k.fail("bootstrap: %w", err)
		return
	}
	c.k.runUntil(joinMax, func() bool { return int(c.joined) == len(c.stores) })
	if c.k.failure == nil && int(c.joined) < len(c.stores) {
		c.k.fail("after %d s only %d stores are in the cluster", joinMax/sec, c.joined)
	}
	c.complete = true
	c.startClients()
	c.nemesis.start()
	c.k.runUntil(c.k.now+o.Duration, nil)
	c.k.note("heal")
	c.nemesis.stop()
	c.k.runUntil(c.k.now+2*sec, nil)
	c.stopped = true
	c.rest()
	c.finalReads()
	c.rest() // the driver may have moved replicas meanwhile
	if c.k.failure == nil {
		c.oracle.final()
		c.truth.final()
	}
	c.judge()
	return res
}

// describe says where all replicas are.
func (c *cluster) describe() {
	for _, s := range c.stores {
		for _, id := range s.ranges() {
			c.k.note("store %d: %+v %v", s.id, *s.status[id], s.coreOf(id).Progress(id))
		}
	}
}

// rest is the liveness phase: without faults the cluster comes to rest.
func (c *cluster) rest() {
	deadline := c.k.now + healMax
	for c.k.failure == nil {
		ok, why := c.oracle.converged()
		if ok {
			ok, why = c.truth.settled()
		}
		if ok && c.idle() {
			return
		} else if c.k.now >= deadline {
			if c.k.log != nil {
				c.describe()
			}
			c.k.broken(Rest, "not at rest %d s after the last fault: %s", healMax/sec, why)
		}
		c.k.runUntil(c.k.now+100*ms, nil)
	}
}
