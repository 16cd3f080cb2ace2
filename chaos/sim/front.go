package sim

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// request is one attempt of a client at a store.
type request struct {
	kind        history.Kind
	slot        string // the keys of a slot are never split
	key         string
	arg, expect string
}

// answer is what the store says.
type answer struct {
	verdict replica.Verdict // Applied: done
	hint    proto.StoreID
	result  string
	list    []string
}

// front evaluates requests at the leader: it stands for what is above the replicas in a node. Reads take a view after
// a quorum round. Writes are evaluated under the latch of their key, carry the epoch and the term of that view, and
// hold the latch until their outcome is known.
type front struct {
	s         *store
	next      uint64
	latches   map[string][]*write // the first holds it
	proposals map[uint64]*write
	reads     map[uint64]*read
}

type write struct {
	request
	answer answer
	reply  func(answer)
}

type read struct {
	request
	rangeID proto.RangeID
	reply   func(answer)
}

// latchQueueMax bounds the writes that wait for one key.
const latchQueueMax = 16

func newFront(s *store) *front {
	return &front{s: s, latches: map[string][]*write{}, proposals: map[uint64]*write{}, reads: map[uint64]*read{}}
}

// handle takes a request of a client.
func (f *front) handle(q request, reply func(answer)) {
	switch q.kind {
	case history.Read, history.Stream, history.Set:
		f.read(q, reply)
		return
	}
	w := &write{request: q, reply: reply}
	queue := f.latches[q.key]
	if len(queue) >= latchQueueMax {
		reply(answer{verdict: replica.QueueFull})
		return
	}
	f.latches[q.key] = append(queue, w)
	if len(queue) == 0 {
		f.evaluate(w)
	}
}

// lookup finds the replica here that leads the range of the key, or says who might.
func (f *front) lookup(key []byte) (st *replica.Status, hint proto.StoreID) {
	for _, id := range f.s.ranges() {
		s := f.s.status[id]
		if s.Descriptor == nil || !contains(s.Descriptor, key) {
			continue
		}
		if s.Leads {
			return s, 0
		}
		for _, p := range s.Descriptor.Replicas {
			if p.ReplicaId == uint64(s.Leader) {
				hint = proto.StoreID(p.StoreId)
			}
		}
	}
	return nil, hint
}

func contains(d *internalpb.Descriptor, key []byte) bool {
	return bytes.Compare(d.Start, key) <= 0 && (len(d.End) == 0 || bytes.Compare(key, d.End) < 0)
}

func (f *front) read(q request, reply func(answer)) {
	st, hint := f.lookup(userKey(q.slot))
	if st == nil {
		reply(answer{verdict: replica.NotLeader, hint: hint})
		return
	}
	f.next++
	id := f.next
	f.reads[id] = &read{request: q, rangeID: st.Range, reply: reply}
	f.s.with(st.Range, func(c *replica.Core) { c.Read(st.Range, id) })
}

// readable takes the view only now, maybe a little later, and looks again at what the range holds.
func (f *front) readable(o *replica.ReadOutcome) {
	r := f.reads[o.Read]
	if r == nil {
		f.s.c.k.fail("store %d: read %d is answered twice or was never asked", f.s.id, o.Read)
		return
	}
	delete(f.reads, o.Read)
	if !o.OK {
		r.reply(answer{verdict: replica.NotLeader})
		return
	}
	f.s.after(between(f.s.r, 0, 500*us), "read", func() { f.answerRead(r) })
}

func (f *front) answerRead(r *read) {
	view := f.s.engine.NewView()
	defer view.Close()
	state, err := replica.ReadState(view, r.rangeID)
	if err != nil || !contains(state.Desc, userKey(r.slot)) {
		r.reply(answer{verdict: replica.StaleEpoch})
		return
	}
	a := answer{verdict: replica.Applied}
	switch r.kind {
	case history.Read:
		a.result, err = f.value(view, state, r.key)
	case history.Stream, history.Set:
		a.list, err = f.list(view, state, r.key)
	}
	if err != nil {
		f.s.c.k.fail("store %d: read %s: %w", f.s.id, r.key, err)
		return
	}
	r.reply(a)
}

// value reads a register and checks that it was not written under an epoch that this view does not know yet.
func (f *front) value(v storage.Reader, state *internalpb.RangeState, key string) (string, error) {
	b, err := v.Get(keys.Data(userKey(key)))
	if err == storage.ErrNotFound {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return unwrap(b, state)
}

// unwrap takes a value apart: what the client wrote, and under which epoch it was evaluated.
func unwrap(b []byte, state *internalpb.RangeState) (string, error) {
	var version uint64
	text, tag, _ := strings.Cut(string(b), "@")
	if _, err := fmt.Sscanf(tag, "%d", &version); err != nil {
		return "", fmt.Errorf("a value is torn: %q", b)
	}
	if version > state.Desc.Epoch.Version {
		return "", fmt.Errorf("%q was written under epoch %d, range %d has %d", text, version, state.Desc.RangeId,
			state.Desc.Epoch.Version)
	}
	return text, nil
}

func wrap(text string, state *internalpb.RangeState) []byte {
	return fmt.Appendf(nil, "%s@%06d", text, state.Desc.Epoch.Version)
}

// list reads the records of a stream or the elements of a set: all keys below key/.
func (f *front) list(v storage.Reader, state *internalpb.RangeState, key string) (out []string, err error) {
	lower, upper := keys.Data(userKey(key+"/")), keys.Data(userKey(key+"0"))
	it, err := v.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	if err != nil {
		return nil, err
	}
	for ok := it.SeekGE(lower); ok && err == nil; ok = it.Next() {
		_, b := it.Item()
		var text string
		text, err = unwrap(b, state)
		out = append(out, text)
	}
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	return out, err
}

// evaluate makes a command of a write that holds its latch.
func (f *front) evaluate(w *write) {
	st, hint := f.lookup(userKey(w.slot))
	if st == nil {
		f.finish(w, answer{verdict: replica.NotLeader, hint: hint})
		return
	}
	view := f.s.engine.NewView()
	defer view.Close()
	state, err := replica.ReadState(view, st.Range)
	switch {
	case err != nil || !contains(state.Desc, userKey(w.slot)):
		f.finish(w, answer{verdict: replica.StaleEpoch})
		return
	case state.AppliedTerm != st.Term: // what earlier leaders wrote may not be here yet
		f.finish(w, answer{verdict: replica.NotLeader})
		return
	}
	batch, delta, err := f.build(view, state, w)
	if err != nil {
		f.s.c.k.fail("store %d: evaluate %s: %w", f.s.id, w.key, err)
		return
	}
	cmd := &internalpb.Command{
		EpochVersion: state.Desc.Epoch.Version, EvalTerm: st.Term,
		Kind: &internalpb.Command_Write{Write: &internalpb.WriteCommand{
			Tenant: simTenant, Batch: batch.Bytes(), DeltaBytes: delta}},
	}
	f.s.after(f.s.c.proposalDelay(f.s), "propose", func() { f.propose(st.Range, w, cmd) })
}

func (f *front) propose(id proto.RangeID, w *write, cmd *internalpb.Command) {
	f.next++
	f.proposals[f.next] = w
	proposal := f.next
	f.s.with(id, func(c *replica.Core) { c.Propose(id, proposal, cmd) })
}

// build evaluates. Appends read what they write; nothing in here may be done twice.
func (f *front) build(v storage.Reader, state *internalpb.RangeState, w *write) (b storage.Batch, delta int64, err error) {
	set := func(key string, value []byte) {
		k := keys.Data(userKey(key))
		delta += int64(len(value))
		if old, err := v.Get(k); err == nil {
			delta -= int64(len(old))
		} else {
			delta += int64(len(k))
		}
		b.Set(k, value)
	}
	switch w.kind {
	case history.Write:
		set(w.key, wrap(w.arg, state))
	case history.CAS: // one that does not match proposes an empty batch: its answer is as true as its term
		old, err := f.value(v, state, w.key)
		if err != nil {
			return b, 0, err
		}
		w.answer.result = fmt.Sprint(old == w.expect)
		if old == w.expect {
			set(w.key, wrap(w.arg, state))
		}
	case history.Append:
		head, err := f.value(v, state, w.key)
		if err != nil {
			return b, 0, err
		}
		n := 0
		if head != "" {
			if n, err = strconv.Atoi(head); err != nil {
				return b, 0, err
			}
		}
		w.answer.result = strconv.Itoa(n + 1)
		set(w.key, wrap(fmt.Sprintf("%06d", n+1), state))
		set(fmt.Sprintf("%s/%06d", w.key, n+1), wrap(w.arg, state))
	case history.Add:
		set(w.key+"/"+w.arg, wrap(w.arg, state))
	}
	return b, delta, nil
}

// outcome ends a write.
func (f *front) outcome(o *replica.Outcome) {
	w := f.proposals[o.Proposal]
	if w == nil {
		if !f.s.c.placement.outcome(f.s, o) {
			f.s.c.k.fail("store %d: proposal %d is answered twice or was never made", f.s.id, o.Proposal)
		}
		return
	}
	delete(f.proposals, o.Proposal)
	f.s.c.count.verdicts[o.Verdict]++
	a := answer{verdict: o.Verdict}
	if o.Verdict == replica.Applied {
		a = w.answer
		a.verdict = replica.Applied
	}
	f.finish(w, a)
}

// finish answers and lets the next write have the latch.
func (f *front) finish(w *write, a answer) {
	w.reply(a)
	queue := slices.Delete(f.latches[w.key], 0, 1)
	if len(queue) == 0 {
		delete(f.latches, w.key)
		return
	}
	f.latches[w.key] = queue
	next := queue[0]
	f.s.after(between(f.s.r, 0, 50*us), "latch", func() { f.evaluate(next) })
}

// waiting tells whether anything is not answered yet.
func (f *front) waiting() bool { return len(f.proposals) > 0 || len(f.reads) > 0 || len(f.latches) > 0 }
