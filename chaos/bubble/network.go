package bubble

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// window is how many bytes one direction of a connection holds; then writers wait, as with TCP.
	window = 1 << 20
	// backlog is how many connections wait for Accept; more are refused.
	backlog = 128
	// userTimeout is how long sent bytes may be without acknowledgement before the sender gives the connection up: what
	// grpc asks of the kernel (TCP_USER_TIMEOUT), here for every connection.
	userTimeout = 3 * time.Second
	// latency is what a segment takes one way, and latencyJitter what is added at random, by default.
	latency       = 200 * time.Microsecond
	latencyJitter = 100 * time.Microsecond
	// portsFrom is where ports that nobody asked for begin.
	portsFrom = 20000
)

// Network is a network in memory: hosts with an address each, and a link for each ordered pair of them. It moves bytes
// as TCP does: in order, never lost while both ends live, held back while a link is cut. One lock guards all of it and
// is never held while something waits.
type Network struct {
	mu    sync.Mutex
	rng   *rand.Rand
	hosts map[string]*Host    // by address without port, those that are up
	links map[[2]string]*link // from, to
	conns map[*conn]struct{}  // ends that are neither closed nor lost
	next  int                 // port to give out
}

// link is one way from a host to another.
type link struct {
	delay time.Duration
	cut   time.Time // since when; zero: it is not
}

// NewNetwork is a network without hosts. Its delays are drawn from the seed.
func NewNetwork(seed uint64) *Network {
	return &Network{rng: rand.New(rand.NewPCG(seed, 1)), next: portsFrom,
		hosts: map[string]*Host{}, links: map[[2]string]*link{}, conns: map[*conn]struct{}{}}
}

// Host is one life of a machine on a network. It implements node.Network.
type Host struct {
	net  *Network
	addr string
	down bool // lost power; guarded by Network.mu

	listeners map[int]*listener // by port
}

// Up puts a host on the network under an address that no host has now. The connections of an earlier one with the same
// address are dead: who still writes to them is told so.
func (n *Network) Up(addr string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[addr] != nil {
		panic("bubble: two hosts " + addr)
	}
	h := &Host{net: n, addr: addr, listeners: map[int]*listener{}}
	n.hosts[addr] = h
	n.retransmitLocked()
	return h
}

// PowerLoss takes a host off the network: nothing that it sends from now on arrives, what was on the way is lost, and
// nobody is told.
func (h *Host) PowerLoss() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.down = true
	delete(h.net.hosts, h.addr)
	for c := range h.net.conns {
		if c.host == h {
			c.breakLocked(net.ErrClosed)
			c.out.dropLocked(time.Now())
		}
	}
	for _, l := range h.listeners {
		l.closeLocked()
	}
}

func (n *Network) linkLocked(from, to string) *link {
	l := n.links[[2]string{from, to}]
	if l == nil {
		l = &link{delay: latency}
		n.links[[2]string{from, to}] = l
	}
	return l
}

// Cut stops everything on the way from one host to another, until Heal. Nobody is told.
func (n *Network) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.linkLocked(from, to).cut = time.Now()
	for c := range n.conns {
		if c.host.addr == from && c.peer.host.addr == to && len(c.out.parts) > 0 {
			c.unacknowledgedLocked()
		}
	}
}

// Heal mends the way from one host to another: what was held back arrives.
func (n *Network) Heal(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.linkLocked(from, to).cut = time.Time{}
	n.retransmitLocked()
}

// HealAll mends all links and makes them as fast as at the start.
func (n *Network) HealAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		l.cut, l.delay = time.Time{}, latency
	}
	n.retransmitLocked()
}

// Delay makes the way from one host to another slow, or, with 0, as fast as at the start.
func (n *Network) Delay(from, to string, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if d == 0 {
		d = latency
	}
	n.linkLocked(from, to).delay = d
}

// retransmitLocked wakes all that waited for a link or a host.
func (n *Network) retransmitLocked() {
	for c := range n.conns {
		if n.pathLocked(c.host.addr, c.peer.host.addr) {
			if c.peer.err != nil && (!c.unacked.IsZero() || len(c.out.parts) > 0) {
				c.resetLocked()
			}
			c.unacked = time.Time{}
		}
		c.in.cond.Broadcast()
	}
}

// pathLocked tells whether bytes go from one address to another and their acknowledgement comes back.
func (n *Network) pathLocked(a, b string) bool {
	return n.hosts[a] != nil && n.hosts[b] != nil &&
		n.linkLocked(a, b).cut.IsZero() && n.linkLocked(b, a).cut.IsZero()
}

// arrivalLocked is when what is sent now arrives.
func (n *Network) arrivalLocked(from, to string) time.Time {
	jitter := time.Duration(n.rng.Int64N(int64(latencyJitter)))
	return time.Now().Add(n.linkLocked(from, to).delay + jitter)
}

// Listen implements node.Network. The host in addr must be this one's.
func (h *Host) Listen(addr string) (net.Listener, error) {
	name, port, err := splitAddr(addr)
	if err != nil {
		return nil, err
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	switch {
	case h.down:
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: syscall.ENETDOWN}
	case name != h.addr:
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: syscall.EADDRNOTAVAIL}
	case port == 0:
		h.net.next++
		port = h.net.next
	case h.listeners[port] != nil:
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: syscall.EADDRINUSE}
	}
	l := &listener{host: h, addr: &net.TCPAddr{IP: net.ParseIP(name), Port: port}}
	l.cond = sync.NewCond(&h.net.mu)
	h.listeners[port] = l
	return l, nil
}

func splitAddr(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(p)
	return host, port, err
}

// Dial implements node.Network. It waits for its context where packets vanish, and is refused where nobody listens.
func (h *Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	name, port, err := splitAddr(addr)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("%s: %w", addr, err)}
	}
	for {
		h.net.mu.Lock()
		trip := h.net.linkLocked(h.addr, name).delay + h.net.linkLocked(name, h.addr).delay
		if !h.down && h.net.pathLocked(h.addr, name) {
			l := h.net.hosts[name].listeners[port]
			if l == nil || len(l.queue) >= backlog {
				h.net.mu.Unlock()
				return fail(syscall.ECONNREFUSED)
			}
			c := h.net.connectLocked(h, l)
			h.net.mu.Unlock()
			if err := wait(ctx, trip); err != nil {
				return fail(errors.Join(err, c.Close()))
			}
			return c, nil
		}
		h.net.mu.Unlock()
		if err := wait(ctx, 200*time.Millisecond); err != nil { // as the kernel sends SYN again
			return fail(err)
		}
	}
}

// wait waits d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connectLocked makes a connection and queues its far end for Accept.
func (n *Network) connectLocked(from *Host, l *listener) *conn {
	n.next++
	local := &net.TCPAddr{IP: net.ParseIP(from.addr), Port: n.next}
	there, back := newPipe(n), newPipe(n)
	a := &conn{host: from, in: back, out: there, local: local, remote: l.addr}
	b := &conn{host: l.host, in: there, out: back, local: l.addr, remote: local}
	a.peer, b.peer = b, a
	n.conns[a], n.conns[b] = struct{}{}, struct{}{}
	l.queue = append(l.queue, b)
	l.cond.Broadcast()
	return a
}

// listener implements net.Listener.
type listener struct {
	host   *Host
	addr   *net.TCPAddr
	cond   *sync.Cond
	queue  []*conn
	closed bool
}

func (l *listener) Accept() (net.Conn, error) {
	l.host.net.mu.Lock()
	defer l.host.net.mu.Unlock()
	for len(l.queue) == 0 && !l.closed {
		l.cond.Wait()
	}
	if l.closed {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	c := l.queue[0]
	l.queue = l.queue[1:]
	return c, nil
}

func (l *listener) Close() error {
	l.host.net.mu.Lock()
	defer l.host.net.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closeLocked()
	return nil
}

func (l *listener) closeLocked() {
	l.closed = true
	delete(l.host.listeners, l.addr.Port)
	for _, c := range l.queue {
		if !l.host.down {
			c.peer.resetLocked()
		}
		c.breakLocked(net.ErrClosed)
	}
	l.queue = nil
	l.cond.Broadcast()
}

func (l *listener) Addr() net.Addr { return l.addr }

// errTimedOut is what a connection ends with into a black hole.
func errTimedOut() error { return os.NewSyscallError("read", syscall.ETIMEDOUT) }
