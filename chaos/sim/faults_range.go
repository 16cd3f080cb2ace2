package sim

import (
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// What is done to ranges and their leaders is no fault, but it makes faults meet something.
func rangeFaults() []faultClass {
	return []faultClass{
		{"lag", 4, (*injection).lag},
		{"transfer", 4, (*injection).transfer},
		{"ping-pong", 6, (*injection).pingPong},
		{"split", 4, (*injection).split},
		{"split-crash", 2, (*injection).splitCrash},
		{"split-behind", 2, (*injection).splitBehind},
		{"move", 4, (*injection).move},
	}
}

// lag lets a follower fall behind with applies that wait: a range snapshot has to wait for them too.
func (n *injection) lag() {
	l, ok := n.leader()
	if !ok {
		n.nothing("nobody leads")
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

func (n *injection) transfer() {
	if l, ok := n.leader(); ok {
		n.transferTo(l, 0)
	}
}

// transferTo hands leadership to the replica on the store, or, when it is 0, to any.
func (n *injection) transferTo(l leaderStatus, to proto.StoreID) {
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
func (n *injection) pingPong() {
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

func (n *injection) split() {
	if l, ok := n.leader(); ok {
		n.c.hand.split(l)
	}
}

// splitCrash lets a store crash while it applies a split.
func (n *injection) splitCrash() {
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
func (n *injection) move() {
	if l, ok := n.leader(); ok {
		r := l.Descriptor.Replicas[n.r.IntN(len(l.Descriptor.Replicas))]
		n.c.hand.move(l, proto.StoreID(r.StoreId))
	}
}

// splitBehind splits a range of which one replica applies late, and has one of the halves leave that store before the
// replica gets to the split.
func (n *injection) splitBehind() {
	l, ok := n.leader()
	if !ok {
		n.nothing("nobody leads")
		return
	}
	s := n.c.store(n.other(l))
	late := between(n.r, 4*sec, 12*sec)
	s.applyStall = n.c.k.now + late
	key := l.Descriptor.End
	if !n.c.hand.split(l) {
		n.nothing("the range can't be split")
		return
	}
	left := n.r.IntN(3) == 0
	n.c.k.after(between(n.r, 300*ms, 2*sec), 0, "move", func() {
		for _, now := range n.c.leaders() { // the right-hand side ends where the whole did
			right := now.Range != l.Range && string(now.Descriptor.End) == string(key)
			if (right && !left || now.Range == l.Range && left) && replicaOn(now.Descriptor, s.id) != nil {
				n.c.hand.move(now, s.id)
			}
		}
	})
}
