package raftstoretest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"sync"

	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// Writer writes numbered values, one at a time, over a few keys in turn: number i goes to key i modulo Keys. So at any
// place in the log each key holds the last number that was written to it.
type Writer struct {
	Name string
	Keys uint64
	// Size is the length of values in bytes, at least 8.
	Size int

	mu     sync.Mutex
	acked  []bool // by number; number 0 is never written
	counts struct{ stale, ambiguous int }
}

// Key is the key of a number.
func (w *Writer) Key(number uint64) []byte { return Key(fmt.Sprintf("%s-%03d", w.Name, number%w.Keys)) }

func (w *Writer) value(number uint64) []byte {
	v := make([]byte, max(w.Size, 8))
	binary.BigEndian.PutUint64(v, number)
	x := number*0x9E3779B97F4A7C15 + 1
	for i := 8; i < len(v); i++ { // does not compress
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		v[i] = byte(x)
	}
	return v
}

// Write writes the next number. It tries again as long as it is certain that the write had no effect; an unknown
// outcome uses the number up.
func (w *Writer) Write(ctx context.Context, c *Cluster) error {
	w.mu.Lock()
	if len(w.acked) == 0 {
		w.acked = []bool{false}
	}
	number := uint64(len(w.acked))
	w.acked = append(w.acked, false)
	w.mu.Unlock()
	for {
		c.acks.RLock()
		crashes := c.acks.crashes
		c.acks.RUnlock()
		err := c.Put(ctx, w.Key(number), w.value(number))
		if err == nil {
			w.ack(c, number, crashes)
			return nil
		}
		if !Harmless(err) || ctx.Err() != nil {
			w.note(err)
			return err
		}
		w.note(err)
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// ack notes an acknowledgement, unless a crash came in between: then it is not known whether it was said before.
func (w *Writer) ack(c *Cluster, number uint64, crashes int) {
	c.acks.RLock()
	defer c.acks.RUnlock()
	if c.acks.crashes == crashes {
		w.mu.Lock()
		w.acked[number] = true
		w.mu.Unlock()
	}
}

// Acked is the last number that was acknowledged.
func (w *Writer) Acked() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.acked) - 1; i > 0; i-- {
		if w.acked[i] {
			return uint64(i)
		}
	}
	return 0
}

// WasAcked tells whether a number was acknowledged: of one that was not, the outcome may be unknown.
func (w *Writer) WasAcked(number uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return number < uint64(len(w.acked)) && w.acked[number]
}

// Load writes with each writer until stop is called, which waits for them.
func (c *Cluster) Load(writers ...*Writer) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for ctx.Err() == nil {
				_ = w.Write(ctx, c) // what was not acknowledged is known to the writer
			}
		}()
	}
	return sync.OnceFunc(func() { cancel(); wg.Wait() })
}

// CheckAcked reads every key through the leaders: it holds the last acknowledged number, or a later one.
func (c *Cluster) CheckAcked(writers ...*Writer) {
	c.T.Helper()
	for _, w := range writers {
		for k := range w.Keys {
			want := w.lastAcked(k)
			v, found := c.MustGet(w.Key(k))
			var got uint64
			if found {
				got = binary.BigEndian.Uint64(v)
			}
			if got < want {
				c.T.Fatalf("writer %s: key %d holds %d, but %d was acknowledged", w.Name, k, got, want)
			}
			if found && !bytes.Equal(v, w.value(got)) {
				c.T.Fatalf("writer %s: key %d holds a damaged value of %d", w.Name, k, got)
			}
		}
	}
}

func (w *Writer) lastAcked(key uint64) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.acked) - 1; i > 0; i-- {
		if uint64(i)%w.Keys == key%w.Keys && w.acked[i] {
			return uint64(i)
		}
	}
	return 0
}

// CheckReplica tells whether what a replica holds of the writers' keys is what some prefix of the log makes: with the
// newest number in its span, m, no acknowledged number up to m is missing.
func CheckReplica(r storage.Reader, d *internalpb.Descriptor, writers ...*Writer) error {
	for _, w := range writers {
		held := make([]uint64, w.Keys)
		var m uint64
		for k := range w.Keys {
			if !Contains(d, w.Key(k)) {
				continue
			}
			v, err := r.Get(keys.Data(w.Key(k)))
			if errors.Is(err, storage.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			held[k] = binary.BigEndian.Uint64(v)
			if !bytes.Equal(v, w.value(held[k])) || held[k]%w.Keys != k {
				return fmt.Errorf("range %d: writer %s: key %d holds a damaged value", d.RangeId, w.Name, k)
			}
			m = max(m, held[k])
		}
		if err := w.checkPrefix(d, held, m); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) checkPrefix(d *internalpb.Descriptor, held []uint64, m uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := uint64(1); i <= m && i < uint64(len(w.acked)); i++ {
		if w.acked[i] && held[i%w.Keys] < i && Contains(d, w.Key(i)) {
			return fmt.Errorf("range %d: writer %s: %d is there and %d, acknowledged before it, is not (key holds %d)",
				d.RangeId, w.Name, m, i, held[i%w.Keys])
		}
	}
	return nil
}

// CheckDisk checks an engine's records, of which none may change meanwhile: every range's log has no hole between its
// truncated and its last index, what is applied lies in it, spans do not overlap, and no data lies outside of them; and
// CheckReplica for each range.
func CheckDisk(r storage.Reader, writers ...*Writer) error {
	ids, err := replica.Ranges(r)
	if err != nil {
		return err
	}
	spans := replica.NewSpanTable()
	var descs []*internalpb.Descriptor
	for _, id := range ids {
		s, err := replica.ReadState(r, id)
		if err != nil {
			return err
		}
		if err := checkLog(r, id, s); err != nil {
			return fmt.Errorf("range %d: %w", id, err)
		}
		if other, ok := spans.Claim(id, s.Desc.Start, s.Desc.End); !ok {
			return fmt.Errorf("ranges %d and %d overlap", id, other)
		}
		spans.Set(id, s.Desc.Start, s.Desc.End)
		if err := CheckReplica(r, s.Desc, writers...); err != nil {
			return err
		}
		descs = append(descs, s.Desc)
	}
	return checkStrays(r, descs)
}

// CheckDisk checks the running store's records as of one moment.
func (n *Node) CheckDisk(writers ...*Writer) error {
	view := n.Engine().NewView()
	return errors.Join(CheckDisk(view, writers...), view.Close())
}

func checkLog(r storage.Reader, id proto.RangeID, s *internalpb.RangeState) (err error) {
	t := &internalpb.TruncatedState{}
	v, err := r.Get(keys.Local(id, keys.KindTruncated))
	if err == nil {
		err = gproto.Unmarshal(v, t)
	}
	if err != nil {
		return fmt.Errorf("truncated state: %w", err)
	}
	it, err := r.NewIter(storage.IterOptions{Lower: keys.LogEntry(id, 0), Upper: keys.LogEntry(id, math.MaxUint64)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	last := t.Index
	for ok := it.SeekGE(keys.LogEntry(id, 0)); ok; ok = it.Next() {
		k, _ := it.Item()
		i, err := keys.LogIndex(k)
		if err != nil {
			return err
		}
		if i != last+1 {
			return fmt.Errorf("entry %d follows %d (truncated at %d)", i, last, t.Index)
		}
		last = i
	}
	if s.AppliedIndex < t.Index || s.AppliedIndex > last {
		return fmt.Errorf("applied %d, log (%d, %d]", s.AppliedIndex, t.Index, last)
	}
	return nil
}

func checkStrays(r storage.Reader, descs []*internalpb.Descriptor) (err error) {
	lower, upper := keys.DataSpan(nil, nil)
	it, err := r.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
next:
	for ok := it.SeekGE(lower); ok; ok = it.Next() {
		k, _ := it.Item()
		key, _, err := keys.ParseData(k)
		if err != nil {
			return err
		}
		for _, d := range descs {
			if Contains(d, key) {
				continue next
			}
		}
		return fmt.Errorf("key %q lies in no range", key)
	}
	return nil
}

// Ledger knows what each range held at each applied index, on whatever replica and at whatever time it was seen: it is
// the same everywhere, and for ever.
type Ledger struct {
	mu   sync.Mutex
	seen map[place]uint64
}

type place struct {
	id      proto.RangeID
	applied uint64
}

// Check compares what a reader holds with what was seen before, and notes it.
func (l *Ledger) Check(r storage.Reader) error {
	ids, err := replica.Ranges(r)
	if err != nil {
		return err
	}
	for _, id := range ids {
		s, err := replica.ReadState(r, id)
		if err != nil {
			return err
		}
		sum, err := hashSpan(r, s)
		if err != nil {
			return err
		}
		if err := l.note(place{id, s.AppliedIndex}, sum); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) note(p place, sum uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = map[place]uint64{}
	}
	if old, ok := l.seen[p]; ok && old != sum {
		return fmt.Errorf("range %d at index %d: another replica, or an earlier look, had other data", p.id, p.applied)
	}
	l.seen[p] = sum
	return nil
}

// hashSpan sums up what a reader holds of a range: its state but for the replica's own id, and its data.
func hashSpan(r storage.Reader, s *internalpb.RangeState) (sum uint64, err error) {
	d := s.Desc
	lower, upper := keys.DataSpan(d.Start, d.End)
	it, err := r.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	h := fnv.New64a()
	fmt.Fprintf(h, "%x %x %v %v %v %d %d\n",
		d.Start, d.End, d.Epoch, len(d.Replicas), s.AppliedTerm, s.Bytes, s.ApplyVersion)
	for ok := it.SeekGE(lower); ok; ok = it.Next() {
		k, v := it.Item()
		fmt.Fprintf(h, "%d %x %d %x\n", len(k), k, len(v), v)
	}
	return h.Sum64(), nil
}

// CheckReplicas waits until all replicas of every range have applied the same, and compares them byte for byte. Nothing
// may be writing.
func (c *Cluster) CheckReplicas() {
	c.T.Helper()
	ids := map[proto.RangeID]bool{}
	for _, n := range c.nodes {
		if s := n.Store(); s != nil {
			s.Statuses(func(st *replica.Status) bool { ids[st.Range] = ids[st.Range] || st.Descriptor != nil; return true })
		}
	}
	for id := range ids {
		c.WaitNil(fmt.Sprintf("replicas of range %d are equal", id), func() error { return c.compare(id) })
	}
}

// compare is nil when all replicas of a range, those on stores that are up, are equal.
func (c *Cluster) compare(id proto.RangeID) error {
	_, st := c.Leader(byID(id))
	if st == nil {
		return ErrNoLeader
	}
	var want *internalpb.RangeState
	var sum uint64
	for _, p := range st.Descriptor.Replicas {
		e := c.Node(proto.StoreID(p.StoreId)).Engine()
		if e == nil {
			continue
		}
		view := e.NewView()
		state, err := replica.ReadState(view, id)
		var got uint64
		if err == nil {
			got, err = hashSpan(view, state)
		}
		_ = view.Close()
		if err != nil {
			return err
		}
		state.ReplicaId = 0
		if want == nil {
			want, sum = state, got
		} else if !gproto.Equal(want, state) || sum != got {
			return fmt.Errorf("store %d has %v, another %v", p.StoreId, state, want)
		}
	}
	return nil
}

func (w *Writer) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if isStale(err) {
		w.counts.stale++
	} else if !Harmless(err) {
		w.counts.ambiguous++
	}
}

// StaleEpochs is how many writes were refused because of a stale epoch.
func (w *Writer) StaleEpochs() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts.stale
}
