package gateway

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"

	"github.com/vipkv/vipkv/kv/tenant"
	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// Cluster shows the placement driver's view.
type Cluster interface {
	View(ctx context.Context) (*internalpb.ClusterViewResponse, error)
}

// Admin serves vipkv.v1.Admin. Who may call it has been checked by Gateway.Unary.
type Admin struct {
	vipkvpb.UnimplementedAdminServer
	Registry *tenant.Registry
	Cluster  Cluster
	Steps    RangeSteps
	Node     uint64 // this node
	Version  string
}

func tenantOf(r *internalpb.TenantRecord, credentials int) *vipkvpb.Tenant {
	return &vipkvpb.Tenant{Id: r.Id, Name: r.Name, State: r.State, CreatedMs: r.CreatedMs,
		Credentials: uint32(credentials)}
}

// CreateTenant implements vipkvpb.AdminServer.
func (a *Admin) CreateTenant(
	ctx context.Context, req *vipkvpb.CreateTenantRequest,
) (*vipkvpb.CreateTenantResponse, error) {
	rec, cred, err := a.Registry.Create(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	return &vipkvpb.CreateTenantResponse{Tenant: tenantOf(rec, 1), Credential: cred.Reveal()}, nil
}

// GetTenant implements vipkvpb.AdminServer.
func (a *Admin) GetTenant(
	ctx context.Context, req *vipkvpb.GetTenantRequest,
) (*vipkvpb.Tenant, error) {
	rec, err := a.Registry.Get(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	creds, err := a.Registry.Credentials(ctx, proto.TenantID(rec.Id))
	if err != nil {
		return nil, err
	}
	return tenantOf(rec, len(creds)), nil
}

// ListTenants implements vipkvpb.AdminServer.
func (a *Admin) ListTenants(
	ctx context.Context, _ *vipkvpb.ListTenantsRequest,
) (*vipkvpb.ListTenantsResponse, error) {
	recs, err := a.Registry.List(ctx)
	if err != nil {
		return nil, err
	}
	counts, err := a.Registry.CredentialCounts(ctx)
	if err != nil {
		return nil, err
	}
	out := &vipkvpb.ListTenantsResponse{}
	for _, r := range recs {
		out.Tenants = append(out.Tenants, tenantOf(r, counts[proto.TenantID(r.Id)]))
	}
	return out, nil
}

// CreateCredential implements vipkvpb.AdminServer.
func (a *Admin) CreateCredential(
	ctx context.Context, req *vipkvpb.CreateCredentialRequest,
) (*vipkvpb.CreateCredentialResponse, error) {
	cred, err := a.Registry.CreateCredential(ctx, req.Tenant)
	if err != nil {
		return nil, err
	}
	return &vipkvpb.CreateCredentialResponse{Credential: cred.Reveal()}, nil
}

func nodesOf(v *internalpb.ClusterViewResponse) (out []*vipkvpb.Node) {
	for _, s := range v.Stores {
		out = append(out, &vipkvpb.Node{Id: s.Node.GetNodeId(), ClientAddress: s.Node.GetClientAddress(),
			PeerAddress: s.Node.GetPeerAddress(), HttpAddress: s.Node.GetHttpAddress(), Locality: s.Node.GetLocality(),
			State: s.State, LastHeartbeatMsAgo: s.LastHeartbeatMsAgo, Replicas: s.Replicas, Leaders: s.Leaders,
			Version: s.Node.GetVersion(), StoreId: s.Store.GetStoreId()})
	}
	return out
}

// ListNodes implements vipkvpb.AdminServer.
func (a *Admin) ListNodes(
	ctx context.Context, _ *vipkvpb.ListNodesRequest,
) (*vipkvpb.ListNodesResponse, error) {
	v, err := a.Cluster.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	return &vipkvpb.ListNodesResponse{Nodes: nodesOf(v)}, nil
}

// listRangesMax bounds a page of ListRanges.
const listRangesMax = 10_000

// ListRanges implements vipkvpb.AdminServer.
func (a *Admin) ListRanges(
	ctx context.Context, req *vipkvpb.ListRangesRequest,
) (*vipkvpb.ListRangesResponse, error) {
	v, err := a.Cluster.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("list ranges: %w", err)
	}
	limit := 1000
	if req.Limit > 0 {
		limit = min(int(req.Limit), listRangesMax)
	}
	out := &vipkvpb.ListRangesResponse{}
	for _, r := range v.Ranges {
		d := r.Range.GetDesc()
		if len(req.After) > 0 && bytes.Compare(d.GetStart(), req.After) <= 0 {
			continue
		}
		if len(out.Ranges) == limit {
			out.Next = out.Ranges[limit-1].Start
			break
		}
		out.Ranges = append(out.Ranges, rangeOf(r))
	}
	return out, nil
}

func rangeOf(r *internalpb.RangeStatus) *vipkvpb.RangeInfo {
	d := r.Range.GetDesc()
	out := &vipkvpb.RangeInfo{Id: d.RangeId, Start: d.Start, End: d.End, EpochVersion: d.Epoch.Version,
		EpochConf: d.Epoch.Conf, LeaderStore: r.LeaderStore, Term: r.Range.Term, Applied: r.Range.Applied,
		Bytes: r.Range.Bytes, Note: r.Note}
	progress := map[uint64]*internalpb.ReplicaProgress{}
	for _, p := range r.Range.Progress {
		progress[p.ReplicaId] = p
	}
	for _, rep := range d.Replicas {
		p := progress[rep.ReplicaId]
		out.Replicas = append(out.Replicas, &vipkvpb.ReplicaInfo{StoreId: rep.StoreId, ReplicaId: rep.ReplicaId,
			Role: roleName(rep.Role), Match: p.GetMatch(), Live: p.GetRecentlyActive()})
	}
	return out
}

func roleName(r internalpb.ReplicaRole) string {
	switch r {
	case internalpb.ReplicaRole_VOTER:
		return "voter"
	case internalpb.ReplicaRole_LEARNER:
		return "learner"
	case internalpb.ReplicaRole_VOTER_INCOMING:
		return "incoming"
	}
	return "outgoing"
}

// wantedReplicas is how many voters a healthy range has, when there are stores enough.
const wantedReplicas = 3

// Status implements vipkvpb.AdminServer.
func (a *Admin) Status(
	ctx context.Context, _ *vipkvpb.StatusRequest,
) (*vipkvpb.StatusResponse, error) {
	v, err := a.Cluster.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	tenants, err := a.Registry.List(ctx)
	if err != nil {
		return nil, err
	}
	out := &vipkvpb.StatusResponse{
		ClusterId: hex.EncodeToString(v.ClusterId), Version: a.Version, AnsweringNode: a.Node,
		PlacementLeaderNode: v.DriverNode, Nodes: nodesOf(v), Ranges: uint32(len(v.Ranges)),
		Tenants: uint32(len(tenants)), Problems: v.Problems}
	live := map[uint64]bool{}
	for _, st := range v.Stores {
		if st.State == "live" {
			live[st.Store.GetStoreId()] = true
		}
	}
	want := min(wantedReplicas, max(1, len(live)-(len(live)+1)%2))
	for _, r := range v.Ranges {
		if r.LeaderStore == 0 {
			out.WithoutLeader++
		}
		if voters(r, live) < want {
			out.UnderReplicated++
		}
	}
	return out, nil
}

// voters counts the replicas that vote, in a joint configuration those of its old half, on live
// stores.
func voters(r *internalpb.RangeStatus, live map[uint64]bool) (n int) {
	for _, rep := range r.Range.GetDesc().GetReplicas() {
		old := rep.Role == internalpb.ReplicaRole_VOTER || rep.Role == internalpb.ReplicaRole_VOTER_OUTGOING
		if old && live[rep.StoreId] {
			n++
		}
	}
	return n
}
