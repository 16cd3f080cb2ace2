package gateway

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/authz"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// roles authenticates "tenant N" and "admin".
type roles struct{ t *testing.T }

func (r roles) Authenticate(_ context.Context, credential string) (authz.Principal, error) {
	tenant, role := proto.SystemTenant, authz.RoleAdmin
	switch {
	case credential == "admin":
	case strings.HasPrefix(credential, "tenant"):
		tenant, role = proto.TenantID(credential[len("tenant")]-'0'), authz.RoleTenant
	default:
		return authz.Principal{}, status.Error(codes.Unauthenticated, "who are you?")
	}
	p, err := authz.NewPrincipal(tenant, role)
	if err != nil {
		r.t.Fatal(err)
	}
	return p, nil
}

func testGateway(t *testing.T, f *fakeRanges) *Gateway {
	return New(Config{Router: testRouter(f), Authenticator: roles{t}, Logger: slog.New(slog.DiscardHandler),
		Active:     func(context.Context, proto.TenantID) error { return nil },
		Registerer: prometheus.NewRegistry(), RequestsMax: 1, DeadlineMax: time.Second,
		NowMs: func() int64 { return 1 }})
}

func as(credential string) context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs("authorization", "Bearer "+credential))
}

// Nobody gets past the interceptor without a credential that is good for the method.
func TestAdmission(t *testing.T) {
	for _, c := range []struct {
		credential, method string
		want               codes.Code
	}{
		{"", vipkvpb.KV_Get_FullMethodName, codes.Unauthenticated},
		{"wrong", vipkvpb.KV_Get_FullMethodName, codes.Unauthenticated},
		{"tenant1", vipkvpb.KV_Get_FullMethodName, codes.OK},
		{"tenant1", vipkvpb.Admin_CreateTenant_FullMethodName, codes.PermissionDenied},
		{"admin", vipkvpb.Admin_CreateTenant_FullMethodName, codes.OK},
		{"admin", vipkvpb.KV_Get_FullMethodName, codes.PermissionDenied},
		{"tenant1", "/vipkv.v1.KV/NotThere", codes.PermissionDenied},
		{"tenant1", "vipkv.v1.KV/Get", codes.PermissionDenied},
		{"", "/grpc.health.v1.Health/Check", codes.OK},
	} {
		g := testGateway(t, &fakeRanges{})
		handler := func(context.Context, any) (any, error) { return nil, nil }
		_, err := g.Unary(as(c.credential), nil, &grpc.UnaryServerInfo{FullMethod: c.method}, handler)
		if status.Code(err) != c.want {
			t.Errorf("%q calls %s: %v, want %v", c.credential, c.method, err, c.want)
		}
	}
}

// A node that is full says so at once, with a time to come back; a panic is one request's error.
func TestFullAndPanic(t *testing.T) {
	g := testGateway(t, &fakeRanges{})
	info := &grpc.UnaryServerInfo{FullMethod: vipkvpb.KV_Get_FullMethodName}
	var inner error
	_, err := g.Unary(as("tenant1"), nil, info, func(ctx context.Context, _ any) (any, error) {
		_, inner = g.Unary(as("tenant1"), nil, info, func(context.Context, any) (any, error) { return nil, nil })
		return nil, nil
	})
	var throttled *rpcerr.ThrottledError
	if err != nil || !errors.As(rpcerr.Decode(inner), &throttled) || throttled.RetryAfterMs == 0 {
		t.Errorf("the request: %v; one more: %v", err, inner)
	}
	_, err = g.Unary(as("tenant1"), nil, info, func(context.Context, any) (any, error) { panic("secret") })
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("after a panic: %v", err)
	}
	_, err = g.Unary(as("tenant1"), nil, info, func(context.Context, any) (any, error) {
		return nil, errors.New("range 7 of another tenant")
	})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "range 7") {
		t.Errorf("an internal error's text went out: %v", err)
	}
}

// The tenant of a command is that of the credential: two tenants that name the same key never meet.
func TestTenantComesFromTheCredential(t *testing.T) {
	f := &fakeRanges{ranges: []*internalpb.RangeLocation{located(2, "", "", 1, 1)}}
	var tenants []uint32
	f.execute = func(_ proto.StoreID, req *internalpb.ExecuteRequest) error {
		tenants = append(tenants, req.Tenant)
		return nil
	}
	g := testGateway(t, f)
	for _, who := range []string{"tenant1", "tenant2"} {
		_, err := g.Unary(as(who), nil, &grpc.UnaryServerInfo{FullMethod: vipkvpb.KV_Put_FullMethodName},
			func(ctx context.Context, _ any) (any, error) {
				return g.Put(ctx, &vipkvpb.PutRequest{Key: []byte("\x00\x00\x00\x02kx"), Value: []byte("v")})
			})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(tenants) != 2 || tenants[0] != 1 || tenants[1] != 2 {
		t.Errorf("the commands were of tenants %v", tenants)
	}
	for i, id := range f.ids {
		if len(id) != 16 {
			t.Errorf("write %d was sent without a request id", i)
		}
	}
}

// A request over the limit is refused with the limit in the error.
func TestRequestTooLarge(t *testing.T) {
	g := testGateway(t, &fakeRanges{})
	req := &vipkvpb.PutRequest{Key: []byte("k"), Value: make([]byte, RequestBytesMax)}
	_, err := g.Unary(as("tenant1"), req, &grpc.UnaryServerInfo{FullMethod: vipkvpb.KV_Put_FullMethodName},
		func(context.Context, any) (any, error) { return nil, nil })
	var large *rpcerr.TooLargeError
	if !errors.As(rpcerr.Decode(err), &large) || large.Limit != RequestBytesMax {
		t.Errorf("got %v", err)
	}
}
