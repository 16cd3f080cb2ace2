package sim

import (
	"math/rand/v2"
	"time"

	"github.com/vipkv/vipkv/chaos/workload"
	"github.com/vipkv/vipkv/placement"
	"github.com/vipkv/vipkv/placement/tso"
)

// UpperOptions are what is drawn for a run above the replicas.
type UpperOptions struct {
	Workloads   []string
	Clients     int   // of each workload
	KeyOps      int   // see workload.Options
	HeartbeatNS int64 // of nodes to the placement driver
	WindowMs    int64 // of the oracle
	FlushMax    int   // of the driver
	IDBlock     uint64
	SplitBytes  uint64
	AttemptNS   int64 // of clients and routers, before they try elsewhere
	InClear     bool  // no tenant's values are sealed: a run must see it
}

// drawUpper has a stream of random numbers of its own.
func drawUpper(seed uint64) UpperOptions {
	r := rand.New(rand.NewPCG(seed, 0x0908))
	names := workload.Names()
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	names = names[:min(len(names), 3+r.IntN(2))]
	return UpperOptions{
		Workloads: names, Clients: 12 / len(names), KeyOps: 60 + r.IntN(120),
		HeartbeatNS: []int64{200, 500}[r.IntN(2)] * ms,
		WindowMs:    []int64{200, 1000, tso.DefaultWindowMs}[r.IntN(3)],
		FlushMax:    []int{1, 256}[r.IntN(2)],
		IDBlock:     []uint64{1, 1000}[r.IntN(2)],
		AttemptNS:   []int64{300, 1000}[r.IntN(2)] * ms,
		SplitBytes:  []uint64{0, 40 << 10, 100 << 10}[r.IntN(3)],
	}
}

func (u *UpperOptions) oracle() tso.Config {
	c := tso.DefaultConfig()
	c.WindowMs = u.WindowMs
	return c
}

// placement is the driver's config with times that fit a run of a minute.
func (u *UpperOptions) placement() placement.Config {
	c := placement.DefaultConfig()
	c.FlushMax, c.IDBlock = u.FlushMax, u.IDBlock
	c.UnreachableAfter, c.LostAfter = 2*time.Second, time.Duration(deadAfter)
	c.Schedule.StepTimeoutTicks, c.Schedule.CatchUpTimeoutTicks, c.Schedule.RetryTicks = 20, 50, 5
	c.Schedule.LagEntriesMax = 20
	return c
}
