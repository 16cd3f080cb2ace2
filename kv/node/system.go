package node

import (
	"context"
	"crypto/rand"
	"time"

	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/kv/gateway"
	"github.com/vipkv/vipkv/kv/tenant"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/txn"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// reach is how this node's gateway reaches ranges. It implements gateway.Ranges.
type reach struct {
	self      proto.StoreID
	executor  *txn.Executor
	ranges    *rangesServer // of this node
	peers     *peers
	placement *placementClient
}

// Lookup implements gateway.Ranges.
func (r *reach) Lookup(
	ctx context.Context, key []byte, limit int,
) ([]*internalpb.RangeLocation, error) {
	return r.placement.lookup(ctx, key, limit)
}

// Execute implements gateway.Ranges.
func (r *reach) Execute(ctx context.Context, store proto.StoreID, req *internalpb.ExecuteRequest) (
	*internalpb.ExecuteResponse, error) {
	if store == r.self {
		resp, err := r.executor.Execute(ctx, req)
		answering(req, err)
		return resp, err
	}
	conn, err := r.peers.dialStore(store)
	if err != nil {
		return nil, status.Error(codeUnavailable, err.Error())
	}
	resp, err := internalpb.NewRangesClient(conn).Execute(ctx, req)
	return resp, rpcerr.Decode(err)
}

// Step implements gateway.RangeSteps.
func (r *reach) Step(ctx context.Context, store proto.StoreID, req *internalpb.AdminRangeRequest) (
	*internalpb.AdminRangeResponse, error) {
	if store == r.self {
		return r.ranges.step(ctx, req)
	}
	conn, err := r.peers.dialStore(store)
	if err != nil {
		return nil, status.Error(codeUnavailable, err.Error())
	}
	resp, err := internalpb.NewRangesClient(conn).AdminRange(ctx, req)
	return resp, rpcerr.Decode(err)
}

// Endpoint implements gateway.Ranges.
func (r *reach) Endpoint(store proto.StoreID) string {
	return r.peers.nodeOf(store).GetClientAddress()
}

// systemKV is the plain keys of tenant 0 for the registry, from any node. It implements
// tenant.SystemKV.
type systemKV struct{ router *gateway.Router }

func (s systemKV) send(
	ctx context.Context, req *internalpb.ExecuteRequest, keys ...[]byte,
) (*internalpb.ExecuteResponse, error) {
	return s.router.Send(ctx, mvcc.RouteOf(req), req, keys...)
}

// Get implements tenant.SystemKV.
func (s systemKV) Get(
	ctx context.Context, key string,
) (value []byte, version uint64, found bool, err error) {
	resp, err := s.send(ctx, &internalpb.ExecuteRequest{
		Request: &internalpb.ExecuteRequest_Get{Get: &vipkvpb.GetRequest{Key: []byte(key)}}})
	g := resp.GetGet()
	return g.GetValue(), g.GetVersion(), g.GetFound(), err
}

// Scan implements tenant.SystemKV.
func (s systemKV) Scan(ctx context.Context, prefix string) (items []tenant.Item, err error) {
	start, end := []byte(prefix), []byte(prefix)
	end = append(end[:len(end)-1:len(end)-1], end[len(end)-1]+1) // prefixes end with a slash
	req := &vipkvpb.ScanRequest{Start: start, End: end}
	for {
		plan, err := mvcc.NewScanPlan(proto.SystemTenant, req)
		if err != nil {
			return nil, err
		}
		for cmd, ok := plan.Next(); ok; cmd, ok = plan.Next() {
			resp, err := s.router.Send(ctx, cmd.Route, cmd.Request)
			if err != nil {
				return nil, err
			}
			if err := plan.Answer(resp); err != nil {
				return nil, err
			}
		}
		page := plan.Response()
		for _, item := range page.Items {
			items = append(items, tenant.Item{Key: string(item.Key), Value: item.Value, Version: item.Version})
		}
		if len(page.ResumeToken) == 0 {
			return items, nil
		}
		req.ResumeToken = page.ResumeToken
	}
}

// Commit implements tenant.SystemKV.
func (s systemKV) Commit(
	ctx context.Context, conditions []tenant.Condition, mutations []tenant.Mutation,
) error {
	req := &vipkvpb.CommitRequest{RequestId: newRequestID()}
	for _, c := range conditions {
		req.Conditions = append(req.Conditions, &vipkvpb.Condition{Key: []byte(c.Key), Version: c.Version})
	}
	for _, m := range mutations {
		req.Mutations = append(req.Mutations, &vipkvpb.Mutation{Key: []byte(m.Key), Value: m.Value, Delete: m.Delete})
	}
	_, err := s.send(ctx, &internalpb.ExecuteRequest{Request: &internalpb.ExecuteRequest_Commit{Commit: req}})
	return err
}

func newRequestID() *vipkvpb.RequestId {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	return &vipkvpb.RequestId{Id: id, IssuedMs: time.Now().UnixMilli()}
}
