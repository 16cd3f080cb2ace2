package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/placement"
	"github.com/vipkv/vipkv/placement/tso"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/proto/wait"
	"github.com/vipkv/vipkv/raftstore"
)

// activationRetry is the pause after an activation that failed, leadershipEvery is how often leadership is looked at.
const (
	activationRetry = 500 * time.Millisecond
	leadershipEvery = 20 * time.Millisecond
)

// oracleKey is the record of the oracle's saved bound.
const oracleKey = placement.OracleKey

// placementServer serves the placement driver while this node leads the system range; otherwise it
// says who does.
type placementServer struct {
	internalpb.UnimplementedPlacementServer
	store  *raftstore.Calls
	system *systemRange
	driver *placement.Driver
	oracle *tso.Oracle
	peers  *peers
	log    *slog.Logger
	wait   wait.Scheduler
	nowMs  func() int64
}

// leading is the term in which this node leads the system range and has applied its first entry; 0:
// it does not.
func (s *placementServer) leading() uint64 {
	_, term, err := s.store.Begin(proto.SystemRange)
	if err != nil {
		return 0
	}
	return term
}

// runLeadership activates the oracle and the driver when this node comes to lead the system range,
// and stops them when it does not any more. The oracle comes first: it is all that writes need.
func (s *placementServer) runLeadership(ctx context.Context) error {
	active, retry := uint64(0), s.nowMs()
	for s.wait.Sleep(ctx, leadershipEvery) == nil {
		term := s.leading()
		if term == active || s.nowMs() < retry {
			continue
		}
		if active != 0 {
			s.driver.Deactivate(active)
			s.oracle.Stop(active)
			active = 0
		}
		if term == 0 {
			continue
		}
		if err := s.activate(ctx, term); err != nil {
			s.log.Warn("placement driver not activated", "term", term, "error", err)
			retry = s.nowMs() + activationRetry.Milliseconds()
			s.driver.Deactivate(term)
			s.oracle.Stop(term)
			continue
		}
		active = term
		s.log.Info("placement driver activated", "term", term)
	}
	return nil
}

func (s *placementServer) activate(ctx context.Context, term uint64) error {
	ctx, cancel := s.wait.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := s.oracle.Start(ctx, term); err != nil {
		return fmt.Errorf("start the oracle: %w", err)
	}
	if err := s.driver.Activate(ctx, term); err != nil {
		return fmt.Errorf("start the driver: %w", err)
	}
	return nil
}

// redirect says who leads the system range, as far as this node knows. The endpoint is a peer
// address.
func (s *placementServer) redirect() error {
	nl := &vipkvpb.NotLeader{RangeId: uint64(proto.SystemRange)}
	if st, ok := s.store.Status(proto.SystemRange); ok && !st.Leads {
		for _, r := range st.Descriptor.GetReplicas() {
			if r.ReplicaId == uint64(st.Leader) {
				nl.LeaderStore = r.StoreId
			}
		}
	}
	if n := s.peers.nodeOf(proto.StoreID(nl.LeaderStore)); n != nil {
		nl.LeaderEndpoint = n.PeerAddress
	}
	return &rpcerr.NotLeaderError{NotLeader: nl}
}

// outcome encodes a driver's answer; one that is not active redirects.
func (s *placementServer) outcome(err error) error {
	var nl *rpcerr.NotLeaderError
	if errors.Is(err, tso.ErrNotServing) || errors.As(err, &nl) && nl.LeaderStore == 0 {
		err = s.redirect()
	}
	return rpcerr.Encode(err)
}

// Join implements internalpb.PlacementServer.
func (s *placementServer) Join(
	ctx context.Context, req *internalpb.JoinRequest,
) (*internalpb.JoinResponse, error) {
	resp, err := s.driver.Join(ctx, req)
	return resp, s.outcome(err)
}

// Heartbeat implements internalpb.PlacementServer.
func (s *placementServer) Heartbeat(
	ctx context.Context, req *internalpb.HeartbeatRequest,
) (*internalpb.HeartbeatResponse, error) {
	resp, err := s.driver.Heartbeat(ctx, req)
	return resp, s.outcome(err)
}

// Timestamps implements internalpb.PlacementServer. The timestamps are taken first and leadership
// is confirmed by a quorum after that, so they are above everything that any oracle had handed out
// before the call: without leases, a leader that was paused can not know by itself that it is one.
func (s *placementServer) Timestamps(
	ctx context.Context, req *internalpb.TimestampsRequest,
) (*internalpb.TimestampsResponse, error) {
	term, ok := s.oracle.Serving()
	if !ok {
		return nil, rpcerr.Encode(s.redirect())
	}
	first, err := s.oracle.Timestamps(ctx, req.Count)
	if err != nil {
		return nil, s.outcome(err)
	}
	if fault.On(fault.UnconfirmedTimestamps) {
		return &internalpb.TimestampsResponse{First: uint64(first)}, nil
	}
	if err := s.store.Confirm(ctx, proto.SystemRange, term); err != nil {
		return nil, rpcerr.Encode(err)
	}
	return &internalpb.TimestampsResponse{First: uint64(first)}, nil
}

// Lookup implements internalpb.PlacementServer.
func (s *placementServer) Lookup(
	ctx context.Context, req *internalpb.LookupRequest,
) (*internalpb.LookupResponse, error) {
	resp, err := s.driver.Lookup(ctx, req)
	return resp, s.outcome(err)
}

// AllocateIds implements internalpb.PlacementServer.
func (s *placementServer) AllocateIds(
	ctx context.Context, req *internalpb.AllocateIdsRequest,
) (*internalpb.AllocateIdsResponse, error) {
	resp, err := s.driver.AllocateIDs(ctx, req)
	return resp, s.outcome(err)
}

// ClusterView implements internalpb.PlacementServer.
func (s *placementServer) ClusterView(
	ctx context.Context, req *internalpb.ClusterViewRequest,
) (*internalpb.ClusterViewResponse, error) {
	resp, err := s.driver.ClusterView(ctx, req)
	return resp, s.outcome(err)
}

// driverState keeps the driver's records in the system range. It implements placement.State.
type driverState struct{ system *systemRange }

// Load implements placement.State.
func (d driverState) Load(ctx context.Context, term uint64, prefix string) ([]placement.KV, error) {
	items, err := d.system.scan(fenced(ctx, term), prefix)
	if err != nil {
		return nil, err
	}
	out := make([]placement.KV, len(items))
	for i, item := range items {
		out[i] = placement.KV{Key: item.Key, Value: item.Value}
	}
	return out, nil
}

// Save implements placement.State.
func (d driverState) Save(
	ctx context.Context, term uint64, puts []placement.KV, deletes [][]byte,
) error {
	mutations := make([]*vipkvpb.Mutation, 0, len(puts)+len(deletes))
	for _, kv := range puts {
		mutations = append(mutations, &vipkvpb.Mutation{Key: kv.Key, Value: kv.Value})
	}
	for _, k := range deletes {
		mutations = append(mutations, &vipkvpb.Mutation{Key: k, Delete: true})
	}
	return d.system.commit(fenced(ctx, term), mutations)
}

// oracleState keeps the oracle's bound in the system range. It implements tso.Saver.
type oracleState struct{ system *systemRange }

// LoadBound implements tso.Saver.
func (o oracleState) LoadBound(ctx context.Context, term uint64) (uint64, error) {
	v, err := o.system.get(fenced(ctx, term), oracleKey)
	if err != nil || v == nil {
		return 0, err
	}
	rec := &internalpb.OracleRecord{}
	if err := gproto.Unmarshal(v, rec); err != nil {
		return 0, fmt.Errorf("decode the oracle's bound: %w", err)
	}
	return rec.UpperBoundMs, nil
}

// SaveBound implements tso.Saver.
func (o oracleState) SaveBound(ctx context.Context, term, ms uint64, at proto.Timestamp) error {
	v, err := gproto.Marshal(&internalpb.OracleRecord{UpperBoundMs: ms})
	if err != nil {
		return fmt.Errorf("encode the oracle's bound: %w", err)
	}
	return o.system.putAt(fenced(ctx, term), oracleKey, v, at)
}
