package sim

import internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"

func netFaults() []faultClass {
	return []faultClass{
		{"cut", 2, (*injection).cut},
		{"isolate", 3, (*injection).isolate},
		{"strand", 5, (*injection).strand},
		{"halves", 1, (*injection).halves},
		{"clog", 2, (*injection).clog},
		{"swizzle", 3, (*injection).swizzle},
		{"client-cut", 2, (*injection).clientCut},
		{"loss", 1, (*injection).loss},
		{"slow-net", 1, (*injection).slowNet},
		{"replay", 2, (*injection).replay},
	}
}

// block cuts the links one way.
func (n *injection) block(links [][2]int) {
	for _, l := range links {
		n.c.net.link(l[0], l[1]).cut++
	}
	n.later(between(n.r, 300*ms, 5*sec), func() {
		for _, l := range links {
			n.c.net.link(l[0], l[1]).cut--
		}
	})
}

func (n *injection) cut() {
	a, b := n.store(), n.store()
	if a == b {
		n.nothing("a store has no link to itself")
		return
	}
	n.block([][2]int{{int(a.id), int(b.id)}})
}

// victim is a store, half of the times one that leads.
func (n *injection) victim() *store {
	s := n.store()
	if l, ok := n.leader(); ok && n.r.IntN(2) == 0 {
		s = l.store
	}
	return s
}

// isolate cuts a store off from the others, at times in one direction only; clients still reach it.
func (n *injection) isolate() {
	s := n.victim()
	in, out := n.r.IntN(3) > 0, n.r.IntN(3) > 0
	var links [][2]int
	for _, o := range n.c.stores {
		if o != s && in {
			links = append(links, [2]int{int(o.id), int(s.id)})
		}
		if o != s && (out || !in) {
			links = append(links, [2]int{int(s.id), int(o.id)})
		}
	}
	n.block(links)
}

// strand cuts a leader off from its followers, both ways, until they have another one; clients still reach it. Half of
// the times it is the store that leads most, and it reaches no store at all; else it reaches those that have no replica
// of one range. Its clock mostly runs so slow that the others are faster with an election than it with noticing (no
// answer may rest on that it would notice), and at times nothing else breaks meanwhile.
func (n *injection) strand() {
	l, ok := n.leader()
	if !ok {
		n.nothing("nobody leads")
		return
	}
	s := l.store
	links := n.linksTo(s, l.Descriptor)
	if n.r.IntN(2) == 0 {
		s = n.mostLeaders()
		links = n.linksOf(s)
	}
	d := between(n.r, 2*sec, 8*sec)
	if n.r.IntN(2) == 0 {
		n.quiet = n.c.k.now + d
	}
	for _, l := range links {
		n.c.net.link(l[0], l[1]).cut++
	}
	n.later(d, func() {
		for _, l := range links {
			n.c.net.link(l[0], l[1]).cut--
		}
	})
	if n.r.IntN(4) > 0 {
		n.pace(s, 0.02+0.3*n.r.Float64(), d)
	}
}

// mostLeaders is the store that leads most ranges; there is one that leads some.
func (n *injection) mostLeaders() (most *store) {
	leads := map[*store]int{}
	for _, l := range n.c.leaders() {
		if leads[l.store]++; leads[l.store] > leads[most] {
			most = l.store
		}
	}
	return most
}

// linksTo lists the links between a store and the others with replicas of a range, both ways.
func (n *injection) linksTo(s *store, d *internalpb.Descriptor) (links [][2]int) {
	for _, p := range d.Replicas {
		if o := int(p.StoreId); o != int(s.id) {
			links = append(links, [2]int{int(s.id), o}, [2]int{o, int(s.id)})
		}
	}
	return links
}

func (n *injection) halves() {
	side := make([]bool, len(n.c.stores))
	for i := range side {
		side[i] = n.r.IntN(2) == 0
	}
	var links [][2]int
	for i, a := range n.c.stores {
		for j, b := range n.c.stores {
			if side[i] != side[j] {
				links = append(links, [2]int{int(a.id), int(b.id)})
			}
		}
	}
	n.block(links)
}

// clog holds everything to and from a store back, then lets it all go.
func (n *injection) clog() {
	s := n.store()
	until := n.c.k.now + between(n.r, 100*ms, 3*sec)
	for _, o := range n.c.stores {
		if n.r.IntN(3) > 0 {
			n.c.net.link(int(s.id), int(o.id)).clogged = until
		}
		if n.r.IntN(3) > 0 {
			n.c.net.link(int(o.id), int(s.id)).clogged = until
		}
	}
}

// swizzle stops the links of some stores one store after the other, and restores them in another order
// (FoundationDB's swizzle-clog).
func (n *injection) swizzle() {
	var some []*store
	for _, s := range n.c.stores {
		if n.r.IntN(2) == 0 {
			some = append(some, s)
		}
	}
	if len(some) == 0 {
		n.nothing("no store was chosen")
		return
	}
	wait := int64(0)
	for _, s := range some {
		wait += between(n.r, 10*ms, 400*ms)
		n.c.k.after(wait, 0, "swizzle", func() {
			if !n.stopped {
				n.block(n.linksOf(s))
			}
		})
	}
}

// linksOf lists the links between a store and the others, both ways.
func (n *injection) linksOf(s *store) (links [][2]int) {
	for _, o := range n.c.stores {
		if o != s {
			links = append(links, [2]int{int(s.id), int(o.id)}, [2]int{int(o.id), int(s.id)})
		}
	}
	return links
}

// clientCut cuts some clients off from one store, which the other stores reach: one way or both.
func (n *injection) clientCut() {
	s := n.victim()
	in, out := n.r.IntN(3) > 0, n.r.IntN(3) > 0
	var links [][2]int
	for i := range n.c.clients {
		if n.r.IntN(3) == 0 {
			continue
		}
		if in || !out {
			links = append(links, [2]int{clientBase + i, int(s.id)})
		}
		if out {
			links = append(links, [2]int{int(s.id), clientBase + i})
		}
	}
	n.block(links)
}

func (n *injection) loss() {
	p := 0.1 + 0.4*n.r.Float64()
	n.c.net.burst += p
	n.later(between(n.r, 300*ms, 3*sec), func() { n.c.net.burst = max(0, n.c.net.burst-p) })
}

// slowNet leaves the links a small part of their bandwidth: 10 KB/s to 1 MB/s.
func (n *injection) slowNet() {
	by := between(n.r, us, 100*us)
	n.c.net.perByte += by
	n.later(between(n.r, 300*ms, 3*sec), func() { n.c.net.perByte -= by })
}

// replay delivers messages of long ago once more.
func (n *injection) replay() {
	old := n.c.net.old
	if len(old) == 0 {
		n.nothing("no message was sent")
		return
	}
	for range 1 + n.r.IntN(20) {
		m := old[n.r.IntN(len(old))]
		n.c.net.duplicated++
		n.c.k.after(between(n.r, 0, 2*sec), m.to, "replay", func() { m.deliver(m.data) })
	}
}
