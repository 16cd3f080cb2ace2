package sim

import "github.com/vipkv/vipkv/raftstore/replica"

func processFaults() []faultClass {
	return []faultClass{
		{"crash", 4, (*injection).crashOne},
		{"crash-all", 1, (*injection).crashAll},
		{"retire", 2, (*injection).retire},
		{"pause", 2, (*injection).pause},
		{"wipe", 1, (*injection).wipe},
		{"clock-jump", 2, (*injection).clockJump},
		{"clock-rate", 1, (*injection).clockRate},
	}
}

// crash cuts the power of a store. Its disk keeps any part of what was not synced, at times with the last step torn.
func (n *injection) crash(s *store) {
	if !s.up {
		return
	}
	keep := n.r.IntN(s.disk.UnsyncedBytes() + 1)
	if sector := []int{1, 512, 4096}[n.r.IntN(3)]; n.r.IntN(4) > 0 {
		keep -= keep % sector
	}
	s.crash(keep, n.r.IntN(3) == 0)
	d := between(n.r, 50*ms, 3*sec)
	if n.r.IntN(6) == 0 {
		d = between(n.r, deadAfter, 2*deadAfter)
	}
	n.later(d, s.boot)
}

func (n *injection) crashOne() { n.crash(n.store()) }

func (n *injection) crashAll() {
	for _, s := range n.c.stores {
		n.crash(s)
	}
}

// retire stops a store in an orderly way: it gives away what it leads, and ends a little later, whatever came of it.
func (n *injection) retire() {
	s := n.store()
	if !s.up || s.paused {
		n.nothing("the store is not running")
		return
	}
	for _, id := range s.ranges() {
		if s.status[id].Leads {
			s.with(id, func(c *replica.Core) { _, _ = c.HandOver(id, nil) })
		}
	}
	boot := s.boots
	n.c.k.after(between(n.r, 0, 300*ms), 0, "retire", func() {
		if !n.stopped && s.boots == boot {
			n.crash(s)
		}
	})
}

func (n *injection) pause() {
	s := n.store()
	if !s.up || s.paused {
		n.nothing("the store is not running")
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

// wipe takes a store's disk away. A new store, with a new id, takes its place.
func (n *injection) wipe() {
	s := n.store()
	if why := n.c.mayLose(s); why != "" {
		n.nothing(why)
		return
	}
	n.c.lose(s, "its disk is gone")
}

// clockJump sets a store's wall clock forwards or back.
func (n *injection) clockJump() {
	s := n.store()
	most := []int64{100 * ms, sec, 30 * sec, 600 * sec}[n.r.IntN(4)]
	d := between(n.r, -most, most)
	s.clock.jump(d)
	n.c.k.note("store %d: the clock jumps by %.3f s", s.id, float64(d)/1e9)
}

// clockRate lets a store's clock run fast or slow for a while.
func (n *injection) clockRate() {
	n.pace(n.store(), 0.7+0.6*n.r.Float64(), between(n.r, sec, 8*sec))
}

// pace lets a store's clock run so many times as fast, for d.
func (n *injection) pace(s *store, times float64, d int64) {
	s.clock.setRate(s.clock.rate * times)
	n.later(d, func() { s.clock.setRate(s.clock.rate / times) })
}
