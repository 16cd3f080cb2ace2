package netns

import (
	"bytes"
	"container/heap"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	ipv4Header = 20 // bytes, without options
	hostByte   = 19 // of the header: the last byte of the destination
	// How much waits at a time; more is dropped, as a full queue of a real router does.
	delayedBytes = 64 << 20
)

// router moves packets between ports by the rules of their pair. It knows nothing of devices.
type router struct {
	wake chan struct{} // capacity 1: the earliest delayed packet may have changed

	mu struct { // never held across I/O
		sync.Mutex
		rand     *rand.Rand
		ports    map[Host]io.Writer
		links    map[pair]Link
		counters map[pair]*Counters
		watch    []byte
		delayed  queue
		waiting  int // bytes in delayed
		seq      uint64
	}
}

func newRouter(seed uint64) *router {
	r := &router{wake: make(chan struct{}, 1)}
	r.mu.rand = rand.New(rand.NewPCG(seed, 0))
	r.mu.ports = map[Host]io.Writer{}
	r.mu.links = map[pair]Link{}
	r.mu.counters = map[pair]*Counters{}
	return r
}

func (r *router) addPort(h Host, w io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.ports[h] = w
}

// route handles one packet that a host sent; the packet is the caller's again afterwards. What is
// not IPv4 or for nobody is dropped: hosts speak of neighbours and groups that are not there.
func (r *router) route(from Host, packet []byte) {
	if len(packet) < ipv4Header || packet[0]>>4 != 4 {
		return
	}
	p := pair{from, Host(packet[hostByte])}
	to, copies := r.decide(p, packet)
	for range copies {
		// A write fails when the device is going away with its host: the packet is lost, as on a wire.
		_, _ = to.Write(packet)
	}
}

// decide counts a packet, queues it when it is to be late, and returns where how many copies of it
// go now.
func (r *router) decide(p pair, packet []byte) (to io.Writer, now int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	to, ok := r.mu.ports[p.to]
	if !ok {
		return nil, 0
	}
	link, c := r.mu.links[p], r.countersLocked(p)
	if len(r.mu.watch) > 0 && bytes.Contains(packet, r.mu.watch) {
		c.Matched++
	}
	switch {
	case link.Cut:
		c.Cut++
		return nil, 0
	case link.Loss > 0 && r.mu.rand.Float64() < link.Loss:
		c.Lost++
		return nil, 0
	}
	copies := 1
	if link.Duplicate > 0 && r.mu.rand.Float64() < link.Duplicate {
		copies, c.Duplicated = 2, c.Duplicated+1
	}
	for range copies {
		late := link.Delay
		if link.Jitter > 0 {
			late += time.Duration(r.mu.rand.Int64N(int64(link.Jitter)))
		}
		switch {
		case late == 0:
			now++
		case r.mu.waiting+len(packet) > delayedBytes:
			c.Overflow++
			continue
		default:
			c.Delayed++
			r.delayLocked(p.to, packet, late)
		}
		c.Passed++
		c.Bytes += uint64(len(packet))
	}
	return to, now
}

func (r *router) countersLocked(p pair) *Counters {
	c := r.mu.counters[p]
	if c == nil {
		c = &Counters{}
		r.mu.counters[p] = c
	}
	return c
}

func (r *router) delayLocked(to Host, packet []byte, late time.Duration) {
	r.mu.seq++
	r.mu.waiting += len(packet)
	heap.Push(&r.mu.delayed, &delayed{
		at: time.Now().Add(late), seq: r.mu.seq, to: to, packet: bytes.Clone(packet),
	})
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run sends delayed packets when they are due, until stop is closed.
func (r *router) run(stop <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next := r.sendDue(time.Now())
		timer.Reset(next)
		select {
		case <-stop:
			return
		case <-timer.C:
		case <-r.wake:
		}
	}
}

// sendDue sends what is due and returns how long the next packet has to wait.
func (r *router) sendDue(now time.Time) time.Duration {
	for {
		d, to, wait := r.due(now)
		if d == nil {
			return wait
		}
		if to != nil {
			_, _ = to.Write(d.packet) // as in route
		}
	}
}

func (r *router) due(now time.Time) (d *delayed, to io.Writer, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.mu.delayed) == 0 {
		return nil, nil, time.Hour
	}
	if wait := r.mu.delayed[0].at.Sub(now); wait > 0 {
		return nil, nil, wait
	}
	d = heap.Pop(&r.mu.delayed).(*delayed)
	r.mu.waiting -= len(d.packet)
	return d, r.mu.ports[d.to], 0
}

// delayed is one packet that waits.
type delayed struct {
	at     time.Time
	seq    uint64 // keeps the order of packets of one moment
	to     Host
	packet []byte
}

// queue is a heap, earliest first.
type queue []*delayed

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if !q[i].at.Equal(q[j].at) {
		return q[i].at.Before(q[j].at)
	}
	return q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(*delayed)) }
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return last
}
