package placement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/proto/wait"
)

const (
	// planEveryTicks: without any change decisions are looked at this often, for what depends on progress alone.
	planEveryTicks = 25
	// stallMs: a driver that did not tick for so long did not hear heartbeats either.
	stallMs = 2000
)

// ErrSuperseded: a newer term was activated, or this one deactivated, meanwhile.
var ErrSuperseded = errors.New("the placement driver was activated or deactivated again meanwhile")

// Driver is the placement driver of one node; it is active while the node leads the system range.
type Driver struct {
	cfg     Config
	state   State
	writing chan struct{} // capacity 1: who took what lies in it may call State.Save (I6)

	mu struct { // never held across State calls
		sync.Mutex
		act     *activation // nil: not active
		retired uint64      // terms up to here are over
		ended   uint64      // counts deactivations: one during a load makes it void
		lastMs  int64       // of the last tick
	}
}

// New makes a driver that is not active.
func New(cfg Config, state State) (*Driver, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Wait = wait.Or(cfg.Wait)
	d := &Driver{cfg: cfg, state: state, writing: make(chan struct{}, 1)}
	d.release()
	return d, nil
}

// Activate loads the records and makes the driver active for a term of leadership of the system range. An older
// activation ends. After an error, or a Deactivate, it may be called again, with the same term too. A Deactivate during
// Activate makes it fail with ErrSuperseded; so does a term below one that was activated or deactivated.
func (d *Driver) Activate(ctx context.Context, term uint64) error {
	d.mu.Lock()
	stale, ended := d.staleLocked(term), d.mu.ended
	d.mu.Unlock()
	if stale {
		return fmt.Errorf("activate the placement driver in term %d: %w", term, ErrSuperseded)
	}
	a, err := d.load(ctx, term)
	if err != nil {
		return fmt.Errorf("activate the placement driver in term %d: %w", term, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.staleLocked(term) || d.mu.ended != ended {
		return fmt.Errorf("activate the placement driver in term %d: %w", term, ErrSuperseded)
	}
	now := d.cfg.NowMs()
	for _, m := range a.members {
		m.lastMs = now
	}
	a.judge(now, &d.cfg)
	d.mu.act, d.mu.lastMs = a, now
	d.cfg.Logger.Info("placement driver active",
		"term", term, "nodes", len(a.members), "ranges", len(a.ranges.ordered))
	return nil
}

func (d *Driver) staleLocked(term uint64) bool {
	return term <= d.mu.retired || (d.mu.act != nil && term <= d.mu.act.term)
}

// Deactivate ends the activation of this term or of an older one. Calls under way end with NotLeader.
func (d *Driver) Deactivate(term uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.act != nil && d.mu.act.term > term {
		return
	}
	d.mu.ended++
	if term > 0 {
		d.mu.retired = max(d.mu.retired, term-1)
	}
	if d.mu.act != nil {
		d.mu.act = nil
		d.cfg.Logger.Info("placement driver not active any more", "term", term)
	}
}

// Active tells whether the driver is active, and in which term.
func (d *Driver) Active() (term uint64, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.act == nil {
		return 0, false
	}
	return d.mu.act.term, true
}

// notLeader is the answer of a driver that is not active; the node adds where the active one is.
func notLeader() error {
	return &rpcerr.NotLeaderError{NotLeader: &vipkvpb.NotLeader{RangeId: uint64(proto.SystemRange)}}
}

// Run decides and saves, while active, until ctx ends. It owns two goroutines and returns nil after both.
func (d *Driver) Run(ctx context.Context) error {
	wait.All(d.cfg.Wait, func() { d.tickLoop(ctx) }, func() { d.flushLoop(ctx) })
	return nil
}

func (d *Driver) tickLoop(ctx context.Context) {
	for d.cfg.Wait.Sleep(ctx, d.cfg.Tick) == nil {
		d.Tick()
	}
}

func (d *Driver) flushLoop(ctx context.Context) {
	failing := false
	for d.cfg.Wait.Sleep(ctx, d.cfg.FlushEvery) == nil {
		flushCtx, cancel := d.cfg.Wait.WithTimeout(ctx, d.cfg.SaveTimeout)
		err := d.Flush(flushCtx)
		cancel()
		if err != nil && !failing && ctx.Err() == nil {
			d.cfg.Logger.Warn("placement records were not saved, trying again", "err", err)
		}
		failing = err != nil
	}
}

// Tick judges the stores and decides. Run calls it.
func (d *Driver) Tick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.mu.act
	if a == nil {
		return
	}
	now := d.cfg.NowMs()
	if gap := now - d.mu.lastMs; gap > stallMs {
		a.forgive(now, gap)
		d.cfg.Logger.Warn("placement driver stood still", "ms", gap)
	}
	d.mu.lastMs = now
	for _, m := range a.judge(now, &d.cfg) {
		d.cfg.Logger.Info("store state", "store", m.store(), "state", m.state.String())
	}
	a.ticks++
	if !a.changed && a.planner.Running() == 0 && a.ticks%planEveryTicks != 0 {
		a.planner.Skip()
		return
	}
	a.changed = false
	for _, e := range a.planner.Tick(a.cluster(d.cfg.LocalityLevels)) {
		d.cfg.Logger.Info("operator", "range", e.Range, "kind", string(e.Kind), "what", e.Text)
	}
}

// acquire takes the writer's slot.
func (d *Driver) acquire(ctx context.Context) error { return d.cfg.Wait.Await(ctx, d.writing) }

func (d *Driver) release() { d.writing <- struct{}{} }

// Flush saves what heartbeats brought, FlushMax records a save, until nothing is left. Run calls it.
func (d *Driver) Flush(ctx context.Context) error {
	if err := d.acquire(ctx); err != nil {
		return err
	}
	defer d.release()
	for {
		more, err := d.flushSome(ctx)
		if err != nil || !more {
			return err
		}
	}
}

func (d *Driver) flushSome(ctx context.Context) (more bool, err error) {
	d.mu.Lock()
	a := d.mu.act
	if a == nil {
		d.mu.Unlock()
		return false, nil
	}
	nodes, ranges := takeSome(a.dirtyNodes, d.cfg.FlushMax), takeSome(a.dirtyRanges, d.cfg.FlushMax)
	recs := make([]*internalpb.NodeRecord, len(nodes))
	for i, id := range nodes {
		recs[i] = a.dirtyNodes[id]
	}
	descs := make([]*internalpb.Descriptor, len(ranges))
	for i, id := range ranges {
		descs[i] = a.dirtyRanges[id]
	}
	d.mu.Unlock()
	if len(recs)+len(descs) == 0 {
		return false, nil
	}
	var puts []KV
	for i, rec := range recs {
		kv, err := record(nodeKey(nodes[i]), rec)
		if err != nil {
			return false, err
		}
		puts = append(puts, kv)
	}
	for i, desc := range descs {
		kv, err := record(rangeKey(ranges[i]), &internalpb.RangeRecord{Desc: desc})
		if err != nil {
			return false, err
		}
		puts = append(puts, kv)
	}
	if err := d.state.Save(ctx, a.term, puts, nil); err != nil {
		return false, fmt.Errorf("save %d records: %w", len(puts), err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, id := range nodes {
		if a.dirtyNodes[id] == recs[i] {
			delete(a.dirtyNodes, id)
		}
	}
	for i, id := range ranges {
		if a.dirtyRanges[id] == descs[i] {
			delete(a.dirtyRanges, id)
		}
	}
	return len(a.dirtyNodes)+len(a.dirtyRanges) > 0, nil
}

// takeSome answers up to n keys, sorted.
func takeSome[K proto.NodeID | proto.RangeID, V any](m map[K]V, n int) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys[:min(n, len(keys))]
}
