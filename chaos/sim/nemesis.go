package sim

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"

	"github.com/vipkv/vipkv/proto"
)

// nemesis breaks things as the plan says, one fault after the other, and each fault mends itself after a while.
type nemesis struct {
	c       *cluster
	stopped bool
	quiet   int64          // until when nothing else is broken
	undo    map[int]func() // what is broken
	next    int
	plan    []Entry        // what was done so far
	moments map[string]int // how often each place was passed
	counts  map[string]int // faults by class
	idle    map[string]int // that the atlas did not allow, or that found nothing to break, by class
}

// injection is one fault of the plan. All that it draws, also later, comes from its own stream.
type injection struct {
	*nemesis
	r     *rand.Rand
	class string
}

// faultClass is a kind of fault that a run may have.
type faultClass struct {
	name   string
	weight int
	run    func(*injection)
}

func faultClasses() []faultClass {
	return slices.Concat(processFaults(), netFaults(), diskFaults(), rangeFaults())
}

func classOf(name string) *faultClass {
	for _, f := range faultClasses() {
		if f.name == name {
			return &f
		}
	}
	return nil
}

func newNemesis(c *cluster) *nemesis {
	n := &nemesis{c: c, undo: map[int]func(){}, moments: map[string]int{}, counts: map[string]int{},
		idle: map[string]int{}}
	r := c.k.rng("clocks", 0)
	for _, s := range c.stores { // clocks differ
		s.clock.setRate(0.95 + 0.1*r.Float64())
		s.clock.jump(between(r, -c.o.ClockSpread, c.o.ClockSpread))
	}
	return n
}

// start puts the faults of the plan on their times.
func (n *nemesis) start() {
	plan := n.c.o.Plan
	if !n.c.o.Planned {
		plan = drawPlan(n.c.k, n.c.o)
	}
	classes := map[string]faultClass{}
	for _, f := range faultClasses() {
		classes[f.name] = f
	}
	for _, e := range plan {
		if e.Class == momentClass {
			continue
		}
		n.c.k.after(e.At-n.c.k.now, 0, "fault", func() {
			if n.stopped {
				return
			}
			n.did(e)
			in := &injection{nemesis: n, r: rand.New(rand.NewPCG(e.Seed, 0)), class: e.Class}
			if n.c.k.now < n.quiet {
				in.nothing("a fault runs its course")
				return
			}
			f := classes[e.Class]
			f.run(in)
		})
	}
}

func (n *nemesis) did(e Entry) {
	n.plan = append(n.plan, e)
	n.counts[e.Class]++
	n.c.count.faults++
	n.c.k.note("%s", e.String())
}

// nothing: the fault found nothing that it may break.
func (n *injection) nothing(why string) {
	n.idle[n.class]++
	n.counts[n.class]--
	n.c.count.faults--
	n.c.k.note("%s does nothing: %s", n.class, why)
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

// stop mends everything. A disk that rots is looked at once more, so that no damage goes unseen.
func (n *nemesis) stop() {
	n.stopped = true
	for id := 1; id <= n.next; id++ {
		if undo := n.undo[id]; undo != nil {
			delete(n.undo, id)
			undo()
		}
	}
	for _, s := range slices.Clone(n.c.stores) {
		s.disk.FailAfter(0, nil)
		if s.rotten && !s.lost {
			if s.up {
				s.crash(0, false)
			}
			s.boot()
		}
	}
}

// store picks one that is not lost.
func (n *injection) store() *store {
	for {
		if s := n.c.stores[n.r.IntN(len(n.c.stores))]; !s.lost {
			return s
		}
	}
}

func (n *injection) leader() (leaderStatus, bool) {
	all := n.c.leaders()
	if len(all) == 0 {
		return leaderStatus{}, false
	}
	return all[n.r.IntN(len(all))], true
}

// moment is told when something rare begins or ends on a store. In runs with crashes one in twenty-five is followed by
// one at once, so that the states in between are on the disk now and then. Which, follows from the place alone.
func (n *nemesis) moment(s *store, what string) {
	if n.stopped {
		return
	}
	place := fmt.Sprintf("%s/%d", what, s.id)
	n.moments[place]++
	place = fmt.Sprintf("%s/%d", place, n.moments[place])
	h := fnv.New64a()
	_, _ = h.Write([]byte(place)) // never fails
	e := Entry{At: n.c.k.now, Class: momentClass, Seed: n.c.k.seed ^ h.Sum64(), Place: place}
	in := &injection{nemesis: n, r: rand.New(rand.NewPCG(e.Seed, 1)), class: momentClass}
	if !in.due(place) {
		return
	}
	n.did(e)
	life := s.life
	n.c.k.after(between(in.r, 0, 3*ms), 0, "crash", func() {
		if !n.stopped && s.life == life {
			in.crash(s)
		}
	})
}

func (n *injection) due(place string) bool {
	drawn := n.r.IntN(25) == 0 // also in a plan: what is drawn later must not shift
	if n.c.o.Planned {
		return slices.ContainsFunc(n.c.o.Plan, func(e Entry) bool { return e.Place == place })
	}
	return drawn && slices.Contains(n.c.o.Faults, "crash")
}

// other picks a store with a replica that does not lead.
func (n *injection) other(l leaderStatus) proto.StoreID {
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
