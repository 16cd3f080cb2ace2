package placement

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

var errFenced = errors.New("not the leader in this term")

// memState is a State in memory, fenced by term as the system range does it.
type memState struct {
	mu   sync.Mutex
	term uint64
	data map[string][]byte
	fail error
	gate chan struct{} // when set, Save waits for it
}

func (s *memState) Load(_ context.Context, term uint64, prefix string) ([]KV, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if term < s.term {
		return nil, errFenced
	}
	s.term = term
	var out []KV
	for k, v := range s.data {
		if strings.HasPrefix(k, prefix) {
			out = append(out, KV{[]byte(k), v})
		}
	}
	slices.SortFunc(out, func(a, b KV) int { return bytes.Compare(a.Key, b.Key) })
	return out, nil
}

func (s *memState) Save(_ context.Context, term uint64, puts []KV, deletes [][]byte) error {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if term != s.term {
		return errFenced
	}
	for _, k := range deletes {
		delete(s.data, string(k))
	}
	for _, kv := range puts {
		s.data[string(kv.Key)] = kv.Value
	}
	return nil
}

func (s *memState) set(fail error, gate chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail, s.gate = fail, gate
}

func address(n int) *internalpb.NodeInfo {
	return &internalpb.NodeInfo{PeerAddress: fmt.Sprintf("n%d:7001", n), ClientAddress: fmt.Sprintf("n%d:7000", n)}
}

func bootstrapped(t *testing.T) *memState {
	t.Helper()
	kvs, err := BootstrapRecords(address(1))
	if err != nil {
		t.Fatal(err)
	}
	s := &memState{data: map[string][]byte{}}
	for _, kv := range kvs {
		s.data[string(kv.Key)] = kv.Value
	}
	return s
}

// fakeClock is a clock that the test moves.
type fakeClock struct {
	mu sync.Mutex
	ms int64
}

func (c *fakeClock) now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ms
}

func (c *fakeClock) add(ms int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ms += ms
}

func newDriver(t *testing.T, s State, c *fakeClock) *Driver {
	t.Helper()
	cfg := DefaultConfig()
	cfg.NowMs, cfg.NodeID, cfg.ClusterID = c.now, 1, []byte("cluster")
	d, err := New(cfg, s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func active(t *testing.T, s State, c *fakeClock, term uint64) *Driver {
	t.Helper()
	d := newDriver(t, s, c)
	if err := d.Activate(t.Context(), term); err != nil {
		t.Fatal(err)
	}
	return d
}

// cluster is nodes with ranges that carry steps out at once, around a driver.
type cluster struct {
	t      *testing.T
	state  *memState
	clock  *fakeClock
	driver *Driver
	dead   map[uint64]bool
	slow   map[uint64]bool // stores that say so of their disks
	seq    uint64
	ranges map[uint64]*internalpb.RangeHeartbeat
	leader map[uint64]uint64 // store, by range
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{
		t: t, state: bootstrapped(t), clock: &fakeClock{ms: 1000}, dead: map[uint64]bool{}, slow: map[uint64]bool{},
		ranges: map[uint64]*internalpb.RangeHeartbeat{}, leader: map[uint64]uint64{},
	}
	c.driver = active(t, c.state, c.clock, 1)
	for _, desc := range BootstrapDescriptors(1) {
		c.ranges[desc.RangeId] = &internalpb.RangeHeartbeat{Desc: desc, Term: 5, Applied: 10}
		c.leader[desc.RangeId] = 1
	}
	return c
}

func (c *cluster) join(n int) uint64 {
	c.t.Helper()
	resp, err := c.driver.Join(c.t.Context(), &internalpb.JoinRequest{Node: address(n)})
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StoreId
}

// second lets a second pass: ticks, a heartbeat of each living store, and the steps in the answers.
func (c *cluster) second(stores ...uint64) {
	c.t.Helper()
	for range 5 {
		c.clock.add(200)
		c.driver.Tick()
	}
	for _, store := range stores {
		if c.dead[store] {
			continue
		}
		for _, step := range c.heartbeat(store).Steps {
			c.execute(step)
		}
	}
	if err := c.driver.Flush(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) heartbeat(store uint64) *internalpb.HeartbeatResponse {
	c.t.Helper()
	c.seq++
	info := address(int(store))
	info.NodeId = store
	req := &internalpb.HeartbeatRequest{
		Node: info, Store: &internalpb.StoreInfo{StoreId: store, NodeId: store, BootEpoch: 1}, Sequence: c.seq,
		SlowDisk: c.slow[store],
	}
	for id, leader := range c.leader {
		if leader != store {
			continue
		}
		h := c.ranges[id]
		h = &internalpb.RangeHeartbeat{Desc: h.Desc, Term: h.Term, Applied: h.Applied}
		for _, rep := range h.Desc.Replicas {
			h.Progress = append(h.Progress, &internalpb.ReplicaProgress{
				ReplicaId: rep.ReplicaId, Match: h.Applied, RecentlyActive: !c.dead[rep.StoreId],
			})
		}
		req.Led = append(req.Led, h)
	}
	resp, err := c.driver.Heartbeat(c.t.Context(), req)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

func (c *cluster) execute(step *internalpb.AdminRangeRequest) {
	h := c.ranges[step.RangeId]
	if !gproto.Equal(step.Epoch, h.Desc.Epoch) {
		return
	}
	if to := step.GetTransfer(); to != nil {
		for _, rep := range h.Desc.Replicas {
			if rep.ReplicaId == to.ToReplica {
				c.leader[step.RangeId] = rep.StoreId
				h.Term++
			}
		}
		return
	}
	after := gproto.Clone(h.Desc).(*internalpb.Descriptor)
	after.Epoch.Conf++
	change := step.GetChange()
	if store := change.AddLearnerStore; store != 0 {
		after.Replicas = append(after.Replicas, &internalpb.Replica{
			StoreId: store, ReplicaId: after.NextReplicaId, Role: internalpb.ReplicaRole_LEARNER,
		})
		after.NextReplicaId++
	}
	after.Replicas = slices.DeleteFunc(after.Replicas, func(rep *internalpb.Replica) bool {
		return rep.ReplicaId == change.RemoveLearnerReplica ||
			(change.LeaveJoint && rep.Role == internalpb.ReplicaRole_VOTER_OUTGOING)
	})
	for _, rep := range after.Replicas {
		switch {
		case slices.Contains(change.GetEnterJoint().GetPromoteReplicas(), rep.ReplicaId):
			rep.Role = internalpb.ReplicaRole_VOTER_INCOMING
		case slices.Contains(change.GetEnterJoint().GetRemoveReplicas(), rep.ReplicaId):
			rep.Role = internalpb.ReplicaRole_VOTER_OUTGOING
		case change.LeaveJoint && rep.Role == internalpb.ReplicaRole_VOTER_INCOMING:
			rep.Role = internalpb.ReplicaRole_VOTER
		}
	}
	h.Desc = after
}

// kill makes a store silent and elects another leader for its ranges.
func (c *cluster) kill(store uint64) {
	c.dead[store] = true
	for id, leader := range c.leader {
		if leader != store {
			continue
		}
		for _, rep := range c.ranges[id].Desc.Replicas {
			if rep.Role == internalpb.ReplicaRole_VOTER && !c.dead[rep.StoreId] {
				c.leader[id] = rep.StoreId
				c.ranges[id].Term++
				break
			}
		}
	}
}

// voters lists the stores of a range's replicas; anything but a voter is marked.
func (c *cluster) voters(id uint64) string {
	var words []string
	for _, rep := range c.ranges[id].Desc.Replicas {
		word := fmt.Sprint(rep.StoreId)
		if rep.Role != internalpb.ReplicaRole_VOTER {
			word += rep.Role.String()
		}
		words = append(words, word)
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

func desc(id, version, conf uint64, start, end string, replicas ...uint64) *internalpb.Descriptor {
	d := &internalpb.Descriptor{
		RangeId: id, Start: []byte(start), End: []byte(end), Epoch: &internalpb.Epoch{Version: version, Conf: conf},
	}
	for _, store := range replicas {
		d.Replicas = append(d.Replicas, &internalpb.Replica{StoreId: store, ReplicaId: store})
		d.NextReplicaId = max(d.NextReplicaId, store+1)
	}
	return d
}

func rangeIDs(locations []*internalpb.RangeLocation) (out []proto.RangeID) {
	for _, l := range locations {
		out = append(out, proto.RangeID(l.Desc.RangeId))
	}
	return out
}
