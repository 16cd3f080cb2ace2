package client

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/proto/wait"
)

// ErrNotFound is returned by Get for a key that does not exist.
var ErrNotFound = errors.New("not found")

// Options of a Client.
type Options struct {
	// Endpoints are host:port addresses of nodes; one that answers is enough. Required.
	Endpoints []string
	// Credential is the API key of a tenant, or the cluster's admin credential.
	Credential string
	// Insecure allows plaintext connections to addresses that are not loopback. Everybody on the path can then read
	// the credential and the data.
	Insecure bool
	// Timeout bounds one call with all its retries; a context with an earlier deadline bounds it further. Default:
	// 10 s.
	Timeout time.Duration
	// AttemptTimeout bounds one attempt while there are other endpoints to try, so that a node that hangs costs no
	// more. It doubles when all endpoints were in vain. Default: 1 s.
	AttemptTimeout time.Duration
	// Dial makes the connections, for instance through a tunnel or, in tests, over a network in memory. It must end with
	// its context. Default: TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// World, for a simulation, stands for network, clock and chance. Default: the real ones.
	World *World
}

// World is what a Client has around it.
type World struct {
	// Connect returns the connection to an address. It does not wait.
	Connect func(addr string) (grpc.ClientConnInterface, error)
	Wait    wait.Scheduler
	// Now is a clock that runs evenly, that of contexts' deadlines; Wall is the one in request ids, which the cluster
	// compares with its own time.
	Now, Wall func() time.Time
	// Draw returns a number from [0, n).
	Draw func(n int64) int64
}

func realWorld() *World {
	return &World{Wait: wait.Real{}, Now: time.Now, Wall: time.Now,
		Draw: func(n int64) int64 { return mathrand.N(n) }}
}

// Client talks to a cluster as one tenant, or as its administrator. Safe for concurrent use.
type Client struct {
	// Immutable after Open.
	opts   Options
	pool   *pool
	routes *routeCache
	shared bool // the pool belongs to the Client that WithCredential was called on
}

// Open makes a client. It checks the options and starts to connect; it does not wait for a node, so a cluster that is
// down is seen by the first call.
func Open(ctx context.Context, o Options) (*Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(o.Endpoints) == 0 {
		return nil, rpcerr.Invalid("endpoints", "none given")
	}
	if o.Timeout < 0 || o.AttemptTimeout < 0 {
		return nil, rpcerr.Invalid("timeout", "is negative")
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.AttemptTimeout == 0 {
		o.AttemptTimeout = time.Second
	}
	if o.World == nil {
		o.World = realWorld()
	}
	p, err := newPool(o)
	if err != nil {
		return nil, err
	}
	return &Client{opts: o, pool: p, routes: newRouteCache()}, nil
}

// WithCredential returns a client for another credential that shares c's connections; c.Close ends both.
func (c *Client) WithCredential(credential string) *Client {
	o := c.opts
	o.Credential = credential
	return &Client{opts: o, pool: c.pool, routes: newRouteCache(), shared: true}
}

// Close ends the connections. Calls under way fail.
func (c *Client) Close() error {
	if c.shared {
		return nil
	}
	return c.pool.close()
}

// RequestID makes a write safe to send again: for 10 minutes the same id gives the recorded answer. Every write has
// one; a caller gives its own only to carry a write on after its process was restarted.
type RequestID struct {
	ID     [16]byte
	Issued time.Time // when the id was made
}

// NewRequestID makes an id.
func NewRequestID() RequestID {
	r := RequestID{Issued: time.Now()}
	rand.Read(r.ID[:])
	return r
}

// requestID is r, or a new one.
func (c *Client) requestID(r *RequestID) *vipkvpb.RequestId {
	if r == nil {
		r = &RequestID{Issued: c.opts.World.Wall()}
		rand.Read(r.ID[:])
	}
	return &vipkvpb.RequestId{Id: r.ID[:], IssuedMs: r.Issued.UnixMilli()}
}
