package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/proto/wait"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// RangeSteps is how Admin changes single ranges.
type RangeSteps interface {
	// Lookup is that of Ranges.
	Lookup(ctx context.Context, key []byte, limit int) ([]*internalpb.RangeLocation, error)
	// Step carries one step out on the store's node, which must lead the range.
	Step(ctx context.Context, store proto.StoreID, req *internalpb.AdminRangeRequest) (
		*internalpb.AdminRangeResponse, error)
}

// stepRetry is the pause before a step is tried again, at the leader as it is known then.
const stepRetry = 100 * time.Millisecond

// findRange returns who leads the range that a step is for, and the step.
type findRange func(context.Context) (proto.StoreID, *internalpb.AdminRangeRequest, error)

// step carries out what find says until it is done or refused, at each new leader in turn. Steps may be repeated.
func (a *Admin) step(
	ctx context.Context, find findRange,
) (*internalpb.AdminRangeResponse, error) {
	hint := proto.StoreID(0)
	for {
		leader, req, err := find(ctx)
		if err != nil {
			return nil, err
		}
		if hint != 0 {
			leader = hint
		}
		if leader == 0 {
			err = &rpcerr.NotLeaderError{NotLeader: &vipkvpb.NotLeader{RangeId: req.RangeId}}
		} else {
			var resp *internalpb.AdminRangeResponse
			if resp, err = a.Steps.Step(ctx, leader, req); err == nil {
				return resp, nil
			}
		}
		var again bool
		if hint, again = stepAgain(err); !again {
			return nil, err
		}
		if wait.Or(nil).Sleep(ctx, stepRetry) != nil {
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

// stepAgain tells whether a step may do better later, and where.
func stepAgain(err error) (hint proto.StoreID, again bool) {
	var nl *rpcerr.NotLeaderError
	var throttled *rpcerr.ThrottledError
	var stale *rpcerr.StaleEpochError
	switch {
	case errors.As(err, &nl):
		return proto.StoreID(nl.LeaderStore), true
	case errors.As(err, &throttled), errors.As(err, &stale), status.Code(err) == codes.Unavailable:
		return 0, true
	}
	return 0, false
}

func holds(d *internalpb.Descriptor, key []byte) bool {
	return (&location{desc: d}).holds(mvcc.Route{Key: key})
}

// TransferLeader implements vipkvpb.AdminServer.
func (a *Admin) TransferLeader(ctx context.Context, req *vipkvpb.TransferLeaderRequest) (
	*vipkvpb.TransferLeaderResponse, error) {
	find := func(ctx context.Context) (proto.StoreID, *internalpb.AdminRangeRequest, error) {
		v, err := a.Cluster.View(ctx)
		if err != nil {
			return 0, nil, fmt.Errorf("transfer range %d: %w", req.RangeId, err)
		}
		at := slices.IndexFunc(v.Ranges, func(r *internalpb.RangeStatus) bool {
			return r.Range.GetDesc().GetRangeId() == req.RangeId
		})
		if at < 0 {
			return 0, nil, status.Errorf(codes.NotFound, "there is no range %d", req.RangeId)
		}
		r := v.Ranges[at]
		for _, p := range r.Range.Desc.Replicas {
			if p.StoreId == req.StoreId && roleName(p.Role) != "learner" && roleName(p.Role) != "outgoing" {
				transfer := &internalpb.TransferLeaderStep{ToReplica: p.ReplicaId}
				return proto.StoreID(r.LeaderStore), &internalpb.AdminRangeRequest{RangeId: req.RangeId,
					Step: &internalpb.AdminRangeRequest_Transfer{Transfer: transfer}}, nil
			}
		}
		return 0, nil, status.Errorf(codes.FailedPrecondition, "store %d has no voter of range %d",
			req.StoreId, req.RangeId)
	}
	if _, err := a.step(ctx, find); err != nil {
		return nil, err
	}
	return &vipkvpb.TransferLeaderResponse{}, nil
}

// SplitRange implements vipkvpb.AdminServer.
func (a *Admin) SplitRange(ctx context.Context, req *vipkvpb.SplitRangeRequest) (
	*vipkvpb.SplitRangeResponse, error) {
	if len(req.Key) == 0 {
		return nil, rpcerr.Invalid("key", "is empty")
	}
	find := func(ctx context.Context) (proto.StoreID, *internalpb.AdminRangeRequest, error) {
		found, err := a.Steps.Lookup(ctx, req.Key, 1)
		if err != nil {
			return 0, nil, fmt.Errorf("split a range: %w", err)
		}
		if len(found) == 0 || !holds(found[0].Desc, req.Key) {
			// A range that was made a moment ago has not reported yet.
			return 0, &internalpb.AdminRangeRequest{}, nil
		}
		step := &internalpb.AdminRangeRequest{RangeId: found[0].Desc.GetRangeId(),
			Step: &internalpb.AdminRangeRequest_Split{Split: &internalpb.SplitStep{Key: req.Key}}}
		return proto.StoreID(found[0].LeaderStore), step, nil
	}
	resp, err := a.step(ctx, find)
	if err != nil {
		return nil, err
	}
	if d := resp.Desc; !bytes.Equal(d.GetStart(), req.Key) {
		return &vipkvpb.SplitRangeResponse{RangeId: d.GetRangeId(), Key: d.GetEnd()}, nil
	}
	return &vipkvpb.SplitRangeResponse{Key: req.Key}, nil // it began there before
}
