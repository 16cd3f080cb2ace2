package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/vipkv/vipkv/proto/rpcerr"
)

const (
	endpointsMax  = 256              // connections; the one that was not used for longest gives way
	messageMax    = 16 << 20         // bytes; a page of 4 MiB and its framing fit
	avoidFor      = time.Second      // how long an endpoint that did not answer comes last
	keepaliveTime = 10 * time.Second // also turns on TCP_USER_TIMEOUT, which ends connections into a black hole
)

var errClosed = errors.New("the client is closed")

// pool holds one connection an endpoint.
type pool struct {
	seeds    []string // immutable
	insecure bool     // immutable
	world    *World

	mu struct { // never held across I/O
		sync.Mutex
		closed    bool
		endpoints map[string]*endpoint
		preferred int // index into seeds: where calls without a route go
	}
}

type endpoint struct {
	conn  grpc.ClientConnInterface
	used  time.Time
	avoid time.Time // comes last until then
}

func newPool(o Options) (*pool, error) {
	seeds := slices.Clone(o.Endpoints)
	p := &pool{seeds: seeds, insecure: o.Insecure, world: o.World}
	if p.world.Connect == nil {
		world := *o.World
		world.Connect = func(addr string) (grpc.ClientConnInterface, error) {
			return dial(addr, o.Dial)
		}
		p.world = &world
	}
	p.mu.endpoints = make(map[string]*endpoint, len(seeds))
	p.mu.preferred = int(p.world.Draw(int64(len(seeds))))
	for _, s := range seeds {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return nil, rpcerr.Invalid("endpoints", fmt.Sprintf("%q is not host:port", s))
		}
		if !p.allowed(s) {
			return nil, rpcerr.Invalid("endpoints",
				s+" is not a loopback address, and the connection would be plaintext")
		}
	}
	for _, s := range seeds {
		conn, err := p.conn(s)
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		if c, ok := conn.(*grpc.ClientConn); ok {
			c.Connect()
		}
	}
	return p, nil
}

// allowed says whether a plaintext connection to addr may be made (I3).
func (p *pool) allowed(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if p.insecure || host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// conn returns the connection to addr, new or kept.
func (p *pool) conn(addr string) (grpc.ClientConnInterface, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed {
		return nil, errClosed
	}
	if e := p.mu.endpoints[addr]; e != nil {
		e.used = p.world.Now()
		return e.conn, nil
	}
	if len(p.mu.endpoints) >= endpointsMax {
		p.evictLocked()
	}
	conn, err := p.world.Connect(addr)
	if err != nil {
		return nil, fmt.Errorf("endpoint %s: %w", addr, err)
	}
	p.mu.endpoints[addr] = &endpoint{conn: conn, used: p.world.Now()}
	return conn, nil
}

// dialer is Options.Dial.
type dialer = func(context.Context, string) (net.Conn, error)

// dial makes a connection, which is made as soon as it is needed, by net or, when it is nil, over TCP.
func dial(addr string, net dialer) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageMax), grpc.MaxCallSendMsgSize(messageMax)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond,
			},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: 3 * time.Second}),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
	}
	if net != nil {
		options = append(options, grpc.WithContextDialer(net))
	}
	return grpc.NewClient("passthrough:///"+addr, options...)
}

// closeConn frees a connection; one of a simulation holds nothing.
func closeConn(conn grpc.ClientConnInterface) error {
	if c, ok := conn.(*grpc.ClientConn); ok {
		return c.Close()
	}
	return nil
}

// evictLocked closes the connection that was not used for longest.
func (p *pool) evictLocked() {
	var oldest string
	for addr, e := range p.mu.endpoints {
		if oldest == "" || e.used.Before(p.mu.endpoints[oldest].used) {
			oldest = addr
		}
	}
	// The error tells that it was closed before, which is what is wanted.
	_ = closeConn(p.mu.endpoints[oldest].conn)
	delete(p.mu.endpoints, oldest)
}

// pick chooses where the next attempt goes: the address tried least often by this call, answering ones before those
// that lately did not, then in the order of first, then the seeds. others tells whether there was a choice.
func (p *pool) pick(first []string, tried map[string]int) (addr string, others bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	candidates := make([]string, 0, len(first)+len(p.seeds))
	add := func(a string) {
		if a != "" && !slices.Contains(candidates, a) && p.allowed(a) {
			candidates = append(candidates, a)
		}
	}
	for _, a := range first {
		add(a)
	}
	for i := range p.seeds {
		add(p.seeds[(p.mu.preferred+i)%len(p.seeds)])
	}
	now := p.world.Now()
	avoided := func(a string) int {
		if e := p.mu.endpoints[a]; e != nil && now.Before(e.avoid) {
			return 1
		}
		return 0
	}
	best := slices.MinFunc(candidates, func(a, b string) int {
		return cmp.Or(cmp.Compare(tried[a], tried[b]), cmp.Compare(avoided(a), avoided(b)))
	})
	return best, len(candidates) > 1
}

// answered notes whether addr gave an answer.
func (p *pool) answered(addr string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.mu.endpoints[addr]
	if e == nil {
		return
	}
	if ok {
		e.avoid = time.Time{}
		return
	}
	e.avoid = p.world.Now().Add(avoidFor)
	if p.seeds[p.mu.preferred] == addr {
		p.mu.preferred = (p.mu.preferred + 1) % len(p.seeds)
	}
}

func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.closed = true
	var errs []error
	for _, e := range p.mu.endpoints {
		errs = append(errs, closeConn(e.conn))
	}
	clear(p.mu.endpoints)
	return errors.Join(errs...)
}
