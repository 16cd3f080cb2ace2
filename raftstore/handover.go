package raftstore

import (
	"context"
	"errors"
	"slices"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// HandOver gives away the leadership of all ranges that another voter can lead, the system range last: the others take
// their timestamps from its leader. Each voter is offered a range once: who took it may be about to stop as well, and
// hand it back. It ends when nothing is left to try, or with ctx, and says how many ranges that have other voters this
// store still leads.
func (s *Calls) HandOver(ctx context.Context) (kept int) {
	asked := map[proto.RangeID][]proto.ReplicaID{}
	vain := map[proto.RangeID]int{} // how often there was nobody to ask
	for ctx.Err() == nil {
		isDone := func(id proto.RangeID) bool { return vain[id] >= handOverVain }
		offers := slices.DeleteFunc(s.ledBesideOthers(), isDone)
		if len(offers) > 1 {
			isSystem := func(id proto.RangeID) bool { return id == proto.SystemRange }
			offers = slices.DeleteFunc(offers, isSystem)
		}
		if len(offers) == 0 {
			break
		}
		for _, id := range offers {
			var to proto.ReplicaID
			var later bool
			not := asked[id]
			err := s.visit(ctx, id, func(c *replica.Core) { to, later = c.HandOver(id, not) })
			switch {
			case errors.Is(err, ErrStopped):
				return len(s.ledBesideOthers())
			case err != nil: // the core is busy, and may yet do it, or ctx has ended
			case to == 0 && later: // of a leader that is new nobody has been heard yet
				vain[id]++
			case to == 0:
				vain[id] = handOverVain
			default:
				asked[id] = append(not, to)
			}
		}
		s.awaitHandOver(ctx, offers)
	}
	return len(s.ledBesideOthers())
}

// handOverVain is how often HandOver looks for a successor that is not there yet.
const handOverVain = 3

// handOverLooks bounds how long a successor is waited for: 250 ms by default, where a healthy one takes a few.
const handOverLooks = transferLooks / 8

// awaitHandOver waits until none of the ranges is led here any more, for a bounded time.
func (s *Calls) awaitHandOver(ctx context.Context, offers []proto.RangeID) {
	for range handOverLooks {
		led := s.ledBesideOthers()
		isLed := func(id proto.RangeID) bool { return slices.Contains(led, id) }
		if !slices.ContainsFunc(offers, isLed) {
			return
		}
		if s.cfg.Wait.Sleep(ctx, s.cfg.TransferTimeout/transferLooks) != nil {
			return
		}
	}
}

// ledBesideOthers lists the ranges that this store leads and that have other voters, in the order of ids.
func (s *Calls) ledBesideOthers() (led []proto.RangeID) {
	s.Statuses(func(st *replica.Status) bool {
		if st.Leads && replica.Voters(st.Descriptor) > 1 {
			led = append(led, st.Range)
		}
		return true
	})
	slices.Sort(led)
	return led
}
