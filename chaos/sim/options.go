package sim

import (
	"fmt"
	"math/rand/v2"

	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// Options are everything about a run that is drawn before it starts. They are printed with a failure.
type Options struct {
	Seed     uint64
	Duration int64 // of the part with faults, ns

	Stores    int
	TickNS    int64
	SlowDisks bool
	// ClockSpread is how far a store's clock may be off at the start, ns either way.
	ClockSpread int64

	// The network: one way, per message.
	LatencyLo, LatencyHi int64
	Loss, Duplicate      float64
	Reorder              float64

	// Clients.
	Think            int64 // mean, between two operations of a client
	DelayedProposals float64

	RangesMax int
	Faults    []string // classes that are on
	FaultGap  int64    // mean time between two faults

	Election, Heartbeat         int
	MessageBytes, ApplyingBytes uint64
	Inflight, CacheBytes        int
	QueueCount                  int
	TruncateEntries, LogEntries uint64

	Quirks []fault.Quirk // that are active; none without the tag chaos

	Upper UpperOptions

	// Plan is the faults of the run, when it is Planned; else they are drawn.
	Plan    []Entry
	Planned bool
}

func (o *Options) String() string { return fmt.Sprintf("%+v", *o) }

// DrawOptions draws the options of a seed: few faults on in some runs, all in others, and tuning constants at their
// extremes.
func DrawOptions(seed uint64) Options {
	r := rand.New(rand.NewPCG(seed, 0x0907))
	o := Options{
		Seed:     seed,
		Duration: between(r, 20, 40) * sec,
		Stores:   []int{3, 4, 4, 5, 5}[r.IntN(5)],
		TickNS:   []int64{50, 100}[r.IntN(2)] * ms,

		LatencyLo: 100 * us,
		LatencyHi: []int64{1, 5, 20}[r.IntN(3)] * ms,
		Loss:      []float64{0, 0, 0.005, 0.03}[r.IntN(4)],
		Duplicate: []float64{0, 0, 0.02}[r.IntN(3)],
		Reorder:   []float64{0, 0, 0.001, 0.01}[r.IntN(4)],

		Think:            between(r, 5, 40) * ms,
		DelayedProposals: []float64{0, 0.01, 0.04}[r.IntN(3)],
		SlowDisks:        chance(r, 0.3),

		RangesMax: 2 + r.IntN(6),
		FaultGap:  drawFaultGap(r),

		Election:  []int{5, 10}[r.IntN(2)],
		Heartbeat: 1 + r.IntN(2),
	}
	drawLimits(r, &o)
	o.Upper = drawUpper(seed)
	o.ClockSpread = []int64{0, 10 * ms, sec, 3600 * sec}[r.IntN(4)]
	o.Quirks = fault.Draw(seed)
	for _, f := range faultClasses() {
		if chance(r, 0.7) {
			o.Faults = append(o.Faults, f.name)
		}
	}
	return o
}

// drawFaultGap: mostly faults overlap; in a quarter of the runs a fault can run its course before the next one comes.
func drawFaultGap(r *rand.Rand) int64 {
	if chance(r, 0.25) {
		return between(r, 3000, 6000) * ms
	}
	return between(r, 300, 2000) * ms
}

func drawLimits(r *rand.Rand, o *Options) {
	d := replica.DefaultConfig()
	o.MessageBytes = []uint64{1, 300, d.MessageBytesMax}[r.IntN(3)]
	o.ApplyingBytes = []uint64{1, 500, d.ApplyingBytesMax, d.ApplyingBytesMax}[r.IntN(4)]
	o.Inflight = []int{2, 16, d.InflightMessages}[r.IntN(3)]
	o.CacheBytes = []int{0, 512, d.CacheBytesMax}[r.IntN(3)]
	o.QueueCount = []int{3, d.QueueCountMax, d.QueueCountMax}[r.IntN(3)]
	o.TruncateEntries = uint64(between(r, 4, 64))
	o.LogEntries = o.TruncateEntries + uint64(between(r, 4, []int64{16, 60, 200}[r.IntN(3)]))
}

func (o *Options) coreConfig() replica.Config {
	c := replica.DefaultConfig()
	c.ElectionTicks, c.HeartbeatTicks = o.Election, o.Heartbeat
	c.MessageBytesMax, c.ApplyingBytesMax = o.MessageBytes, o.ApplyingBytes
	c.InflightMessages, c.CacheBytesMax = o.Inflight, o.CacheBytes
	c.QueueCountMax = o.QueueCount
	c.TruncateEntries, c.LogEntriesMax = o.TruncateEntries, o.LogEntries
	return c
}
