package failover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/vipkv/vipkv/chaos/machine"
	"github.com/vipkv/vipkv/chaos/proc"
	"github.com/vipkv/vipkv/kv/client"
)

const (
	tenant      = "failover"
	ranges      = 6
	warm        = 2 * time.Second // of writing, before the fault
	holdAtLeast = 6 * time.Second // a second gap may follow the first
	// Writing goes on when for so long no key was silent for longer than that.
	steadyFor, steadyGap = 3 * time.Second, 500 * time.Millisecond
	rest                 = 4 * time.Second // of writing, after the fault
	pollEvery            = 100 * time.Millisecond
)

// Mode is one way to fail.
type Mode struct {
	Name, Text string
	fault      string // of package machine
	// oracle hits the node that leads the system range, not the one that leads most of the probed.
	oracle bool
}

// Modes are all ways.
func Modes() []Mode {
	return []Mode{
		{Name: "kill", Text: "the leader's process is killed", fault: "kill"},
		{Name: "oracle", fault: "kill", oracle: true,
			Text: "the process that leads the system range, where timestamps come from, is killed"},
		{Name: "pause", Text: "the leader's process is paused", fault: "pause"},
		{Name: "isolate", Text: "the leader's network is gone", fault: "isolate"},
		{Name: "send-only", fault: "cut-receive",
			Text: "the leader sends to other nodes and hears nothing from them"},
		{Name: "receive-only", fault: "cut-send",
			Text: "the leader hears other nodes and what it sends them is lost"},
		{Name: "client-cut", fault: "cut-client",
			Text: "the leader is well, but clients do not reach it"},
		{Name: "disk-stall", Text: "the leader's disk takes no writes", fault: "disk-stall"},
		{Name: "disk-slow", Text: "the leader's disk takes 5 writes a second", fault: "disk-slow"},
		{Name: "stop", Text: "the leader's process is stopped by SIGTERM", fault: "stop"},
	}
}

// Bench is a cluster with a tenant of several ranges.
type Bench struct {
	Cluster *machine.Cluster
	// Hold is how long a fault lasts at most.
	Hold time.Duration

	client *client.Client
	keys   []proc.RangeKey
	rand   *rand.Rand
}

// Prepare makes the tenant and its ranges.
func Prepare(ctx context.Context, c *machine.Cluster, hold time.Duration, seed uint64) (
	*Bench, error) {
	key, err := c.NewTenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	b := &Bench{Cluster: c, Hold: hold, rand: rand.New(rand.NewPCG(seed, 1))}
	var names [][]byte
	for i := range ranges {
		names = append(names, fmt.Appendf(nil, "key-%d", i))
	}
	if b.keys, err = c.SplitAt(ctx, tenant, names); err != nil {
		return nil, err
	}
	if b.client, err = c.Open(ctx, key); err != nil {
		return nil, err
	}
	return b, b.settle(ctx)
}

// Close ends the client.
func (b *Bench) Close() error { return b.client.Close() }

// Ranges is how many ranges are written to.
func (b *Bench) Ranges() int { return len(b.keys) }

// settle waits until the cluster is as before a fault.
func (b *Bench) settle(ctx context.Context) error {
	return errors.Join(b.Cluster.Healthy(ctx), b.Cluster.WaitCaughtUp(ctx))
}

// victim is the node to be hurt.
func (b *Bench) victim(ctx context.Context, m Mode) (int, error) {
	all, err := b.Cluster.Ranges(ctx)
	if err != nil {
		return 0, err
	}
	leads := map[int]int{}
	for _, r := range all {
		if m.oracle && len(r.Start) == 0 {
			return int(r.LeaderStore), nil
		}
		for _, k := range b.keys {
			if k.Range == r.Id && r.LeaderStore != 0 {
				leads[int(r.LeaderStore)]++
			}
		}
	}
	best := 0
	for _, n := range b.Cluster.Nodes() {
		if leads[n] > leads[best] {
			best = n
		}
	}
	if best == 0 {
		return 0, errors.New("no node leads a range that is written to")
	}
	return best, nil
}

// Trial measures one fault.
func (b *Bench) Trial(ctx context.Context, m Mode) (t Trial, err error) {
	fault, err := machine.FaultNamed(m.fault)
	if err != nil {
		return t, err
	}
	var names [][]byte
	for _, k := range b.keys {
		names = append(names, k.Key)
	}
	probe := proc.StartProbe(b.client, names)
	stopped := false
	defer func() {
		if !stopped {
			probe.Stop()
		}
	}()
	time.Sleep(warm + rand.N(time.Second)) // at any phase of ticks and heartbeats
	node, err := b.victim(ctx, m)
	if err != nil {
		return t, err
	}
	from := probe.Since()
	injection, err := b.Cluster.Inject(ctx, fault, []int{node}, b.rand)
	if err != nil {
		return t, err
	}
	b.hold(probe)
	end, open := probe.Since(), probe.Silence()
	done, err := injection.Mend(ctx)
	if err != nil {
		return t, err
	}
	if !done.Bit {
		return t, fmt.Errorf("%s did not bite: %s", m.Name, done.Evidence)
	}
	time.Sleep(rest)
	stop := probe.Since()
	t.Failed, stopped = probe.Stop(), true
	t.Errors = probe.Errors()
	gap := probe.Gap(from, end)
	t.Gap, t.Open = gap.Milliseconds(), open > steadyGap && open >= gap-pollEvery
	t.Quiet = probe.Gap(from-warm, from).Milliseconds()
	t.After, t.Acked = probe.Gap(end, stop).Milliseconds(), probe.Acked()
	t.Target, t.Evidence = done.Target, done.Evidence
	return t, b.settle(ctx)
}

// hold lets the fault last until writing goes on, or for as long as it may.
func (b *Bench) hold(probe *proc.Probe) {
	began := time.Now()
	silent := began // when a key was silent for the last time
	for time.Since(began) < b.Hold {
		time.Sleep(pollEvery)
		if probe.Silence() > steadyGap {
			silent = time.Now()
		}
		if time.Since(began) > holdAtLeast && time.Since(silent) > steadyFor {
			return
		}
	}
}
