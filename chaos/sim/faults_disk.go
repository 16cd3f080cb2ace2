package sim

import "errors"

func diskFaults() []faultClass {
	return []faultClass{
		{"log-stall", 2, (*injection).logStall},
		{"apply-stall", 3, (*injection).applyStall},
		{"disk-full", 1, (*injection).diskFull},
		{"disk-error", 1, (*injection).diskError},
		{"rot", 1, (*injection).rot},
	}
}

func (n *injection) logStall() {
	s := n.store()
	s.logStall = n.c.k.now + between(n.r, 50*ms, 3*sec)
}

// applyStall leaves much in the log that is committed and not applied; a crash often follows.
func (n *injection) applyStall() {
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

// diskFull leaves a store little room or none, until somebody makes some. The process ends at the first write that does
// not fit, and starts again and again until it can.
func (n *injection) diskFull() {
	s := n.store()
	if s.front == nil || !s.front.joined {
		n.nothing("the store has not joined yet")
		return
	}
	room := 0
	if n.r.IntN(2) == 0 {
		room = n.r.IntN(20_000)
	}
	s.disk.SetRoom(room)
	n.later(between(n.r, 500*ms, 6*sec), func() { s.disk.SetRoom(-1) })
}

// errDisk is what a failing disk answers.
var errDisk = errors.New("input/output error")

// diskError has one of the next writes or syncs of a store fail: its process ends, and another is started.
func (n *injection) diskError() {
	s := n.store()
	if s.front == nil || !s.front.joined {
		n.nothing("the store has not joined yet")
		return
	}
	s.disk.FailAfter(1+n.r.IntN(30), errDisk)
}

// rot flips a bit of what is durable on a store. It is found when the store starts the next time, at the latest when
// the nemesis stops, and then the disk is of no use any more.
func (n *injection) rot() {
	s := n.store()
	if why := n.c.mayLose(s); why != "" {
		n.nothing(why)
		return
	}
	if !s.disk.Rot(n.r.IntN) {
		n.nothing("nothing is durable and known to be")
		return
	}
	s.rotten = true
	n.c.k.note("store %d: a bit flips", s.id)
	if n.r.IntN(2) == 0 {
		n.c.k.after(between(n.r, 0, 5*sec), 0, "crash", func() {
			if !n.stopped {
				n.crash(s)
			}
		})
	}
}
