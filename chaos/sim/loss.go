package sim

import (
	"fmt"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/engine"
)

// lostMax is how many stores a run may lose for good.
const lostMax = 2

// mayLose is the atlas of faults: it says why a store must not lose its data, or nothing. Each range must keep a
// majority of each half of its configuration on stores whose disks are whole, in every configuration that a replica
// knows: one copy of everything committed is then left, and the range can go on.
func (c *cluster) mayLose(s *store) (why string) {
	lost := 1
	for _, o := range c.stores {
		switch {
		case o.lost || o.rotten:
			lost++
		case !o.up || o.paused || !o.front.joined: // what it knows can't be seen
			return fmt.Sprintf("store %d is not running", o.id)
		}
	}
	switch {
	case s.lost || s.rotten:
		return fmt.Sprintf("store %d is lost already", s.id)
	case lost > lostMax:
		return "enough stores were lost"
	}
	for _, o := range c.stores {
		if o.lost {
			continue
		}
		for _, id := range o.ranges() {
			if d := o.status[id].Descriptor; d != nil && !c.survives(d, s) {
				return fmt.Sprintf("range %d would not survive it", id)
			}
		}
	}
	return ""
}

// survives tells whether both halves of the configuration keep a majority when s and all that is lost are gone.
func (c *cluster) survives(d *internalpb.Descriptor, s *store) bool {
	var all, left [2]int
	for _, p := range d.Replicas {
		o := c.stores[p.StoreId-1]
		whole := o != s && !o.lost && !o.rotten
		for half, other := range []internalpb.ReplicaRole{
			internalpb.ReplicaRole_VOTER_INCOMING, internalpb.ReplicaRole_VOTER_OUTGOING} {
			if p.Role != internalpb.ReplicaRole_VOTER && p.Role != other {
				continue
			}
			all[half]++
			if whole {
				left[half]++
			}
		}
	}
	return left[0] > all[0]/2 && left[1] > all[1]/2
}

// lose ends a store for good, as when its machine burns: its id never comes back. A new store takes its place.
func (c *cluster) lose(s *store, why string) {
	c.k.note("store %d is lost: %s", s.id, why)
	if s.up {
		s.crash(0, false)
	}
	s.lost = true
	s.status = nil
	c.count.lost++
	c.missing++
	c.replace()
}

// replace starts a new store when one is missing and none is about to join.
func (c *cluster) replace() {
	last := c.stores[len(c.stores)-1]
	if c.missing == 0 || !last.lost && (last.front == nil || !last.front.joined) {
		return
	}
	c.missing--
	n := newStore(c, len(c.stores)+1)
	c.stores = append(c.stores, n)
	n.boot()
}

// renumber gives a store the id that the cluster has for it: the answer to an earlier try to join may have been lost,
// and its id with it. same: it has that id already.
func (c *cluster) renumber(s *store, id proto.StoreID) (same bool) {
	if id == s.id {
		return true
	}
	if id < s.id || s != c.stores[len(c.stores)-1] {
		c.k.fail("store %d is called %d by the cluster", s.id, id)
		return true
	}
	c.stores = c.stores[:s.id-1]
	for n := s.id; n < id; n++ {
		c.stores = append(c.stores, &store{c: c, id: n, port: int(n), lost: true, unborn: true,
			disk: engine.NewMemDisk()})
	}
	c.stores = append(c.stores, s)
	s.id = id
	return false
}
