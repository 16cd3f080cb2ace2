package sim

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
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
	count   counters
}

// healMax is how long a cluster without faults may take to come to rest.
const healMax = 90 * sec

// checkLimit bounds the search for one register.
const checkLimit = 20 * time.Second

// Run carries out one run. log, when it is not nil, is told what happens. Everything follows from the options, if
// crypto/rand has been seeded, from which raft draws its election timeouts.
func Run(o Options, log func(format string, args ...any)) (res Result) {
	c := newCluster(&o, log)
	fault.Begin(o.Seed, o.Quirks)
	defer func() {
		if p := recover(); p != nil {
			c.k.fail("panic: %v\n%s", p, debug.Stack())
		}
		res = Result{Options: o, Err: c.k.failure, Trace: c.k.trace, Events: c.k.count, Time: c.k.now,
			History: c.history, count: c.count}
		res.Probes, res.Quirks = fault.End()
	}()
	if err := c.bootstrap(); err != nil {
		c.k.fail("bootstrap: %w", err)
		return
	}
	c.placement.tick()
	for _, cl := range c.clients {
		cl.think()
	}
	c.nemesis.start()
	c.k.runUntil(o.Duration, nil)
	c.k.note("heal")
	c.nemesis.stop()
	c.placement.calm = true
	c.k.runUntil(c.k.now+2*sec, nil)
	c.work.stopped = true
	c.rest()
	c.finalReads()
	if c.k.failure == nil {
		c.oracle.final()
	}
	c.judge()
	return res
}

// rest is the liveness phase: without faults the cluster comes to rest.
func (c *cluster) rest() {
	deadline := c.k.now + healMax
	for c.k.failure == nil {
		if ok, why := c.oracle.converged(); ok && c.idle() {
			return
		} else if c.k.now >= deadline {
			c.k.fail("not at rest %d s after the last fault: %s", healMax/sec, why)
		}
		c.k.runUntil(c.k.now+100*ms, nil)
	}
}

func (c *cluster) idle() bool {
	for _, cl := range c.clients {
		if cl.busy {
			return false
		}
	}
	return true
}

// finalReads reads everything through a client.
func (c *cluster) finalReads() {
	var reads []request
	for i := range c.work.slots() {
		slot := slotName(i)
		switch i % slotsPerGroup {
		case registersPerGroup:
			reads = append(reads, request{kind: history.Stream, slot: slot, key: slot + "/stream"})
		case registersPerGroup + 1:
			reads = append(reads, request{kind: history.Set, slot: slot, key: slot + "/set"})
		default:
			if g := c.work.registers[slot]; g != nil {
				for n := range g.generation + 1 {
					reads = append(reads, request{kind: history.Read, slot: slot, key: fmt.Sprintf("%s/r%03d", slot, n)})
				}
			}
		}
	}
	cl, left := c.clients[0], len(reads)
	var next func(*history.Op)
	next = func(op *history.Op) {
		if op != nil && op.Type != history.OK {
			c.k.fail("final read of %s: %s", op.Key, op.Err)
		}
		if left > 0 {
			left--
			cl.begin(reads[left], next)
		}
	}
	next(nil)
	c.k.runUntil(c.k.now+60*sec, func() bool { return left == 0 && !cl.busy })
	if c.k.failure == nil && (left > 0 || cl.busy) {
		c.k.fail("%d final reads were not answered", left+1)
	}
}

// judge gives the history to the checkers.
func (c *cluster) judge() {
	for _, f := range []func([]history.Op) error{
		check.Streams, check.Sets,
		func(ops []history.Op) error { return check.Registers(ops, checkLimit) },
	} {
		if c.k.failure == nil {
			if err := f(c.history); err != nil {
				c.k.fail("%w", err)
			}
		}
	}
}
