package placement

import (
	"context"
	"fmt"
	"slices"
	"strings"

	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/placement/schedule"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

const (
	lookupMax   = 1000
	allocateMax = 100_000
)

// Heartbeat takes in what a store reports and answers what it should know and do. It does no I/O. It keeps parts of the
// request, and the answer shares parts with the driver: neither may be changed afterwards. Errors: NotLeader;
// InvalidArgument when the store is not known or was declared lost.
func (d *Driver) Heartbeat(
	_ context.Context, req *internalpb.HeartbeatRequest,
) (*internalpb.HeartbeatResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.mu.act
	if a == nil {
		return nil, notLeader()
	}
	m := a.member(proto.StoreID(req.GetStore().GetStoreId()))
	switch {
	case m == nil:
		return nil, rpcerr.Invalid("store", fmt.Sprintf(
			"store %d is not known to this cluster; it has to join first", req.GetStore().GetStoreId()))
	case m.rec.GetLost():
		return nil, rpcerr.Invalid("store", fmt.Sprintf(
			"store %d was declared lost and must not come back: clear its directory, join it anew", m.store()))
	}
	resp := &internalpb.HeartbeatResponse{Nodes: a.infos, NodeOfStore: a.nodeOfStore}
	boot := req.GetStore().GetBootEpoch()
	if boot < m.boot || (boot == m.boot && req.GetSequence() <= m.sequence && m.heard) {
		return resp, nil // overtaken on its way
	}
	draining := req.GetDraining() || req.GetSlowDisk()
	if !m.heard || m.draining != draining {
		a.changed = true
	}
	m.heard, m.lastMs, m.boot, m.sequence = true, d.cfg.NowMs(), boot, req.GetSequence()
	m.used, m.capacity = req.GetUsedBytes(), req.GetCapacityBytes()
	m.available = req.GetAvailableBytes()
	m.replicas, m.draining, m.slowDisk = req.GetReplicas(), draining, req.GetSlowDisk()
	a.updateNode(m, req.GetNode())
	resp.Nodes, resp.NodeOfStore = a.infos, a.nodeOfStore
	led := make(map[proto.RangeID]struct{}, len(req.GetLed()))
	for _, h := range req.GetLed() {
		r := a.report(m, h)
		if r == nil {
			continue
		}
		led[r.ID()] = struct{}{}
		if step := a.planner.Step(r); step != nil {
			resp.Steps = append(resp.Steps, step)
		}
	}
	for id := range m.led {
		if _, still := led[id]; still {
			continue
		}
		if r := a.ranges.byID[id]; r != nil && r.Leader == m.store() {
			r.Leader = 0
			a.changed = true
		}
	}
	m.led = led
	resp.Gone = a.gone(req.GetOrphans())
	return resp, nil
}

// updateNode takes in a node's addresses, when they changed; they are saved later.
func (a *activation) updateNode(m *member, info *internalpb.NodeInfo) {
	if proto.NodeID(info.GetNodeId()) != m.node() || gproto.Equal(info, m.rec.GetNode()) {
		return
	}
	rec := gproto.Clone(m.rec).(*internalpb.NodeRecord)
	rec.Node = gproto.Clone(info).(*internalpb.NodeInfo)
	m.rec = rec
	a.dirtyNodes[m.node()] = rec
	a.membersChanged()
}

// gone picks the replicas that are not in their range any more (I3).
func (a *activation) gone(orphans []*internalpb.OrphanReplica) []*internalpb.OrphanReplica {
	var out []*internalpb.OrphanReplica
	for _, o := range orphans {
		r := a.ranges.byID[proto.RangeID(o.GetRangeId())]
		if r == nil || o.GetReplicaId() >= r.Desc.GetNextReplicaId() {
			continue
		}
		if !slices.ContainsFunc(r.Desc.GetReplicas(), func(rep *internalpb.Replica) bool {
			return rep.GetReplicaId() == o.GetReplicaId()
		}) {
			out = append(out, o)
		}
	}
	return out
}

// Lookup answers the ranges from the one that holds req.Start on, up to the limit (0: 100; at most 1000), in key order,
// as far as is known, with the nodes. A leader store of 0 is not known.
func (d *Driver) Lookup(
	_ context.Context, req *internalpb.LookupRequest,
) (*internalpb.LookupResponse, error) {
	limit := min(int(req.GetLimit()), lookupMax)
	if limit == 0 {
		limit = 100
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.mu.act
	if a == nil {
		return nil, notLeader()
	}
	resp := &internalpb.LookupResponse{Nodes: a.infos, NodeOfStore: a.nodeOfStore}
	for _, r := range a.ranges.lookup(req.GetStart(), limit) {
		resp.Ranges = append(resp.Ranges, &internalpb.RangeLocation{
			Desc: r.Desc, LeaderStore: uint64(r.Leader), Term: r.Term,
		})
	}
	return resp, nil
}

// problem says what is wrong with a member that was heard of ago ms ago; empty: nothing is.
func (m *member) problem(ago int64) string {
	switch {
	case m.state != schedule.Live && m.rec.GetLost():
		return fmt.Sprintf("is %s: declared lost", m.state)
	case m.state != schedule.Live:
		return fmt.Sprintf("is %s: no heartbeat for %d s", m.state, ago/1000)
	case m.slowDisk:
		return "leads no ranges for now: writes to its disk hung"
	case m.draining:
		return "is stopping"
	}
	return ""
}

// ClusterView is the cluster for people: every store with its state, every range with what is being done with it or why
// nothing is, and what is wrong.
func (d *Driver) ClusterView(
	_ context.Context, _ *internalpb.ClusterViewRequest,
) (*internalpb.ClusterViewResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.mu.act
	if a == nil {
		return nil, notLeader()
	}
	now := d.cfg.NowMs()
	resp := &internalpb.ClusterViewResponse{
		ClusterId: d.cfg.ClusterID, DriverNode: uint64(d.cfg.NodeID),
	}
	for _, m := range a.members {
		ago := max(0, now-m.lastMs)
		resp.Stores = append(resp.Stores, &internalpb.StoreStatus{
			Store: &internalpb.StoreInfo{
				StoreId: uint64(m.store()), NodeId: uint64(m.node()), BootEpoch: m.boot,
			},
			Node: m.rec.GetNode(), State: m.state.String(), LastHeartbeatMsAgo: ago,
			Replicas: m.replicas, Leaders: uint32(len(m.led)),
			UsedBytes: m.used, AvailableBytes: m.available,
		})
		if p := m.problem(ago); p != "" {
			resp.Problems = append(resp.Problems,
				fmt.Sprintf("node %d (%s) %s", m.node(), m.rec.GetNode().GetPeerAddress(), p))
		}
	}
	for _, r := range a.ranges.ordered {
		note := a.planner.Note(r.ID())
		resp.Ranges = append(resp.Ranges, &internalpb.RangeStatus{
			Range: &internalpb.RangeHeartbeat{
				Desc: r.Desc, Term: r.Term, Applied: r.Applied, Bytes: r.Bytes, Progress: r.Progress,
			},
			LeaderStore: uint64(r.Leader), Note: note,
		})
	}
	resp.Problems = append(resp.Problems, a.rangeProblems(d.cfg.Schedule.Replicas)...)
	return resp, nil
}

// rangeProblems groups the notes of ranges that lack voters or a leader, in the order of the first range of each.
func (a *activation) rangeProblems(want int) []string {
	var order []string
	count := map[string]int{}
	first := map[string]proto.RangeID{}
	for _, r := range a.ranges.ordered {
		live := 0
		for _, rep := range r.Desc.GetReplicas() {
			m := a.member(proto.StoreID(rep.GetStoreId()))
			if m != nil && m.state == schedule.Live && rep.GetRole() != internalpb.ReplicaRole_LEARNER {
				live++
			}
		}
		if live >= want && r.Reported && r.Leader != 0 {
			continue
		}
		note := a.planner.Note(r.ID())
		if note == "" {
			note = "no leader is known"
		}
		if count[note] == 0 {
			order, first[note] = append(order, note), r.ID()
		}
		count[note]++
	}
	out := make([]string, 0, len(order))
	for _, note := range order {
		text := fmt.Sprintf("range %d: %s", first[note], note)
		if n := count[note]; n > 1 {
			text = fmt.Sprintf("%d ranges (first: %d): %s", n, first[note], note)
		}
		out = append(out, strings.TrimSpace(text))
	}
	return out
}
