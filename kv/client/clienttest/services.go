package clienttest

import (
	"bytes"
	"context"
	"slices"
	"sort"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

type kvServer struct {
	vipkvpb.UnimplementedKVServer
	*node
}

func (n *kvServer) Get(ctx context.Context, r *vipkvpb.GetRequest) (res *vipkvpb.GetResponse, err error) {
	err = n.data(ctx, func(_ *store, t *tenant) error {
		res = &vipkvpb.GetResponse{}
		if item := t.keys[string(r.Key)]; item != nil {
			res.Found, res.Value, res.Version, res.ExpiresMs = true, item.Value, item.Version, item.ExpiresMs
		}
		return nil
	})
	return res, err
}

func (n *kvServer) BatchGet(ctx context.Context, r *vipkvpb.BatchGetRequest) (
	res *vipkvpb.BatchGetResponse, err error,
) {
	err = n.data(ctx, func(s *store, t *tenant) error {
		res = &vipkvpb.BatchGetResponse{At: s.version}
		for _, k := range r.Keys {
			if item := t.keys[string(k)]; item != nil {
				res.Items = append(res.Items, item)
			}
		}
		return nil
	})
	return res, err
}

func (n *kvServer) Scan(ctx context.Context, r *vipkvpb.ScanRequest) (res *vipkvpb.ScanResponse, err error) {
	err = n.data(ctx, func(s *store, t *tenant) error {
		res = &vipkvpb.ScanResponse{At: s.version}
		all := t.span(r.Start, r.End)
		if r.Reverse {
			slices.Reverse(all)
		}
		for _, item := range all {
			past := bytes.Compare(item.Key, r.ResumeToken) <= 0
			if r.Reverse {
				past = bytes.Compare(item.Key, r.ResumeToken) >= 0
			}
			if len(r.ResumeToken) > 0 && past {
				continue
			}
			if r.Limit > 0 && len(res.Items) == int(r.Limit) {
				res.ResumeToken = res.Items[len(res.Items)-1].Key
				break
			}
			res.Items = append(res.Items, item)
		}
		return nil
	})
	return res, err
}

func (n *kvServer) Put(ctx context.Context, r *vipkvpb.PutRequest) (res *vipkvpb.PutResponse, err error) {
	err = n.data(ctx, func(s *store, t *tenant) (err error) {
		var dup bool
		res, dup, err = once(t, r, func() (*vipkvpb.PutResponse, error) {
			have := t.versionOf(r.Key)
			if (r.IfAbsent && have != 0) || (r.IfVersion != 0 && r.IfVersion != have) {
				return nil, conditionFailed(0, have)
			}
			t.keys[string(r.Key)] = &vipkvpb.Item{Key: r.Key, Value: r.Value, Version: s.next()}
			return &vipkvpb.PutResponse{Version: s.version}, nil
		})
		if dup {
			res.Duplicate = true
		}
		return err
	})
	return res, err
}

func (n *kvServer) Delete(ctx context.Context, r *vipkvpb.DeleteRequest) (res *vipkvpb.DeleteResponse, err error) {
	err = n.data(ctx, func(s *store, t *tenant) (err error) {
		var dup bool
		res, dup, err = once(t, r, func() (*vipkvpb.DeleteResponse, error) {
			if have := t.versionOf(r.Key); r.IfVersion != 0 && r.IfVersion != have {
				return nil, conditionFailed(0, have)
			}
			delete(t.keys, string(r.Key))
			return &vipkvpb.DeleteResponse{Version: s.next()}, nil
		})
		if dup {
			res.Duplicate = true
		}
		return err
	})
	return res, err
}

func (n *kvServer) Commit(ctx context.Context, r *vipkvpb.CommitRequest) (res *vipkvpb.CommitResponse, err error) {
	err = n.data(ctx, func(s *store, t *tenant) (err error) {
		var dup bool
		res, dup, err = once(t, r, func() (*vipkvpb.CommitResponse, error) {
			for i, c := range r.Conditions {
				if have := t.versionOf(c.Key); have != c.Version {
					return nil, conditionFailed(i, have)
				}
			}
			version := s.next()
			for _, m := range r.Mutations {
				delete(t.keys, string(m.Key))
				if !m.Delete {
					t.keys[string(m.Key)] = &vipkvpb.Item{Key: m.Key, Value: m.Value, Version: version}
				}
			}
			return &vipkvpb.CommitResponse{Version: version}, nil
		})
		if dup {
			res.Duplicate = true
		}
		return err
	})
	return res, err
}

func (n *kvServer) Locate(ctx context.Context, _ *vipkvpb.LocateRequest) (res *vipkvpb.LocateResponse, err error) {
	err = n.data(ctx, func(*store, *tenant) error {
		res = &vipkvpb.LocateResponse{Ranges: []*vipkvpb.RangeRoute{{
			RangeId: 2, EpochVersion: 1, LeaderEndpoint: n.c.addrs[n.c.mu.leader], ReplicaEndpoints: n.c.addrs,
		}}}
		return nil
	})
	return res, err
}

type streamsServer struct {
	vipkvpb.UnimplementedStreamsServer
	*node
}

func conflict(s *stream, reason string) error {
	h := s.head()
	return &rpcerr.StreamConflictError{StreamConflict: &vipkvpb.StreamConflict{
		LastSeq: h.LastSeq, Epoch: h.Epoch, Reason: reason}}
}

func (n *streamsServer) Append(ctx context.Context, r *vipkvpb.AppendRequest) (res *vipkvpb.AppendResponse, err error) {
	err = n.data(ctx, func(s *store, t *tenant) (err error) {
		var dup bool
		res, dup, err = once(t, r, func() (*vipkvpb.AppendResponse, error) { return appendRecords(s, t, r) })
		if dup {
			res.Duplicate = true
		}
		return err
	})
	return res, err
}

func appendRecords(s *store, t *tenant, r *vipkvpb.AppendRequest) (*vipkvpb.AppendResponse, error) {
	if len(r.Records) == 0 || len(r.Stream) == 0 {
		return nil, rpcerr.Invalid("records", "none")
	}
	st := t.streams[string(r.Stream)]
	h := st.head()
	if r.ExpectLastSeq != nil && *r.ExpectLastSeq != h.LastSeq {
		return nil, conflict(st, "the last sequence number is another")
	}
	if len(r.ExpectEpoch) > 0 && !bytes.Equal(r.ExpectEpoch, h.Epoch) {
		return nil, conflict(st, "the epoch is another")
	}
	if st == nil {
		st = &stream{epoch: bytes.Repeat([]byte{byte(len(t.streams) + 1)}, 16), floor: 1}
		t.streams[string(r.Stream)] = st
	}
	version := s.next()
	for _, rec := range r.Records {
		st.records = append(st.records, &vipkvpb.Record{
			Seq: uint64(len(st.records) + 1), ClientId: rec.ClientId, Body: rec.Body, Version: version})
	}
	return &vipkvpb.AppendResponse{
		FirstSeq: h.LastSeq + 1, LastSeq: h.LastSeq + uint64(len(r.Records)), Epoch: st.epoch, Version: version,
	}, nil
}

func (n *streamsServer) Read(ctx context.Context, r *vipkvpb.ReadRequest) (res *vipkvpb.ReadResponse, err error) {
	err = n.data(ctx, func(_ *store, t *tenant) error {
		st := t.streams[string(r.Stream)]
		res = &vipkvpb.ReadResponse{Head: st.head()}
		if st == nil {
			return nil
		}
		var out []*vipkvpb.Record
		for _, rec := range st.records {
			if rec.Seq >= st.floor && rec.Seq > r.AfterSeq && (r.BeforeSeq == 0 || rec.Seq < r.BeforeSeq) {
				out = append(out, rec)
			}
		}
		if r.Reverse {
			slices.Reverse(out)
		}
		limit := int(r.Limit)
		if limit == 0 {
			limit = 100
		}
		res.More = len(out) > limit
		res.Records = out[:min(limit, len(out))]
		return nil
	})
	return res, err
}

func (n *streamsServer) Truncate(ctx context.Context, r *vipkvpb.TruncateRequest) (
	res *vipkvpb.TruncateResponse, err error,
) {
	err = n.data(ctx, func(_ *store, t *tenant) error {
		st := t.streams[string(r.Stream)]
		if st == nil {
			return status.Error(codes.NotFound, "no such stream")
		}
		st.floor = max(st.floor, min(r.BeforeSeq, uint64(len(st.records)+1)))
		res = &vipkvpb.TruncateResponse{FloorSeq: st.floor}
		return nil
	})
	return res, err
}

func (n *streamsServer) Head(ctx context.Context, r *vipkvpb.HeadRequest) (res *vipkvpb.HeadResponse, err error) {
	err = n.data(ctx, func(_ *store, t *tenant) error {
		res = t.streams[string(r.Stream)].head()
		return nil
	})
	return res, err
}

type adminServer struct {
	vipkvpb.UnimplementedAdminServer
	*node
}

func (n *adminServer) CreateTenant(ctx context.Context, r *vipkvpb.CreateTenantRequest) (
	res *vipkvpb.CreateTenantResponse, err error,
) {
	err = n.admin(ctx, func(s *store) error {
		t, credential, err := s.createTenant(r.Name)
		if err == nil {
			res = &vipkvpb.CreateTenantResponse{Tenant: proto.CloneOf(t.pb), Credential: credential}
		}
		return err
	})
	return res, err
}

func (n *adminServer) GetTenant(ctx context.Context, r *vipkvpb.GetTenantRequest) (res *vipkvpb.Tenant, err error) {
	err = n.admin(ctx, func(s *store) error {
		t := s.tenants[r.Name]
		if t == nil {
			return status.Error(codes.NotFound, "no such tenant")
		}
		res = proto.CloneOf(t.pb)
		return nil
	})
	return res, err
}

func (n *adminServer) ListTenants(ctx context.Context, _ *vipkvpb.ListTenantsRequest) (
	res *vipkvpb.ListTenantsResponse, err error,
) {
	err = n.admin(ctx, func(s *store) error {
		res = &vipkvpb.ListTenantsResponse{}
		for _, t := range s.tenants {
			res.Tenants = append(res.Tenants, proto.CloneOf(t.pb))
		}
		sort.Slice(res.Tenants, func(i, j int) bool { return res.Tenants[i].Id < res.Tenants[j].Id })
		return nil
	})
	return res, err
}

func (n *adminServer) CreateCredential(ctx context.Context, r *vipkvpb.CreateCredentialRequest) (
	res *vipkvpb.CreateCredentialResponse, err error,
) {
	err = n.admin(ctx, func(s *store) error {
		t := s.tenants[r.Tenant]
		if t == nil {
			return status.Error(codes.NotFound, "no such tenant")
		}
		res = &vipkvpb.CreateCredentialResponse{Credential: s.createCredential(t)}
		return nil
	})
	return res, err
}

func (n *adminServer) nodes() (out []*vipkvpb.Node) {
	for i, addr := range n.c.addrs {
		state := "live"
		if n.c.mu.servers[i] == nil {
			state = "lost"
		}
		out = append(out, &vipkvpb.Node{
			Id: uint64(i + 1), ClientAddress: addr, State: state, Replicas: 2, Version: "test"})
	}
	return out
}

func (n *adminServer) ListNodes(ctx context.Context, _ *vipkvpb.ListNodesRequest) (
	res *vipkvpb.ListNodesResponse, err error,
) {
	err = n.admin(ctx, func(*store) error {
		res = &vipkvpb.ListNodesResponse{Nodes: n.nodes()}
		return nil
	})
	return res, err
}

func (n *adminServer) ListRanges(ctx context.Context, r *vipkvpb.ListRangesRequest) (
	res *vipkvpb.ListRangesResponse, err error,
) {
	err = n.admin(ctx, func(*store) error {
		res = &vipkvpb.ListRangesResponse{}
		if len(r.After) == 0 {
			res.Ranges = []*vipkvpb.RangeInfo{{
				Id: 2, Start: []byte{0, 0, 0, 1}, EpochVersion: 1, LeaderStore: uint64(n.c.mu.leader + 1)}}
		}
		return nil
	})
	return res, err
}

func (n *adminServer) Status(ctx context.Context, _ *vipkvpb.StatusRequest) (
	res *vipkvpb.StatusResponse, err error,
) {
	err = n.admin(ctx, func(s *store) error {
		res = &vipkvpb.StatusResponse{
			ClusterId: "test", Version: "test", Nodes: n.nodes(), Ranges: 1, Tenants: uint32(len(s.tenants)),
		}
		return nil
	})
	return res, err
}
