package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/authz"
	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/proto/wait"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// Authenticator turns a credential into a principal. Its errors carry the gRPC code
// Unauthenticated, or say that it could not be checked now.
type Authenticator interface {
	Authenticate(ctx context.Context, credential string) (authz.Principal, error)
}

// RequestBytesMax is the size of the largest request, encoded. The server's own limit has to lie above it, so that the
// caller gets a typed error.
const RequestBytesMax = 4 << 20

// Config of a Gateway.
type Config struct {
	Router        *Router
	Authenticator Authenticator
	// Active says whether a tenant may be served. Nil error: yes.
	Active func(ctx context.Context, t proto.TenantID) error
	Logger *slog.Logger
	// Registerer takes the metrics.
	Registerer prometheus.Registerer
	// RequestsMax bounds requests in progress; above, they are refused at once as throttled. Default
	// 4,096.
	RequestsMax int
	// DeadlineMax bounds every request. Default 60 s.
	DeadlineMax time.Duration
	// NowMs is the wall clock, for request ids of callers that sent none.
	NowMs func() int64
	// Wait is how requests are bounded. Default wait.Real.
	Wait wait.Scheduler
}

// Gateway is the front door: it authenticates, authorises, admits, and carries out requests by
// commands on ranges.
type Gateway struct {
	vipkvpb.UnimplementedKVServer
	vipkvpb.UnimplementedStreamsServer
	cfg     Config
	cmds    *commands
	slots   chan struct{}
	latency *prometheus.HistogramVec
}

// New returns a gateway.
func New(cfg Config) *Gateway {
	cfg.Wait = wait.Or(cfg.Wait)
	g := &Gateway{cfg: cfg, cmds: &commands{router: cfg.Router}, slots: make(chan struct{}, cfg.RequestsMax),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "vipkv_gateway_request_seconds", Help: "Time of a request, by method and status code.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 16)}, []string{"method", "code"})}
	cfg.Registerer.MustRegister(g.latency)
	return g
}

// Register adds the tenants' services to a server.
func (g *Gateway) Register(s grpc.ServiceRegistrar) {
	vipkvpb.RegisterKVServer(s, g)
	vipkvpb.RegisterStreamsServer(s, g)
}

type principalKey struct{}

// principal is who calls; the interceptor has put it there.
func principal(ctx context.Context) authz.Principal {
	p, _ := ctx.Value(principalKey{}).(authz.Principal)
	return p
}

// Unary is the interceptor of all unary calls on the client port, Admin's included.
func (g *Gateway) Unary(
	ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler,
) (resp any, err error) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			g.cfg.Logger.Error("a request panicked", "method", info.FullMethod, "panic", p, "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "internal error")
		}
		g.latency.WithLabelValues(info.FullMethod, status.Code(err).String()).Observe(time.Since(start).Seconds())
	}()
	ctx, cancel := g.cfg.Wait.WithTimeout(ctx, g.cfg.DeadlineMax)
	defer cancel()
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	default:
		return nil, rpcerr.Encode(rpcerr.Throttled("the node works on as many requests as it may", 50*time.Millisecond))
	}
	ctx, err = g.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, rpcerr.Encode(err)
	}
	if m, ok := req.(gproto.Message); ok && gproto.Size(m) > RequestBytesMax {
		return nil, rpcerr.Encode(rpcerr.TooLarge("request", gproto.Size(m), RequestBytesMax))
	}
	resp, err = h(ctx, req)
	if err != nil {
		return nil, g.outward(info.FullMethod, err)
	}
	return resp, nil
}

// Stream is the interceptor of streams: health's Watch and reflection.
func (g *Gateway) Stream(
	srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, h grpc.StreamHandler,
) error {
	if _, err := g.admit(ss.Context(), info.FullMethod); err != nil {
		return rpcerr.Encode(err)
	}
	return h(srv, ss)
}

// outward encodes an error for the caller. What is not in the error table and has no status is an
// internal error: its text may name other tenants' ranges, so it goes to the log only.
func (g *Gateway) outward(method string, err error) error {
	enc := rpcerr.Encode(err)
	var table rpcerr.Error
	if status.Code(enc) == codes.Internal && !errors.As(err, &table) {
		g.cfg.Logger.Error("a request failed", "method", method, "error", err)
		return status.Error(codes.Internal, "internal error; the node's log has the cause")
	}
	return enc
}

// admit finds out who calls and whether they may call this at all.
func (g *Gateway) admit(ctx context.Context, method string) (context.Context, error) {
	if authz.Public(method) {
		return ctx, nil
	}
	p, err := g.cfg.Authenticator.Authenticate(ctx, bearer(ctx))
	if err != nil {
		return nil, err
	}
	if err := authz.Check(p, method); err != nil {
		return nil, err
	}
	if p.Role() == authz.RoleTenant {
		if err := g.cfg.Active(ctx, p.Tenant()); err != nil {
			return nil, err
		}
	}
	return context.WithValue(ctx, principalKey{}, p), nil
}

func bearer(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get("authorization"); len(v) == 1 {
		if token, ok := strings.CutPrefix(v[0], "Bearer "); ok {
			return token
		}
	}
	return ""
}

// id gives a write that came without a request id one of its own, so that the gateway itself may
// try it again.
func (g *Gateway) id(id *vipkvpb.RequestId) *vipkvpb.RequestId {
	if id != nil {
		return id
	}
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return &vipkvpb.RequestId{Id: b, IssuedMs: g.cfg.NowMs()}
}

func plain(
	ctx context.Context, method string, actions authz.Action, t authz.Target,
) (authz.AuthorizedSpan, error) {
	return authz.Authorize(principal(ctx), method, actions, t)
}

func stream(
	ctx context.Context, method string, actions authz.Action, name []byte,
) (authz.AuthorizedSpan, error) {
	p := principal(ctx)
	prefix := mvcc.StreamPrefix(p.Tenant(), name)
	return authz.Authorize(p, method, actions, authz.Prefix(authz.SpaceStreams, prefix[len(mvcc.TenantPrefix(0))+1:]))
}

// Get implements vipkvpb.KVServer.
func (g *Gateway) Get(ctx context.Context, req *vipkvpb.GetRequest) (*vipkvpb.GetResponse, error) {
	a, err := plain(ctx, vipkvpb.KV_Get_FullMethodName, authz.Get, authz.Point(authz.SpaceKeys, req.Key))
	if err != nil {
		return nil, err
	}
	return g.cmds.get(ctx, a, req)
}

// BatchGet implements vipkvpb.KVServer.
func (g *Gateway) BatchGet(
	ctx context.Context, req *vipkvpb.BatchGetRequest,
) (*vipkvpb.BatchGetResponse, error) {
	a, err := plain(ctx, vipkvpb.KV_BatchGet_FullMethodName, authz.Get, authz.All(authz.SpaceKeys))
	if err != nil {
		return nil, err
	}
	return g.cmds.batchGet(ctx, a, req)
}

// Scan implements vipkvpb.KVServer.
func (g *Gateway) Scan(
	ctx context.Context, req *vipkvpb.ScanRequest,
) (*vipkvpb.ScanResponse, error) {
	target := authz.From(authz.SpaceKeys, req.Start)
	if len(req.End) > 0 {
		target = authz.Span(authz.SpaceKeys, req.Start, req.End)
	}
	a, err := plain(ctx, vipkvpb.KV_Scan_FullMethodName, authz.Scan, target)
	if err != nil {
		return nil, err
	}
	return g.cmds.scan(ctx, a, req)
}

// Put implements vipkvpb.KVServer.
func (g *Gateway) Put(ctx context.Context, req *vipkvpb.PutRequest) (*vipkvpb.PutResponse, error) {
	a, err := plain(ctx, vipkvpb.KV_Put_FullMethodName, authz.Put|authz.Get, authz.Point(authz.SpaceKeys, req.Key))
	if err != nil {
		return nil, err
	}
	req.RequestId = g.id(req.RequestId)
	return g.cmds.put(ctx, a, req)
}

// Delete implements vipkvpb.KVServer.
func (g *Gateway) Delete(
	ctx context.Context, req *vipkvpb.DeleteRequest,
) (*vipkvpb.DeleteResponse, error) {
	a, err := plain(ctx, vipkvpb.KV_Delete_FullMethodName, authz.Delete|authz.Get, authz.Point(authz.SpaceKeys, req.Key))
	if err != nil {
		return nil, err
	}
	req.RequestId = g.id(req.RequestId)
	return g.cmds.delete(ctx, a, req)
}

// Commit implements vipkvpb.KVServer.
func (g *Gateway) Commit(
	ctx context.Context, req *vipkvpb.CommitRequest,
) (*vipkvpb.CommitResponse, error) {
	a, err := plain(ctx, vipkvpb.KV_Commit_FullMethodName, authz.Put|authz.Delete|authz.Get, authz.All(authz.SpaceKeys))
	if err != nil {
		return nil, err
	}
	req.RequestId = g.id(req.RequestId)
	return g.cmds.commit(ctx, a, req)
}

// Locate implements vipkvpb.KVServer.
func (g *Gateway) Locate(
	ctx context.Context, req *vipkvpb.LocateRequest,
) (*vipkvpb.LocateResponse, error) {
	a, err := plain(ctx, vipkvpb.KV_Locate_FullMethodName, authz.Locate, authz.Routing(req.Start, req.End))
	if err != nil {
		return nil, err
	}
	routes, err := g.cmds.routes(ctx, principal(ctx), a, int(req.Limit))
	if err != nil {
		return nil, err
	}
	return &vipkvpb.LocateResponse{Ranges: routes}, nil
}

// Append implements vipkvpb.StreamsServer.
func (g *Gateway) Append(
	ctx context.Context, req *vipkvpb.AppendRequest,
) (*vipkvpb.AppendResponse, error) {
	a, err := stream(ctx, vipkvpb.Streams_Append_FullMethodName, authz.Append|authz.Get, req.Stream)
	if err != nil {
		return nil, err
	}
	req.RequestId = g.id(req.RequestId)
	return g.cmds.append(ctx, a, req)
}

// Read implements vipkvpb.StreamsServer.
func (g *Gateway) Read(
	ctx context.Context, req *vipkvpb.ReadRequest,
) (*vipkvpb.ReadResponse, error) {
	a, err := stream(ctx, vipkvpb.Streams_Read_FullMethodName, authz.Get, req.Stream)
	if err != nil {
		return nil, err
	}
	return g.cmds.read(ctx, a, req)
}

// Truncate implements vipkvpb.StreamsServer.
func (g *Gateway) Truncate(
	ctx context.Context, req *vipkvpb.TruncateRequest,
) (*vipkvpb.TruncateResponse, error) {
	a, err := stream(ctx, vipkvpb.Streams_Truncate_FullMethodName, authz.Truncate|authz.Get, req.Stream)
	if err != nil {
		return nil, err
	}
	req.RequestId = g.id(req.RequestId)
	return g.cmds.truncate(ctx, a, req)
}

// Head implements vipkvpb.StreamsServer.
func (g *Gateway) Head(
	ctx context.Context, req *vipkvpb.HeadRequest,
) (*vipkvpb.HeadResponse, error) {
	a, err := stream(ctx, vipkvpb.Streams_Head_FullMethodName, authz.Get, req.Stream)
	if err != nil {
		return nil, err
	}
	return g.cmds.head(ctx, a, req)
}
