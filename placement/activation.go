package placement

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"

	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/placement/schedule"
	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// member is a node, which has one store, as this activation knows it.
type member struct {
	rec *internalpb.NodeRecord // never changed in place
	// From its heartbeats:
	heard                     bool
	lastMs                    int64 // of the last heartbeat, or the start of the activation
	boot, sequence            uint64
	used, capacity, available uint64
	replicas                  uint32
	draining                  bool // takes nothing, gives its leaders away
	slowDisk                  bool // why it does
	led                       map[proto.RangeID]struct{}

	state schedule.StoreState // as of the last tick
}

func (m *member) node() proto.NodeID   { return proto.NodeID(m.rec.GetNode().GetNodeId()) }
func (m *member) store() proto.StoreID { return proto.StoreID(m.rec.GetStoreId()) }

// activation is everything that a driver knows in one term of leadership.
type activation struct {
	term    uint64
	members []*member // sorted by store id
	ranges  *rangeMap
	planner *schedule.Planner
	changed bool // since the last decision
	ticks   uint64

	nextID, savedID uint64 // ids in [nextID, savedID) may be handed out

	// Not yet saved; a value is what is to be saved, compared by pointer when it was.
	dirtyRanges map[proto.RangeID]*internalpb.Descriptor
	dirtyNodes  map[proto.NodeID]*internalpb.NodeRecord

	// Answers, rebuilt when members change; shared, never changed in place.
	infos       []*internalpb.NodeInfo
	nodeOfStore []uint64
}

// load builds an activation from the records.
func (d *Driver) load(ctx context.Context, term uint64) (*activation, error) {
	a := &activation{
		term: term, ranges: newRangeMap(), planner: schedule.New(d.cfg.Schedule), changed: true,
		dirtyRanges: map[proto.RangeID]*internalpb.Descriptor{},
		dirtyNodes:  map[proto.NodeID]*internalpb.NodeRecord{},
	}
	if err := a.loadNodes(ctx, d.state); err != nil {
		return nil, err
	}
	if err := a.loadRanges(ctx, d.state); err != nil {
		return nil, err
	}
	var alloc internalpb.AllocatorRecord
	kvs, err := d.state.Load(ctx, term, allocatorKey)
	if err != nil {
		return nil, fmt.Errorf("load the allocator: %w", err)
	}
	if len(kvs) != 1 || gproto.Unmarshal(kvs[0].Value, &alloc) != nil || alloc.Next == 0 {
		return nil, fmt.Errorf("load the allocator: the record %q is missing or damaged", allocatorKey)
	}
	a.nextID, a.savedID = alloc.Next, alloc.Next
	return a, nil
}

func (a *activation) loadNodes(ctx context.Context, state State) error {
	kvs, err := state.Load(ctx, a.term, nodePrefix)
	if err != nil {
		return fmt.Errorf("load nodes: %w", err)
	}
	for _, kv := range kvs {
		rec := &internalpb.NodeRecord{}
		if err := gproto.Unmarshal(kv.Value, rec); err != nil {
			return fmt.Errorf("load nodes: record %q: %w", kv.Key, err)
		}
		a.members = append(a.members, &member{rec: rec})
	}
	a.membersChanged()
	return nil
}

func (a *activation) loadRanges(ctx context.Context, state State) error {
	kvs, err := state.Load(ctx, a.term, rangePrefix)
	if err != nil {
		return fmt.Errorf("load ranges: %w", err)
	}
	descs := make([]*internalpb.Descriptor, 0, len(kvs))
	for _, kv := range kvs {
		rec := &internalpb.RangeRecord{}
		if err := gproto.Unmarshal(kv.Value, rec); err != nil {
			return fmt.Errorf("load ranges: record %q: %w", kv.Key, err)
		}
		if rec.GetDesc().GetEpoch() == nil {
			return fmt.Errorf("load ranges: record %q has no descriptor", kv.Key)
		}
		descs = append(descs, rec.Desc)
	}
	// Older ones first, so that newer ones displace them.
	slices.SortStableFunc(descs, func(x, y *internalpb.Descriptor) int {
		switch {
		case newer(y, x):
			return -1
		case newer(x, y):
			return 1
		}
		return 0
	})
	for _, desc := range descs {
		a.ranges.put(desc)
	}
	return nil
}

func (a *activation) member(store proto.StoreID) *member {
	i := sort.Search(len(a.members), func(i int) bool { return a.members[i].store() >= store })
	if i < len(a.members) && a.members[i].store() == store {
		return a.members[i]
	}
	return nil
}

func (a *activation) memberOfNode(id proto.NodeID) *member {
	for _, m := range a.members {
		if m.node() == id {
			return m
		}
	}
	return nil
}

func (a *activation) membersChanged() {
	a.changed = true
	slices.SortFunc(a.members, func(x, y *member) int {
		return cmp.Compare(x.store(), y.store())
	})
	a.infos, a.nodeOfStore = nil, nil
	for _, m := range a.members {
		a.infos = append(a.infos, m.rec.GetNode())
		a.nodeOfStore = append(a.nodeOfStore, uint64(m.store()), uint64(m.node()))
	}
}

// judge brings the states of all stores up to date (I4) and answers the members whose state changed.
func (a *activation) judge(now int64, cfg *Config) []*member {
	var changed []*member
	for _, m := range a.members {
		state, silent := schedule.Live, now-m.lastMs
		switch {
		case m.rec.GetLost() || silent > cfg.LostAfter.Milliseconds():
			state = schedule.Lost
		case silent > cfg.UnreachableAfter.Milliseconds():
			state = schedule.Unreachable
		}
		if state != m.state {
			m.state = state
			changed = append(changed, m)
		}
	}
	if len(changed) > 0 {
		a.changed = true
	}
	return changed
}

// forgive moves all last heartbeats on by a time in which the driver stood still and could not hear any.
func (a *activation) forgive(now, ms int64) {
	for _, m := range a.members {
		m.lastMs = min(m.lastMs+ms, now)
	}
}

func (a *activation) cluster(levels []string) *schedule.Cluster {
	c := &schedule.Cluster{Ranges: a.ranges.ordered, Stores: make([]schedule.Store, 0, len(a.members))}
	for _, m := range a.members {
		s := schedule.Store{
			ID: m.store(), State: m.state, Draining: m.draining,
			CapacityBytes: m.capacity, AvailableBytes: m.available,
		}
		if !m.heard && s.State == schedule.Live {
			s.State = schedule.Unreachable // it may have died with the last driver
		}
		for _, level := range levels {
			if v, ok := m.rec.GetNode().GetLocality()[level]; ok {
				s.Locality = append(s.Locality, v)
			}
		}
		c.Stores = append(c.Stores, s)
	}
	return c
}

// report takes in what a leader says of a range (I2) and answers the range when it counts.
func (a *activation) report(from *member, h *internalpb.RangeHeartbeat) *schedule.Range {
	desc := h.GetDesc()
	if desc.GetRangeId() == 0 || desc.GetEpoch() == nil {
		return nil
	}
	known := a.ranges.byID[proto.RangeID(desc.GetRangeId())]
	if known != nil && h.GetTerm() < known.Term {
		return nil
	}
	r, changed, ok := a.ranges.put(desc)
	if !ok {
		return nil
	}
	if changed {
		a.dirtyRanges[r.ID()] = desc
	}
	if changed || !r.Reported || r.Leader != from.store() {
		a.changed = true
	}
	if r.Leader != from.store() {
		if old := a.member(r.Leader); old != nil {
			delete(old.led, r.ID())
		}
	}
	r.Reported, r.Leader, r.Term = true, from.store(), h.GetTerm()
	r.Applied, r.Bytes, r.Progress = h.GetApplied(), h.GetBytes(), h.GetProgress()
	return r
}
