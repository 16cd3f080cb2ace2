package sim

import (
	"errors"

	"github.com/cespare/xxhash/v2"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// logOracle looks at the logs of all replicas. It checks:
//
//   - committed entries are the same on all replicas, as read back from their engines
//   - whoever leads in a new term has everything that was committed before
//   - the commit index never goes back while a process lives
type logOracle struct {
	c       *cluster
	entries map[[2]uint64]seen   // range, index: of committed entries
	commits map[[2]uint64]uint64 // store, range: newest in this life
	looked  map[[2]uint64]uint64 // store, range: entries up to here were compared
	known   map[uint64]uint64    // range: the greatest index that anybody knew to be committed
	terms   map[uint64]uint64    // range: the greatest term with a leader
}

// matchEvery: entries are compared at indexes that are multiples of it.
const matchEvery = 3

func newLogOracle(c *cluster) *logOracle {
	return &logOracle{c: c, entries: map[[2]uint64]seen{}, commits: map[[2]uint64]uint64{},
		looked: map[[2]uint64]uint64{}, known: map[uint64]uint64{}, terms: map[uint64]uint64{}}
}

// forget: a replica that comes again, with another id, begins anew.
func (o *logOracle) forget(place [2]uint64) {
	delete(o.commits, place)
	delete(o.looked, place)
}

func (o *logOracle) reborn(s *store) {
	for place := range o.commits {
		if place[0] == uint64(s.id) {
			o.forget(place)
		}
	}
}

func (o *logOracle) status(s *store, st *replica.Status) {
	id := uint64(st.Range)
	if st.Leads && st.Term > o.terms[id] {
		o.terms[id] = st.Term
		if st.LastIndex < o.known[id] {
			o.c.k.broken(Completeness, "store %d leads range %d in term %d up to %d; %d was committed",
				s.id, id, st.Term, st.LastIndex, o.known[id])
		}
	}
	place := [2]uint64{uint64(s.id), id}
	was := o.commits[place]
	if st.Commit < was {
		o.c.k.broken(CommitForward, "store %d: range %d was committed up to %d, and is up to %d",
			s.id, id, was, st.Commit)
	}
	o.commits[place] = st.Commit
	o.known[id] = max(o.known[id], st.Commit)
	// What has been applied is in the engine; of what is committed only, an older entry may still be there.
	from := max(o.looked[place]+1, st.FirstIndex)
	o.looked[place] = st.Applied
	for i := from; i <= st.Applied; i++ {
		if i%matchEvery == 0 {
			o.match(s, st, i)
		}
	}
}

// match compares an entry with what other replicas had there. One that is cut off already is left alone.
func (o *logOracle) match(s *store, st *replica.Status, index uint64) {
	v, err := s.engine.Get(keys.LogEntry(st.Range, index))
	if errors.Is(err, storage.ErrNotFound) {
		return
	}
	if err != nil {
		o.c.k.broken(LogMatching, "store %d: read entry %d of range %d: %w", s.id, index, st.Range, err)
		return
	}
	place := [2]uint64{uint64(st.Range), index}
	hash := xxhash.Sum64(v)
	was, ok := o.entries[place]
	if !ok {
		o.entries[place] = seen{hash, s.id, o.c.k.now}
		return
	}
	o.c.count.matched++
	if was.hash != hash {
		o.c.k.broken(LogMatching, "range %d, entry %d: store %d has another than store %d had at %.6fs",
			st.Range, index, s.id, was.store, float64(was.at)/1e9)
	}
}
