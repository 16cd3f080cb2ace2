package netns

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// port keeps what it was sent.
type port struct {
	mu   sync.Mutex
	sent [][]byte
}

func (p *port) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, bytes.Clone(b))
	return len(b), nil
}

func (p *port) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sent)
}

func packetTo(h Host, payload string) []byte {
	b := make([]byte, ipv4Header)
	b[0], b[hostByte] = 4<<4|5, byte(h)
	return append(b, payload...)
}

func twoPorts() (r *router, one, two *port) {
	r, one, two = newRouter(1), &port{}, &port{}
	r.addPort(1, one)
	r.addPort(2, two)
	return r, one, two
}

func TestRouterPassesByAddress(t *testing.T) {
	r, one, two := twoPorts()
	r.mu.watch = []byte("canary")
	r.route(1, packetTo(2, "a canary sings"))
	r.route(2, packetTo(1, "x"))
	r.route(1, packetTo(3, "nobody"))
	r.route(1, []byte{6 << 4, 0, 0})
	if one.count() != 1 || two.count() != 1 {
		t.Fatalf("%d and %d packets arrived", one.count(), two.count())
	}
	if c := *r.mu.counters[pair{1, 2}]; c.Passed != 1 || c.Matched != 1 || c.Bytes != 34 {
		t.Fatalf("counted %+v", c)
	}
}

func TestRouterCutsOneWay(t *testing.T) {
	r, one, two := twoPorts()
	r.mu.links[pair{1, 2}] = Link{Cut: true}
	for range 10 {
		r.route(1, packetTo(2, ""))
		r.route(2, packetTo(1, ""))
	}
	if one.count() != 10 || two.count() != 0 {
		t.Fatalf("%d and %d packets arrived", one.count(), two.count())
	}
	if c := *r.mu.counters[pair{1, 2}]; c.Cut != 10 || c.Passed != 0 {
		t.Fatalf("counted %+v", c)
	}
}

func TestRouterLosesAndDuplicates(t *testing.T) {
	r, _, two := twoPorts()
	r.mu.links[pair{1, 2}] = Link{Loss: 0.3, Duplicate: 0.5}
	const n = 10_000
	for range n {
		r.route(1, packetTo(2, ""))
	}
	c := *r.mu.counters[pair{1, 2}]
	if c.Lost < n*25/100 || c.Lost > n*35/100 {
		t.Errorf("%d of %d lost", c.Lost, n)
	}
	if got := int(n - c.Lost + c.Duplicated); got != two.count() || int(c.Passed) != got {
		t.Errorf("%d arrived, %d were passed, expected %d", two.count(), c.Passed, got)
	}
	if c.Duplicated < n*30/100 || c.Duplicated > n*40/100 {
		t.Errorf("%d of %d duplicated", c.Duplicated, n)
	}
}

func TestRouterDelaysInOrder(t *testing.T) {
	r, _, two := twoPorts()
	r.mu.links[pair{1, 2}] = Link{Delay: time.Hour}
	r.route(1, packetTo(2, "first"))
	r.route(1, packetTo(2, "second"))
	if wait := r.sendDue(time.Now()); wait < 59*time.Minute || two.count() != 0 {
		t.Fatalf("%d packets arrived, the next waits %v", two.count(), wait)
	}
	r.sendDue(time.Now().Add(2 * time.Hour))
	if two.count() != 2 || !bytes.HasSuffix(two.sent[0], []byte("first")) {
		t.Fatalf("arrived: %q", two.sent)
	}
	if r.mu.waiting != 0 {
		t.Fatalf("%d bytes wait", r.mu.waiting)
	}
}

func TestRouterBoundsWhatIsDelayed(t *testing.T) {
	r, _, _ := twoPorts()
	r.mu.links[pair{1, 2}] = Link{Delay: time.Hour}
	big := packetTo(2, string(make([]byte, 60_000)))
	for range delayedBytes/len(big) + 10 {
		r.route(1, big)
	}
	c := *r.mu.counters[pair{1, 2}]
	if c.Overflow != 10 || r.mu.waiting > delayedBytes {
		t.Fatalf("counted %+v, %d bytes wait", c, r.mu.waiting)
	}
}
