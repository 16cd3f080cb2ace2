package sim

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// oracle sees everything and says when a promise between replicas is broken. It checks:
//
//   - one leader a term
//   - replicas of a range are identical at the same applied index, as read back from their engines
//   - the log never begins behind the applied index, and the applied index never goes back while a process lives
//   - spans on a store do not overlap
type oracle struct {
	c       *cluster
	leaders map[[2]uint64]proto.StoreID // range, term
	applied map[[2]uint64]uint64        // store, range: newest in this life
	hashes  map[[2]uint64]seen          // range, applied index
	log     *logOracle
}

type seen struct {
	hash  uint64
	store proto.StoreID
	at    int64
}

// compareEvery: replicas are compared at indexes that are multiples of it, so that all hash the same ones.
const compareEvery = 4

func newOracle(c *cluster) *oracle {
	return &oracle{c: c, leaders: map[[2]uint64]proto.StoreID{}, applied: map[[2]uint64]uint64{},
		hashes: map[[2]uint64]seen{}, log: newLogOracle(c)}
}

func (o *oracle) status(s *store, st *replica.Status) {
	place := [2]uint64{uint64(s.id), uint64(st.Range)}
	if st.Removed {
		delete(o.applied, place)
		o.log.forget(place)
		o.c.count.removed++
		return
	}
	o.log.status(s, st)
	o.c.k.mix(st.Applied)
	o.c.k.mix(st.Term)
	if st.Leads {
		o.leads(s, st)
	}
	if st.FirstIndex > st.Applied+1 {
		o.c.k.broken(LogPlace, "store %d: range %d has applied %d, but its log begins at %d",
			s.id, st.Range, st.Applied, st.FirstIndex)
	}
	if life := o.applied[place]; st.Applied < life {
		o.c.k.broken(LogPlace, "store %d: range %d went back from %d to %d", s.id, st.Range, life,
			st.Applied)
	} else if st.Applied > life {
		o.applied[place] = st.Applied
		o.compare(s, st.Range)
	}
}

func (o *oracle) leads(s *store, st *replica.Status) {
	term := [2]uint64{uint64(st.Range), st.Term}
	switch had, ok := o.leaders[term]; {
	case !ok:
		o.leaders[term] = s.id
		o.c.count.leaders++
		o.c.nemesis.moment(s, "leads")
		o.c.k.note("store %d leads range %d in term %d", s.id, st.Range, st.Term)
	case had != s.id:
		o.c.k.broken(OneLeader, "range %d has two leaders in term %d: stores %d and %d",
			st.Range, st.Term, had, s.id)
	}
}

// reborn: after a crash a store may have applied less.
func (o *oracle) reborn(s *store) {
	for place := range o.applied {
		if place[0] == uint64(s.id) {
			delete(o.applied, place)
		}
	}
	o.log.reborn(s)
}

// compare reads a replica back from its engine and compares it with what others held at the same place.
func (o *oracle) compare(s *store, id proto.RangeID) {
	state, err := replica.ReadState(s.engine, id)
	if err != nil {
		return // destroyed since
	}
	if state.AppliedIndex%compareEvery == 0 {
		o.check(s, state)
	}
}

func (o *oracle) check(s *store, state *internalpb.RangeState) {
	hash, _, err := hashRange(s.engine, state)
	if err != nil {
		o.c.k.broken(ReplicaEquality, "store %d: read range %d: %w", s.id, state.Desc.RangeId, err)
		return
	}
	place := [2]uint64{state.Desc.RangeId, state.AppliedIndex}
	was, ok := o.hashes[place]
	if !ok {
		o.hashes[place] = seen{hash, s.id, o.c.k.now}
		return
	}
	o.c.count.compared++
	if was.hash != hash {
		o.c.k.broken(ReplicaEquality, "range %d at index %d: store %d differs from what store %d had at %.6fs",
			state.Desc.RangeId, state.AppliedIndex, s.id, was.store, float64(was.at)/1e9)
	}
}

// hashRange reads all of a replica's data and its state, without what is its own, and counts keys and values.
func hashRange(v storage.Reader, state *internalpb.RangeState) (hash, size uint64, err error) {
	h := xxhash.New()
	var rows storage.Batch
	if err := readSpan(v, state.Desc, &rows); err != nil {
		return 0, 0, err
	}
	h.Write(rows.Bytes())
	for ops := rows.Ops(); ; {
		op, ok, err := ops.Next()
		if err != nil {
			return 0, 0, err
		}
		if !ok {
			break
		}
		size += uint64(len(op.Key) + len(op.Value))
	}
	shared := gproto.Clone(state).(*internalpb.RangeState)
	shared.ReplicaId = 0
	b, err := gproto.MarshalOptions{Deterministic: true}.Marshal(shared)
	if err != nil {
		return 0, 0, err
	}
	h.Write(b)
	return h.Sum64(), size, nil
}

// checkedSpans is a SpanTable that checks after each change that no two ranges hold the same key.
type checkedSpans struct {
	*replica.SpanTable
	s    *store
	held map[proto.RangeID][2][]byte
}

func newCheckedSpans(s *store) *checkedSpans {
	return &checkedSpans{SpanTable: replica.NewSpanTable(), s: s, held: map[proto.RangeID][2][]byte{}}
}

// Set implements replica.Spans.
func (t *checkedSpans) Set(id proto.RangeID, start, end []byte) {
	t.SpanTable.Set(id, start, end)
	t.held[id] = [2][]byte{start, end}
	t.verify("set")
}

// Split implements replica.Spans.
func (t *checkedSpans) Split(left, right proto.RangeID, key []byte) {
	t.SpanTable.Split(left, right, key)
	whole := t.held[left]
	t.held[left] = [2][]byte{whole[0], key}
	if right != 0 {
		t.held[right] = [2][]byte{key, whole[1]}
	}
	t.verify("split")
}

// Remove implements replica.Spans.
func (t *checkedSpans) Remove(id proto.RangeID) {
	t.SpanTable.Remove(id)
	delete(t.held, id)
}

func (t *checkedSpans) verify(after string) {
	type held struct {
		id         proto.RangeID
		start, end []byte
	}
	var all []held
	for id, b := range t.held {
		all = append(all, held{id, b[0], b[1]})
	}
	slices.SortFunc(all, func(a, b held) int {
		if c := bytes.Compare(a.start, b.start); c != 0 {
			return c
		}
		return int(a.id) - int(b.id)
	})
	for i := 1; i < len(all); i++ {
		if a, b := all[i-1], all[i]; len(a.end) == 0 || bytes.Compare(a.end, b.start) > 0 {
			t.s.c.k.broken(Spans, "store %d: after %s, ranges %d and %d overlap", t.s.id, after, a.id, b.id)
		}
	}
}

// converged tells whether the cluster is at rest: every range has its replicas, all at the same place, and stores hold
// nothing else. why says what is missing.
func (o *oracle) converged() (ok bool, why string) {
	leaders := o.c.leaders()
	var next []byte
	byStart := slices.Clone(leaders)
	slices.SortFunc(byStart, func(a, b leaderStatus) int { return bytes.Compare(a.Descriptor.Start, b.Descriptor.Start) })
	for i, l := range byStart {
		if !bytes.Equal(l.Descriptor.Start, next) || (len(l.Descriptor.End) == 0) != (i == len(byStart)-1) {
			return false, fmt.Sprintf("no leader for what begins at %q", next)
		}
		next = l.Descriptor.End
	}
	if len(leaders) == 0 {
		return false, "no leader at all"
	}
	replicas := 0
	for _, l := range leaders {
		if why := o.settled(l); why != "" {
			return false, fmt.Sprintf("range %d: %s", l.Range, why)
		}
		replicas += len(l.Descriptor.Replicas)
	}
	for _, s := range o.c.stores {
		if s.lost {
			continue
		}
		replicas -= len(s.status)
		if !s.up {
			return false, fmt.Sprintf("store %d is not at rest", s.id)
		}
	}
	if replicas != 0 {
		return false, fmt.Sprintf("stores hold %d replicas too many", -replicas)
	}
	return true, ""
}

func (o *oracle) settled(l leaderStatus) string {
	if replica.InJoint(l.Descriptor) || len(l.Descriptor.Replicas) != min(voters, o.c.o.Stores) {
		return fmt.Sprintf("has %d replicas", len(l.Descriptor.Replicas))
	}
	for _, p := range l.Descriptor.Replicas {
		s := o.c.store(proto.StoreID(p.StoreId))
		st := s.status[l.Range]
		switch {
		case p.Role != internalpb.ReplicaRole_VOTER:
			return fmt.Sprintf("replica %d is %s", p.ReplicaId, p.Role)
		case st == nil || uint64(st.Replica) != p.ReplicaId || st.Descriptor == nil:
			return fmt.Sprintf("replica %d is not on store %d", p.ReplicaId, p.StoreId)
		case st.Term != l.Term || st.Applied != l.LastIndex || st.Commit != l.LastIndex || st.LastIndex != l.LastIndex:
			return fmt.Sprintf("replica %d is at %d/%d/%d in term %d, the leader at %d in %d", p.ReplicaId, st.Applied,
				st.Commit, st.LastIndex, st.Term, l.LastIndex, l.Term)
		}
	}
	return ""
}

// final compares all replicas of all ranges, and the sum of what ranges believe to hold with what they hold.
func (o *oracle) final() {
	var believed, held uint64
	for _, l := range o.c.leaders() {
		for _, p := range l.Descriptor.Replicas {
			s := o.c.store(proto.StoreID(p.StoreId))
			state, err := replica.ReadState(s.engine, l.Range)
			if err != nil {
				o.c.k.broken(FinalRead, "store %d: final read of range %d: %w", s.id, l.Range, err)
				return
			}
			o.check(s, state)
		}
		state, err := replica.ReadState(l.store.engine, l.Range)
		if err != nil {
			o.c.k.broken(FinalRead, "store %d: final read of range %d: %w", l.store.id, l.Range, err)
			return
		}
		_, size, err := hashRange(l.store.engine, state)
		if err != nil {
			o.c.k.broken(FinalRead, "store %d: final read of range %d: %w", l.store.id, l.Range, err)
			return
		}
		believed, held = believed+state.Bytes, held+size
	}
	if believed != held {
		o.c.k.broken(Sizes, "ranges hold %d bytes and believe to hold %d: a command was applied twice or not at all",
			held, believed)
	}
	for _, s := range o.c.stores {
		if s.rotten && !s.lost {
			o.c.k.broken(Rot, "store %d: a bit was flipped and nobody saw it", s.id)
		}
		if !s.lost {
			o.leftovers(s)
		}
	}
}

// leftovers: a store holds data of its ranges alone.
func (o *oracle) leftovers(s *store) {
	lower, upper := keys.DataSpan(nil, nil)
	it, err := s.engine.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	if err != nil {
		o.c.k.fail("store %d: %w", s.id, err)
		return
	}
	for ok := it.SeekGE(lower); ok; ok = it.Next() {
		k, _ := it.Item()
		key, _, err := keys.ParseData(k)
		if err != nil {
			o.c.k.fail("store %d: %w", s.id, err)
			break
		}
		mine := slices.ContainsFunc(s.ranges(), func(id proto.RangeID) bool {
			d := s.status[id].Descriptor
			return d != nil && contains(d, key)
		})
		if !mine {
			o.c.k.broken(Leftovers, "store %d holds %q, but no range that has it", s.id, key)
			break
		}
	}
	if err := it.Close(); err != nil {
		o.c.k.fail("store %d: %w", s.id, err)
	}
}
