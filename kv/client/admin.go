package client

import (
	"context"

	"google.golang.org/grpc"

	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// Admin is the administrator's calls. They need the cluster's admin credential.
type Admin struct{ c *Client }

// Admin returns the administrator's calls, made with c's credential.
func (c *Client) Admin() *Admin { return &Admin{c} }

// CreateTenant makes a tenant and its first credential, which is shown this once. The name has 1 to 63 of
// a-z 0-9 . _ - and begins with a letter or digit. It fails with the status code AlreadyExists when there is one, and
// with *rpcerr.AmbiguousError when it may have been made; CreateCredential then gives a key to what is there.
func (a *Admin) CreateTenant(ctx context.Context, name string) (tenant *vipkvpb.Tenant, credential string, err error) {
	var res *vipkvpb.CreateTenantResponse
	req := &vipkvpb.CreateTenantRequest{Name: name}
	err = a.c.do(ctx, call{name: "create tenant", writes: true, once: true,
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewAdminClient(conn).CreateTenant(ctx, req, opts...)
			return err
		}})
	return res.GetTenant(), res.GetCredential(), err
}

// GetTenant returns a tenant by name, or fails with the status code NotFound.
func (a *Admin) GetTenant(ctx context.Context, name string) (*vipkvpb.Tenant, error) {
	var res *vipkvpb.Tenant
	req := &vipkvpb.GetTenantRequest{Name: name}
	err := a.c.do(ctx, call{name: "get tenant",
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewAdminClient(conn).GetTenant(ctx, req, opts...)
			return err
		}})
	return res, err
}

// ListTenants returns all tenants.
func (a *Admin) ListTenants(ctx context.Context) ([]*vipkvpb.Tenant, error) {
	var res *vipkvpb.ListTenantsResponse
	err := a.c.do(ctx, call{name: "list tenants",
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewAdminClient(conn).ListTenants(ctx, &vipkvpb.ListTenantsRequest{}, opts...)
			return err
		}})
	return res.GetTenants(), err
}

// CreateCredential makes one more API key for a tenant; it is shown this once. When an attempt is not answered it is
// made again, so a key that nobody knows may be left over.
func (a *Admin) CreateCredential(ctx context.Context, tenant string) (string, error) {
	var res *vipkvpb.CreateCredentialResponse
	req := &vipkvpb.CreateCredentialRequest{Tenant: tenant}
	err := a.c.do(ctx, call{name: "create credential", writes: true,
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewAdminClient(conn).CreateCredential(ctx, req, opts...)
			return err
		}})
	return res.GetCredential(), err
}

// ListNodes returns all nodes.
func (a *Admin) ListNodes(ctx context.Context) ([]*vipkvpb.Node, error) {
	var res *vipkvpb.ListNodesResponse
	err := a.c.do(ctx, call{name: "list nodes",
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewAdminClient(conn).ListNodes(ctx, &vipkvpb.ListNodesRequest{}, opts...)
			return err
		}})
	return res.GetNodes(), err
}

// ListRanges returns a page of at most limit ranges (0: 1,000) whose start keys are greater than after, and where the
// next page begins; empty: no more.
func (a *Admin) ListRanges(ctx context.Context, after []byte, limit int) (
	ranges []*vipkvpb.RangeInfo, next []byte, err error,
) {
	var res *vipkvpb.ListRangesResponse
	req := &vipkvpb.ListRangesRequest{After: after, Limit: uint32(max(limit, 0))}
	err = a.c.do(ctx, call{name: "list ranges",
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewAdminClient(conn).ListRanges(ctx, req, opts...)
			return err
		}})
	return res.GetRanges(), res.GetNext(), err
}

// Status returns the state of the cluster as one node sees it.
func (a *Admin) Status(ctx context.Context) (*vipkvpb.StatusResponse, error) {
	var res *vipkvpb.StatusResponse
	err := a.c.do(ctx, call{name: "status",
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewAdminClient(conn).Status(ctx, &vipkvpb.StatusRequest{}, opts...)
			return err
		}})
	return res, err
}

// TransferLeader hands a range's leadership to its voter on a store. The placement driver may hand it on at any time.
func (a *Admin) TransferLeader(ctx context.Context, rangeID, store uint64) error {
	req := &vipkvpb.TransferLeaderRequest{RangeId: rangeID, StoreId: store}
	return a.c.do(ctx, call{name: "transfer leader", writes: true,
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) error {
			_, err := vipkvpb.NewAdminClient(conn).TransferLeader(ctx, req, opts...)
			return err
		}})
}

// SplitRange splits the range that holds key, a key as ListRanges shows them, and returns the key at which it was
// split: key itself or one soon after it. It fails with the status code FailedPrecondition where no range may be
// split. Calling it again is harmless.
func (a *Admin) SplitRange(ctx context.Context, key []byte) ([]byte, error) {
	var res *vipkvpb.SplitRangeResponse
	req := &vipkvpb.SplitRangeRequest{Key: key}
	err := a.c.do(ctx, call{name: "split range", writes: true,
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewAdminClient(conn).SplitRange(ctx, req, opts...)
			return err
		}})
	return res.GetKey(), err
}
