package clienttest

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// AdminCredential is every Cluster's admin credential.
const AdminCredential = "admin-credential"

// Call is one attempt that reached a node.
type Call struct {
	Node      int    // index into Endpoints
	Method    string // Put, Append, Locate, ...
	RequestID string // its bytes; empty for reads
	Request   any
}

// Fault decides about a call. A non-nil error is the answer; it may wait for ctx to hang the call.
type Fault func(ctx context.Context, c Call) error

// Cluster is nodes that share one memory.
type Cluster struct {
	tb    testing.TB
	addrs []string

	mu struct {
		sync.Mutex
		servers []*grpc.Server // nil: stopped
		leader  int
		forward bool
		before  Fault
		after   Fault
		calls   []Call
		store   store
	}
}

// Start starts n nodes, which stop with the test. Node 0 leads; the others carry calls out too, as if they forwarded.
func Start(tb testing.TB, n int) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb}
	c.mu.servers = make([]*grpc.Server, n)
	c.mu.forward = true
	c.mu.store = newStore()
	for range n {
		c.addrs = append(c.addrs, "127.0.0.1:0")
	}
	for i := range n {
		c.StartNode(i)
	}
	tb.Cleanup(func() {
		for i := range n {
			c.StopNode(i)
		}
	})
	return c
}

// Endpoints are the nodes' addresses; they stay the same when a node is stopped and started.
func (c *Cluster) Endpoints() []string { return slices.Clone(c.addrs) }

// StopNode closes a node's connections and its listener.
func (c *Cluster) StopNode(i int) {
	c.mu.Lock()
	s := c.mu.servers[i]
	c.mu.servers[i] = nil
	c.mu.Unlock()
	if s != nil {
		s.Stop()
	}
}

// StartNode starts a node that was stopped.
func (c *Cluster) StartNode(i int) {
	l, err := net.Listen("tcp", c.addrs[i])
	if err != nil {
		c.tb.Fatal(err)
	}
	if strings.HasSuffix(c.addrs[i], ":0") {
		c.addrs[i] = l.Addr().String() // the first time; nobody reads it yet
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(c.interceptor(i)), grpc.MaxRecvMsgSize(16<<20))
	n := &node{c}
	vipkvpb.RegisterKVServer(s, &kvServer{node: n})
	vipkvpb.RegisterStreamsServer(s, &streamsServer{node: n})
	vipkvpb.RegisterAdminServer(s, &adminServer{node: n})
	c.mu.Lock()
	c.mu.servers[i] = s
	c.mu.Unlock()
	go s.Serve(l) // ends with StopNode
}

// Lead makes node i the leader. Without forward the other nodes answer NotLeader to calls about data.
func (c *Cluster) Lead(i int, forward bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.leader, c.mu.forward = i, forward
}

// Before sets what decides about calls before they are carried out; nil: nothing does.
func (c *Cluster) Before(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.before = f
}

// After sets what may take the place of the answer to calls that were carried out; nil: nothing does.
func (c *Cluster) After(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.after = f
}

// Calls returns the calls of a method so far; of all when it is empty.
func (c *Cluster) Calls(method string) []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.mu.calls), func(x Call) bool {
		return method != "" && x.Method != method
	})
}

// Tenant makes a tenant and returns its credential.
func (c *Cluster) Tenant(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, credential, err := c.mu.store.createTenant(name)
	if err != nil {
		c.tb.Fatal(err)
	}
	return credential
}

func (c *Cluster) interceptor(i int) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		call := Call{Node: i, Method: info.FullMethod[strings.LastIndexByte(info.FullMethod, '/')+1:], Request: req}
		if r, ok := req.(interface{ GetRequestId() *vipkvpb.RequestId }); ok {
			call.RequestID = string(r.GetRequestId().GetId())
		}
		c.mu.Lock()
		c.mu.calls = append(c.mu.calls, call)
		before, after := c.mu.before, c.mu.after
		refuse := !c.mu.forward && i != c.mu.leader && call.Method != "Locate" &&
			!strings.Contains(info.FullMethod, "Admin")
		hint := c.addrs[c.mu.leader]
		c.mu.Unlock()
		if before != nil {
			if err := before(ctx, call); err != nil {
				return nil, rpcerr.Encode(err)
			}
		}
		if refuse {
			return nil, rpcerr.Encode(&rpcerr.NotLeaderError{
				NotLeader: &vipkvpb.NotLeader{RangeId: 2, LeaderEndpoint: hint}})
		}
		res, err := h(ctx, req)
		if after != nil {
			if err := after(ctx, call); err != nil {
				return nil, rpcerr.Encode(err)
			}
		}
		return res, rpcerr.Encode(err)
	}
}

// node is what the services share.
type node struct{ c *Cluster }

// locked calls f with the caller's tenant under the lock.
func (n *node) locked(ctx context.Context, f func(s *store, t *tenant) error) error {
	md, _ := metadata.FromIncomingContext(ctx)
	credential, ok := strings.CutPrefix(strings.Join(md.Get("authorization"), ","), "Bearer ")
	if !ok {
		return status.Error(codes.Unauthenticated, "no credential")
	}
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	s := &n.c.mu.store
	if credential == AdminCredential {
		return f(s, nil)
	}
	for _, t := range s.tenants {
		if slices.Contains(t.credentials, credential) {
			return f(s, t)
		}
	}
	return status.Error(codes.Unauthenticated, "unknown credential")
}

// data is locked for a tenant's calls.
func (n *node) data(ctx context.Context, f func(s *store, t *tenant) error) error {
	return n.locked(ctx, func(s *store, t *tenant) error {
		if t == nil {
			return status.Error(codes.PermissionDenied, "the admin credential has no data")
		}
		return f(s, t)
	})
}

// admin is locked for the administrator's calls.
func (n *node) admin(ctx context.Context, f func(s *store) error) error {
	return n.locked(ctx, func(s *store, t *tenant) error {
		if t != nil {
			return status.Error(codes.PermissionDenied, "not the admin credential")
		}
		return f(s)
	})
}
