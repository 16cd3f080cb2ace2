package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/authz"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// batchGetMax bounds the keys of one BatchGet.
const batchGetMax = 1000

// commands turns authorised requests into commands on ranges. What a command touches is checked
// against what was authorised once more, in the form in which it is executed.
type commands struct {
	router *Router
}

// single runs a command whose keys lie in one range for ever: point operations, and streams by
// their tail.
func (c *commands) single(ctx context.Context, a authz.AuthorizedSpan, req *internalpb.ExecuteRequest) (
	*internalpb.ExecuteResponse, error) {
	return c.send(ctx, a, mvcc.RouteOf, req)
}

func (c *commands) send(ctx context.Context, a authz.AuthorizedSpan,
	route func(*internalpb.ExecuteRequest) mvcc.Route, req *internalpb.ExecuteRequest, keys ...[]byte) (
	*internalpb.ExecuteResponse, error) {
	if err := mvcc.Validate(req); err != nil {
		return nil, err
	}
	for _, s := range mvcc.Spans(req) {
		if !a.ContainsSpan(s.Start, s.End) {
			return nil, status.Error(codes.PermissionDenied, "the command touches more than was authorised")
		}
	}
	return c.router.Send(ctx, route(req), req, keys...)
}

func at(key []byte) func(*internalpb.ExecuteRequest) mvcc.Route {
	return func(*internalpb.ExecuteRequest) mvcc.Route { return mvcc.Route{Key: key} }
}

func (c *commands) get(
	ctx context.Context, a authz.AuthorizedSpan, req *vipkvpb.GetRequest,
) (*vipkvpb.GetResponse, error) {
	resp, err := c.single(ctx, a, &internalpb.ExecuteRequest{
		Tenant: uint32(a.Tenant()), Request: &internalpb.ExecuteRequest_Get{Get: req}})
	return resp.GetGet(), err
}

func (c *commands) put(
	ctx context.Context, a authz.AuthorizedSpan, req *vipkvpb.PutRequest,
) (*vipkvpb.PutResponse, error) {
	resp, err := c.single(ctx, a, &internalpb.ExecuteRequest{
		Tenant: uint32(a.Tenant()), Request: &internalpb.ExecuteRequest_Put{Put: req}})
	return resp.GetPut(), err
}

func (c *commands) delete(ctx context.Context, a authz.AuthorizedSpan, req *vipkvpb.DeleteRequest) (
	*vipkvpb.DeleteResponse, error) {
	resp, err := c.single(ctx, a, &internalpb.ExecuteRequest{
		Tenant: uint32(a.Tenant()), Request: &internalpb.ExecuteRequest_Delete{Delete: req}})
	return resp.GetDelete(), err
}

func (c *commands) append(ctx context.Context, a authz.AuthorizedSpan, req *vipkvpb.AppendRequest) (
	*vipkvpb.AppendResponse, error) {
	resp, err := c.single(ctx, a, &internalpb.ExecuteRequest{
		Tenant: uint32(a.Tenant()), Request: &internalpb.ExecuteRequest_Append{Append: req}})
	return resp.GetAppend(), err
}

func (c *commands) head(
	ctx context.Context, a authz.AuthorizedSpan, req *vipkvpb.HeadRequest,
) (*vipkvpb.HeadResponse, error) {
	resp, err := c.single(ctx, a, &internalpb.ExecuteRequest{
		Tenant: uint32(a.Tenant()), Request: &internalpb.ExecuteRequest_Head{Head: req}})
	return resp.GetHead(), err
}

// commit runs on the one range that has all keys.
func (c *commands) commit(ctx context.Context, a authz.AuthorizedSpan, req *vipkvpb.CommitRequest) (
	*vipkvpb.CommitResponse, error) {
	er := &internalpb.ExecuteRequest{Tenant: uint32(a.Tenant()),
		Request: &internalpb.ExecuteRequest_Commit{Commit: req}}
	keys := make([][]byte, 0, len(req.Conditions)+len(req.Mutations))
	for _, cond := range req.Conditions {
		keys = append(keys, mvcc.PlainKey(a.Tenant(), cond.Key))
	}
	for _, m := range req.Mutations {
		keys = append(keys, mvcc.PlainKey(a.Tenant(), m.Key))
	}
	if len(keys) == 0 {
		return nil, rpcerr.Invalid("mutations", "a Commit needs a condition or a mutation")
	}
	resp, err := c.send(ctx, a, at(keys[0]), er, keys...)
	if errors.Is(err, errSeveralRanges) {
		n, err := c.countRanges(ctx, keys)
		if err != nil {
			return nil, err
		}
		return nil, &rpcerr.MultiRangeError{MultiRange: &vipkvpb.MultiRange{Ranges: uint32(n)}}
	}
	return resp.GetCommit(), err
}

func (c *commands) countRanges(ctx context.Context, keys [][]byte) (int, error) {
	ids := map[uint64]bool{}
	for _, k := range keys {
		loc, _, err := c.router.locate(ctx, mvcc.Route{Key: k})
		if err != nil {
			return 0, err
		}
		ids[loc.desc.RangeId] = true
	}
	return max(len(ids), 2), nil
}

// batchGet reads all keys at one timestamp: that of the first range's answer, unless the request
// names one.
func (c *commands) batchGet(ctx context.Context, a authz.AuthorizedSpan, req *vipkvpb.BatchGetRequest) (
	*vipkvpb.BatchGetResponse, error) {
	if len(req.Keys) > batchGetMax {
		return nil, rpcerr.TooLarge("batch of keys", len(req.Keys), batchGetMax)
	}
	out := &vipkvpb.BatchGetResponse{At: req.At}
	found := map[string]*vipkvpb.Item{}
	left, size := req.Keys, 0
	for len(left) > 0 {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		group, rest, err := c.group(ctx, a, left)
		if err != nil {
			return nil, err
		}
		prefixed := make([][]byte, len(group))
		for i, k := range group {
			prefixed[i] = mvcc.PlainKey(a.Tenant(), k)
		}
		er := &internalpb.ExecuteRequest{Tenant: uint32(a.Tenant()), ReadAt: out.At,
			Request: &internalpb.ExecuteRequest_BatchGet{
				BatchGet: &vipkvpb.BatchGetRequest{Keys: group, At: out.At}}}
		resp, err := c.send(ctx, a, at(prefixed[0]), er, prefixed...)
		if errors.Is(err, errSeveralRanges) {
			continue // a split came between; group anew
		}
		if err != nil {
			return nil, err
		}
		out.At = resp.GetBatchGet().GetAt()
		for _, item := range resp.GetBatchGet().GetItems() {
			found[string(item.Key)] = item
			if size += len(item.Key) + len(item.Value); size > mvcc.MaxPageBytes {
				return nil, rpcerr.TooLarge("values of a BatchGet", size, mvcc.MaxPageBytes)
			}
		}
		left = rest
	}
	for _, k := range req.Keys {
		if item := found[string(k)]; item != nil {
			out.Items = append(out.Items, item)
		}
	}
	return out, nil
}

// group takes the keys that lie in the range of the first.
func (c *commands) group(
	ctx context.Context, a authz.AuthorizedSpan, keys [][]byte,
) (group, rest [][]byte, err error) {
	loc, _, err := c.router.locate(ctx, mvcc.Route{Key: mvcc.PlainKey(a.Tenant(), keys[0])})
	if err != nil {
		return nil, nil, err
	}
	for _, k := range keys {
		if loc.holds(mvcc.Route{Key: mvcc.PlainKey(a.Tenant(), k)}) {
			group = append(group, k)
		} else {
			rest = append(rest, k)
		}
	}
	return group, rest, nil
}

// plan is what mvcc's plans have in common.
type plan interface {
	Next() (mvcc.Command, bool)
	Answer(*internalpb.ExecuteResponse) error
}

func (c *commands) run(ctx context.Context, a authz.AuthorizedSpan, p plan) error {
	for {
		cmd, ok := p.Next()
		if !ok {
			return nil
		}
		resp, err := c.send(ctx, a, func(*internalpb.ExecuteRequest) mvcc.Route { return cmd.Route }, cmd.Request)
		if err != nil {
			return err
		}
		if err := p.Answer(resp); err != nil {
			return fmt.Errorf("read over several ranges: %w", err)
		}
	}
}

func (c *commands) scan(
	ctx context.Context, a authz.AuthorizedSpan, req *vipkvpb.ScanRequest,
) (*vipkvpb.ScanResponse, error) {
	p, err := mvcc.NewScanPlan(a.Tenant(), req)
	if err != nil {
		return nil, err
	}
	if err := c.run(ctx, a, p); err != nil {
		return nil, err
	}
	return p.Response(), nil
}

func (c *commands) read(
	ctx context.Context, a authz.AuthorizedSpan, req *vipkvpb.ReadRequest,
) (*vipkvpb.ReadResponse, error) {
	p, err := mvcc.NewReadPlan(a.Tenant(), req)
	if err != nil {
		return nil, err
	}
	if err := c.run(ctx, a, p); err != nil {
		return nil, err
	}
	return p.Response(), nil
}

// truncate answers once the floor has moved; giving the bytes of far ranges back may be left to the
// next one.
func (c *commands) truncate(ctx context.Context, a authz.AuthorizedSpan, req *vipkvpb.TruncateRequest) (
	*vipkvpb.TruncateResponse, error) {
	p, err := mvcc.NewTruncatePlan(a.Tenant(), req)
	if err != nil {
		return nil, err
	}
	if err := c.run(ctx, a, p); err != nil && !p.FloorMoved() {
		return nil, err
	}
	return p.Response(), nil
}

// locateMax bounds the routes of one answer.
const locateMax = 1000

// routes lists where the authorised span lies, clipped to the tenant.
func (c *commands) routes(ctx context.Context, p authz.Principal, a authz.AuthorizedSpan, limit int) (
	[]*vipkvpb.RangeRoute, error) {
	if limit <= 0 {
		limit = 100
	}
	limit = min(limit, locateMax)
	found, err := c.router.cfg.Ranges.Lookup(ctx, a.Start(), limit)
	if err != nil {
		return nil, fmt.Errorf("look ranges up: %w", err)
	}
	var out []*vipkvpb.RangeRoute
	for _, f := range found {
		c.router.insert(f)
		start, end, ok := p.Clip(f.Desc.Start, f.Desc.End)
		if !ok || bytes.Compare(f.Desc.Start, a.End()) >= 0 {
			continue
		}
		r := &vipkvpb.RangeRoute{RangeId: f.Desc.RangeId, EpochVersion: f.Desc.Epoch.Version, Start: start, End: end,
			LeaderEndpoint: c.router.cfg.Ranges.Endpoint(proto.StoreID(f.LeaderStore))}
		for _, rep := range f.Desc.Replicas {
			if e := c.router.cfg.Ranges.Endpoint(proto.StoreID(rep.StoreId)); e != "" {
				r.ReplicaEndpoints = append(r.ReplicaEndpoints, e)
			}
		}
		out = append(out, r)
	}
	return out, nil
}
