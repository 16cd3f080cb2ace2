package sim

import "math/rand/v2"

// network carries bytes between nodes: stores 1..n, clients above. Each direction of each pair has its own faults.
type network struct {
	k     *kernel
	o     *Options
	r     *rand.Rand
	links map[[2]int]*link
	// loss in bursts, on top of Options.Loss
	burst                     float64
	perByte                   int64     // ns that a byte takes, on top of the usual
	old                       []message // some of what was sent between stores, for replays
	sent, dropped, duplicated uint64
}

// message is what was once sent between two stores.
type message struct {
	to      int
	data    []byte
	deliver func([]byte)
}

// oldMax bounds the messages that are kept for replays.
const oldMax = 256

type link struct {
	cut     int   // number of faults that cut it
	clogged int64 // until then nothing arrives
	last    int64 // arrival of the newest message that was not overtaken
}

func newNetwork(k *kernel, o *Options) *network {
	return &network{k: k, o: o, r: k.rng("net", 0), links: map[[2]int]*link{}}
}

func (n *network) link(from, to int) *link {
	l := n.links[[2]int{from, to}]
	if l == nil {
		l = &link{}
		n.links[[2]int{from, to}] = l
	}
	return l
}

// send delivers data after a while, or never. Between stores it may be lost, doubled or overtaken; a client's
// connection is a stream that either delivers or breaks.
func (n *network) send(from, to int, kind string, data []byte, deliver func([]byte)) {
	n.sent++
	l := n.link(from, to)
	between := from < clientBase && to < clientBase
	loss := n.burst
	if between {
		loss += n.o.Loss
	}
	if l.cut > 0 || chance(n.r, loss) {
		n.dropped++
		return
	}
	if kind == "raft" {
		n.keep(message{to, data, deliver})
	}
	copies := 1
	if between && chance(n.r, n.o.Duplicate) {
		n.duplicated++
		copies = 2
	}
	for range copies {
		n.k.after(n.delay(l, len(data)), to, kind, func() {
			if l.cut > 0 { // in flight when the link went
				n.dropped++
				return
			}
			deliver(data)
		})
	}
}

// keep remembers a message in place of another one.
func (n *network) keep(m message) {
	if len(n.old) < oldMax {
		n.old = append(n.old, m)
	} else {
		n.old[n.sent%oldMax] = m
	}
}

// delay keeps a link's messages in order, but for a few that come late.
func (n *network) delay(l *link, size int) int64 {
	d := tail(n.r, n.o.LatencyLo, n.o.LatencyHi) + int64(size)*(10+n.perByte) // 100 MB/s
	if l.clogged > n.k.now {
		d += l.clogged - n.k.now
	}
	if chance(n.r, n.o.Reorder) {
		return d + between(n.r, 0, 20*n.o.LatencyHi)
	}
	l.last = max(l.last, n.k.now+d)
	return l.last - n.k.now
}
