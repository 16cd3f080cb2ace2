package node

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/proto/wait"
	"github.com/vipkv/vipkv/raftstore"
	"github.com/vipkv/vipkv/raftstore/engine"
)

// stepsMax bounds the operators' steps that a node carries out at a time; the driver hands the rest
// again.
const stepsMax = 16

// reporter tells the placement driver what this node has, and carries out the steps that come back.
type reporter struct {
	store    *raftstore.Calls
	engine   engine.Engine
	ranges   *rangesServer
	client   *placementClient
	peers    *peers
	interval time.Duration
	orphan   int // ticks without a leader after which a replica asks whether it still belongs
	self     *internalpb.NodeInfo
	info     *internalpb.StoreInfo
	log      *slog.Logger
	wait     wait.Scheduler
	nowMs    func() int64
	ended    chan struct{} // capacity 1: a step has ended since somebody looked

	retiring  atomic.Bool   // the node stops
	wake      chan struct{} // capacity 1: report now
	announced chan struct{} // capacity 1: the driver has heard that the node stops
	slow      slowDisk      // of the goroutine that reports

	mu      sync.Mutex
	running map[proto.RangeID]bool
	heard   bool
	last    int64 // when the driver last answered, if heard
}

// run reports until ctx ends, and waits for the steps that it started.
func (r *reporter) run(ctx context.Context) error {
	defer r.drain()
	r.store.TellSlowDisk(r.wake)
	for sequence := uint64(1); ; sequence++ {
		if err := r.beat(ctx, sequence); err != nil && ctx.Err() == nil {
			r.log.Info("no answer from the placement driver", "error", err)
		}
		pause, cancel := r.wait.WithTimeout(ctx, r.interval)
		_ = r.wait.Await(pause, r.wake) // or the interval is over
		cancel()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// retireHeard bounds how long a node that stops waits for the driver to hear of it.
const retireHeard = 300 * time.Millisecond

// retire tells the driver that the node stops, before it leads nothing: a store that leads nothing and was heard of
// lately is where the driver would send leaders next.
func (r *reporter) retire(ctx context.Context) {
	r.retiring.Store(true)
	signal(r.wake)
	ctx, cancel := r.wait.WithTimeout(ctx, retireHeard)
	defer cancel()
	_ = r.wait.Await(ctx, r.announced) // it goes without that, too
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (r *reporter) beat(ctx context.Context, sequence uint64) error {
	beatCtx, cancel := r.wait.WithTimeout(ctx, 4*r.interval+time.Second)
	defer cancel()
	led, orphans, replicas, err := r.store.Led(beatCtx, r.orphan)
	if err != nil {
		return err
	}
	slow := r.slowDisk()
	m := r.engine.Metrics()
	req := &internalpb.HeartbeatRequest{Node: r.self, Store: r.info, UsedBytes: m.DiskBytes,
		CapacityBytes: m.DiskTotalBytes, AvailableBytes: m.DiskFreeBytes, Replicas: uint32(replicas), Led: led,
		Orphans: orphans, Sequence: sequence, Draining: r.retiring.Load(),
		SlowDisk: slow}
	var resp *internalpb.HeartbeatResponse
	err = r.client.call(beatCtx, func(ctx context.Context, p internalpb.PlacementClient) (err error) {
		resp, err = p.Heartbeat(ctx, req)
		return err
	})
	if err != nil {
		return err
	}
	if req.Draining {
		signal(r.announced)
	}
	r.mu.Lock()
	r.heard, r.last = true, r.nowMs()
	r.mu.Unlock()
	for _, o := range resp.Gone {
		r.store.Gone(proto.RangeID(o.RangeId), proto.ReplicaID(o.ReplicaId))
	}
	for _, step := range resp.Steps {
		r.start(ctx, step)
	}
	return r.peers.update(resp.Nodes, resp.NodeOfStore)
}

// slowDisk tells whether the disk hung lately, and says in the log when that changes.
func (r *reporter) slowDisk() bool {
	before := r.slow.is
	if r.slow.lately(r.store.SlowDisk(), r.nowMs()) == before {
		return before
	}
	if before {
		r.log.Info("the disk is as fast as others again")
		r.store.TellSlowDisk(r.wake)
	} else {
		r.log.Warn("writes to the disk hang here and not elsewhere: this node leads nothing for now")
	}
	return r.slow.is
}

// slowDiskFor is how long a store leads nothing after its disk was behind others.
const slowDiskFor = 30 * time.Second

// slowDisk remembers when the disk was last behind others.
type slowDisk struct {
	count uint64
	at    int64 // ms
	is    bool
}

// lately takes in how often that was noted up to now.
func (s *slowDisk) lately(count uint64, nowMs int64) bool {
	if count != s.count {
		s.count, s.at = count, nowMs
	}
	s.is = s.count > 0 && nowMs-s.at < slowDiskFor.Milliseconds()
	return s.is
}

// start carries a step out, unless one of its range is running. Steps are fenced by the epoch that
// they carry, so one that comes late does nothing.
func (r *reporter) start(ctx context.Context, step *internalpb.AdminRangeRequest) {
	id := proto.RangeID(step.RangeId)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[id] || len(r.running) >= stepsMax {
		return
	}
	r.running[id] = true
	r.wait.Go(func() { // ends by the timeouts of the steps; run waits for it
		if _, err := r.ranges.step(ctx, step); err != nil && ctx.Err() == nil {
			r.log.Info("a step was not carried out", "range", uint64(id), "error", err)
		}
		r.mu.Lock()
		delete(r.running, id)
		r.mu.Unlock()
		signal(r.ended)
	})
}

// drain returns when no step runs any more.
func (r *reporter) drain() {
	for {
		r.mu.Lock()
		n := len(r.running)
		r.mu.Unlock()
		if n == 0 {
			return
		}
		_ = r.wait.Await(context.Background(), r.ended) // which never ends
	}
}

// silence is for how long the driver has not answered.
func (r *reporter) silence() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.heard {
		return math.MaxInt64
	}
	return time.Duration(r.nowMs()-r.last) * time.Millisecond
}
