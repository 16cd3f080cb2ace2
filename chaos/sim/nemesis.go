package sim

import (
	"math/rand/v2"
	"slices"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// nemesis breaks things, one fault after the other, and mends each after a while.
type nemesis struct {
	c       *cluster
	r       *rand.Rand
	stopped bool
	undo    map[int]func() // what is broken
	next    int
}

// faultClass is a kind of fault that a run may have.
type faultClass struct {
	name   string
	weight int
	run    func(*nemesis)
}

func faultClasses() []faultClass {
	return []faultClass{
		{"crash", 4, (*nemesis).crashOne},
		{"crash-all", 1, (*nemesis).crashAll},
		{"pause", 2, (*nemesis).pause},
		{"cut", 2, (*nemesis).cut},
		{"isolate", 3, (*nemesis).isolate},
		{"halves", 1, (*nemesis).halves},
		{"clog", 2, (*nemesis).clog},
		{"loss", 1, (*nemesis).loss},
		{"log-stall", 2, (*nemesis).logStall},
		{"apply-stall", 3, (*nemesis).applyStall},
		{"lag", 4, (*nemesis).lag},
		{"transfer", 4, (*nemesis).transfer},
		{"ping-pong", 6, (*nemesis).pingPong},
		{"split", 4, (*nemesis).split},
		{"split-crash", 2, (*nemesis).splitCrash},
		{"move", 4, (*nemesis).move},
	}
}

func newNemesis(c *cluster) *nemesis {
	n := &nemesis{c: c, r: c.k.rng("nemesis", 0), undo: map[int]func(){}}
	for _, s := range c.stores { // clocks differ
		s.clock.setRate(0.95 + 0.1*n.r.Float64())
		s.clock.jump(between(n.r, -c.o.ClockSpread, c.o.ClockSpread))
	}
	return n
}

func (n *nemesis) start() {
	on := map[string]bool{}
	for _, f := range n.c.o.Faults {
		on[f] = true
	}
	var pick []faultClass
	for _, f := range faultClasses() {
		for range f.weight {
			if on[f.name] {
				pick = append(pick, f)
			}
		}
	}
	if len(pick) == 0 {
		return
	}
	var next func()
	next = func() {
		if n.stopped {
			return
		}
		f := pick[n.r.IntN(len(pick))]
		n.c.count.faults++
		n.c.k.note("fault: %s", f.name)
		f.run(n)
		n.c.k.after(between(n.r, n.c.o.FaultGap/4, 2*n.c.o.FaultGap), 0, "fault", next)
	}
	n.c.k.after(3*sec, 0, "fault", next)
}

// later mends a fault after a while, or when the nemesis stops.
func (n *nemesis) later(d int64, mend func()) {
	n.next++
	id := n.next
	n.undo[id] = mend
	n.c.k.after(d, 0, "mend", func() {
		if undo := n.undo[id]; undo != nil {
			delete(n.undo, id)
			undo()
		}
	})
}

// stop mends everything.
func (n *nemesis) stop() {
	n.stopped = true
	for id := 1; id <= n.next; id++ {
		if undo := n.undo[id]; undo != nil {
			delete(n.undo, id)
			undo()
		}
	}
}

func (n *nemesis) store() *store { return n.c.stores[n.r.IntN(len(n.c.stores))] }

func (n *nemesis) leader() (leaderStatus, bool) {
	all := n.c.leaders()
	if len(all) == 0 {
		return leaderStatus{}, false
	}
	return all[n.r.IntN(len(all))], true
}

func (n *nemesis) crash(s *store) {
	if !s.up {
		return
	}
	s.crash()
	n.c.oracle.reborn(s)
	d := between(n.r, 50*ms, 3*sec)
	if n.r.IntN(6) == 0 {
		d = between(n.r, deadAfter, 2*deadAfter)
	}
	n.later(d, s.boot)
}

// moment is told when something rare begins or ends on a store. In runs with crashes one in twenty-five is followed by
// one at once, so that the states in between are on the disk now and then.
func (n *nemesis) moment(s *store) {
	if n.stopped || !slices.Contains(n.c.o.Faults, "crash") || n.r.IntN(25) > 0 {
		return
	}
	n.c.count.faults++
	life := s.life
	n.c.k.after(between(n.r, 0, 3*ms), 0, "crash", func() {
		if !n.stopped && s.life == life {
			n.crash(s)
		}
	})
}

func (n *nemesis) crashOne() { n.crash(n.store()) }

func (n *nemesis) crashAll() {
	for _, s := range n.c.stores {
		n.crash(s)
	}
}

func (n *nemesis) pause() {
	s := n.store()
	if !s.up || s.paused {
		return
	}
	boot := s.boots
	s.pause()
	n.later(between(n.r, 200*ms, 4*sec), func() {
		if s.up && s.boots == boot {
			s.resume()
		}
	})
}

// block cuts the links one way.
func (n *nemesis) block(links [][2]int) {
	for _, l := range links {
		n.c.net.link(l[0], l[1]).cut++
	}
	n.later(between(n.r, 300*ms, 5*sec), func() {
		for _, l := range links {
			n.c.net.link(l[0], l[1]).cut--
		}
	})
}

func (n *nemesis) cut() {
	a, b := n.store(), n.store()
	if a != b {
		n.block([][2]int{{int(a.id), int(b.id)}})
	}
}

// isolate cuts a store off from the others, at times in one direction only; clients still reach it.
func (n *nemesis) isolate() {
	s := n.store()
	if l, ok := n.leader(); ok && n.r.IntN(2) == 0 {
		s = l.store
	}
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

func (n *nemesis) halves() {
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
func (n *nemesis) clog() {
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

func (n *nemesis) loss() {
	p := 0.1 + 0.4*n.r.Float64()
	n.c.net.burst += p
	n.later(between(n.r, 300*ms, 3*sec), func() { n.c.net.burst = max(0, n.c.net.burst-p) })
}

func (n *nemesis) logStall() {
	s := n.store()
	s.logStall = n.c.k.now + between(n.r, 50*ms, 3*sec)
}

// applyStall leaves much in the log that is committed and not applied; a crash often follows.
func (n *nemesis) applyStall() {
	s := n.store()
	d := between(n.r, 50*ms, 3*sec)
	s.applyStall = n.c.k.now + d
	if n.r.IntN(2) == 0 {
		n.c.k.after(between(n.r, d/2, d+10*ms), 0, "crash", func() {
			if !n.stopped {
				n.crash(s)
			}
		})
	}
}

// lag lets a follower fall behind with applies that wait: a range snapshot has to wait for them too.
func (n *nemesis) lag() {
	l, ok := n.leader()
	if !ok {
		return
	}
	s := n.c.store(n.other(l))
	d := between(n.r, 300*ms, 2*sec)
	n.c.k.after(between(n.r, 0, 200*ms), 0, "lag", func() {
		s.applyStall = n.c.k.now + d + between(n.r, 0, 3*sec)
	})
	n.c.net.link(int(l.store.id), int(s.id)).cut++
	n.later(d, func() { n.c.net.link(int(l.store.id), int(s.id)).cut-- })
}

func (n *nemesis) transfer() {
	if l, ok := n.leader(); ok {
		n.transferTo(l, 0)
	}
}

// transferTo hands leadership to the replica on the store, or, when it is 0, to any.
func (n *nemesis) transferTo(l leaderStatus, to proto.StoreID) {
	r := l.Descriptor.Replicas[n.r.IntN(len(l.Descriptor.Replicas))]
	for _, p := range l.Descriptor.Replicas {
		if proto.StoreID(p.StoreId) == to {
			r = p
		}
	}
	l.store.with(l.Range, func(c *replica.Core) { c.TransferLeader(l.Range, proto.ReplicaID(r.ReplicaId)) })
}

// pingPong hands leadership away and soon back, so that what was evaluated before finds the same leader in a later
// term.
func (n *nemesis) pingPong() {
	l, ok := n.leader()
	if !ok {
		return
	}
	home, id := l.store.id, l.Range
	stall := between(n.r, 50*ms, 300*ms)
	l.store.frontStall = n.c.k.now + stall
	n.c.k.after(stall, 0, "ping", func() { n.transferTo(l, n.other(l)) })
	for i := range 6 {
		n.c.k.after(stall+int64(i+1)*between(n.r, 100*ms, 300*ms), 0, "pong", func() {
			for _, l := range n.c.leaders() {
				if l.Range == id && l.store.id != home {
					n.transferTo(l, home)
				}
			}
		})
	}
}

// other picks a store with a replica that does not lead.
func (n *nemesis) other(l leaderStatus) proto.StoreID {
	var others []proto.StoreID
	for _, r := range l.Descriptor.Replicas {
		if id := proto.StoreID(r.StoreId); id != l.store.id {
			others = append(others, id)
		}
	}
	if len(others) == 0 {
		return l.store.id
	}
	return others[n.r.IntN(len(others))]
}

func (n *nemesis) split() {
	if l, ok := n.leader(); ok {
		n.c.hand.split(l)
	}
}

// splitCrash lets a store crash while it applies a split.
func (n *nemesis) splitCrash() {
	l, ok := n.leader()
	if !ok || !n.c.hand.split(l) {
		return
	}
	r := l.Descriptor.Replicas[n.r.IntN(len(l.Descriptor.Replicas))]
	s := n.c.store(proto.StoreID(r.StoreId))
	n.c.k.after(between(n.r, 0, 60*ms), 0, "crash", func() {
		if !n.stopped {
			n.crash(s)
		}
	})
}

// move asks placement to take a replica away from a store; at times it is the leader's own.
func (n *nemesis) move() {
	if l, ok := n.leader(); ok {
		r := l.Descriptor.Replicas[n.r.IntN(len(l.Descriptor.Replicas))]
		n.c.hand.move(l, proto.StoreID(r.StoreId))
	}
}
