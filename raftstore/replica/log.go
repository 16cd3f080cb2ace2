package replica

import (
	"errors"
	"fmt"
	"math"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	vproto "github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// ErrLogLost is in Effects.Fatal and in the error of Load when a log ends before what this store said to have on its
// disk: the disk, or somebody, has lost it. The store can not tell what else is missing.
var ErrLogLost = errors.New("the log has lost entries that this store acknowledged")

// raftLog is one replica's log as raft.Storage sees it. What was handed to the disk counts as there: until the disk has
// acknowledged it, raft reads it from its own memory, and this log from its cache.
type raftLog struct {
	id        vproto.RangeID
	reader    storage.Reader
	hard      *internalpb.HardState
	truncated *internalpb.TruncatedState
	last      uint64
	lastTerm  uint64
	bytes     uint64 // of the entries since truncated, roughly: what this process appended

	cache      []*raftpb.Entry // contiguous, ends at last
	cacheBytes int
	cacheMax   int

	conf     func() *raftpb.ConfState
	snapshot func() (*raftpb.Snapshot, error)
}

// storageFailure leaves raft, which has no way to return an error from a read, as a panic; Core.guard catches it.
type storageFailure struct{ err error }

func (l *raftLog) fail(err error) {
	panic(storageFailure{fmt.Errorf("read the log of range %d: %w", l.id, err)})
}

// InitialState implements raft.Storage.
func (l *raftLog) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	hs := &raftpb.HardState{Term: &l.hard.Term, Vote: &l.hard.Vote, Commit: &l.hard.Commit}
	return hs, l.conf(), nil
}

// FirstIndex implements raft.Storage.
func (l *raftLog) FirstIndex() (uint64, error) { return l.truncated.Index + 1, nil }

// LastIndex implements raft.Storage.
func (l *raftLog) LastIndex() (uint64, error) { return l.last, nil }

// Snapshot implements raft.Storage.
func (l *raftLog) Snapshot() (*raftpb.Snapshot, error) { return l.snapshot() }

func (l *raftLog) cacheFirst() uint64 { return l.last + 1 - uint64(len(l.cache)) }

// Term implements raft.Storage.
func (l *raftLog) Term(i uint64) (uint64, error) {
	switch {
	case i == l.truncated.Index:
		return l.truncated.Term, nil
	case i < l.truncated.Index:
		return 0, raft.ErrCompacted
	case i > l.last:
		return 0, raft.ErrUnavailable
	case i == l.last:
		return l.lastTerm, nil
	case i >= l.cacheFirst():
		return l.cache[i-l.cacheFirst()].GetTerm(), nil
	}
	e, err := l.load(i)
	if err != nil {
		l.fail(err)
	}
	return e.GetTerm(), nil
}

func (l *raftLog) load(i uint64) (*raftpb.Entry, error) {
	v, err := l.reader.Get(keys.LogEntry(l.id, i))
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", i, err)
	}
	return decodeEntry(i, v)
}

func decodeEntry(i uint64, v []byte) (*raftpb.Entry, error) {
	e := &raftpb.Entry{}
	if err := proto.Unmarshal(v, e); err != nil {
		return nil, fmt.Errorf("entry %d: %w", i, err)
	}
	if e.GetIndex() != i {
		return nil, fmt.Errorf("entry %d holds index %d", i, e.GetIndex())
	}
	return e, nil
}

// Entries implements raft.Storage.
func (l *raftLog) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	if lo <= l.truncated.Index {
		return nil, raft.ErrCompacted
	}
	if hi > l.last+1 {
		return nil, raft.ErrUnavailable
	}
	var out []*raftpb.Entry
	var size uint64
	take := func(e *raftpb.Entry) bool {
		size += uint64(proto.Size(e))
		if len(out) > 0 && size > maxSize {
			return false
		}
		out = append(out, e)
		return true
	}
	if first := l.cacheFirst(); lo < first {
		fault.Reached("log-read-from-engine")
		more, err := l.scan(lo, min(hi, first), take)
		if err != nil {
			l.fail(err)
		}
		if !more {
			return out, nil
		}
		lo = first
	}
	for ; lo < hi; lo++ {
		if !take(l.cache[lo-l.cacheFirst()]) {
			break
		}
	}
	return out, nil
}

// scan hands the entries [lo, hi) of the engine to take until it says no.
func (l *raftLog) scan(lo, hi uint64, take func(*raftpb.Entry) bool) (more bool, err error) {
	it, err := l.reader.NewIter(storage.IterOptions{
		Lower: keys.LogEntry(l.id, lo), Upper: keys.LogEntry(l.id, hi)})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.SeekGE(keys.LogEntry(l.id, lo)); ok; ok = it.Next() {
		_, v := it.Item()
		e, err := decodeEntry(lo, v)
		if err != nil {
			return false, err
		}
		if !take(e) {
			return false, nil
		}
		lo++
	}
	if lo < hi {
		return false, fmt.Errorf("entry %d is missing", lo)
	}
	return true, nil
}

// append puts entries into the batch and the cache; a suffix that they replace goes.
func (l *raftLog) append(b *storage.Batch, entries []*raftpb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	first, last := entries[0].GetIndex(), entries[len(entries)-1].GetIndex()
	invariant(first <= l.last+1, "range %d: append at %d after %d", l.id, first, l.last)
	invariant(first > l.truncated.Index, "range %d: append at %d below %d", l.id, first, l.truncated.Index)
	fault.Sometimes("log-suffix-replaced", first <= l.last)
	for _, e := range entries {
		v, err := proto.Marshal(e)
		if err != nil {
			return fmt.Errorf("encode entry %d of range %d: %w", e.GetIndex(), l.id, err)
		}
		b.Set(keys.LogEntry(l.id, e.GetIndex()), v)
		l.bytes += uint64(len(v))
	}
	if last < l.last {
		b.DeleteRange(keys.LogEntry(l.id, last+1), keys.LogEntry(l.id, l.last+1))
	}
	if keep := int64(first) - int64(l.cacheFirst()); keep >= 0 {
		for _, e := range l.cache[keep:] {
			l.cacheBytes -= len(e.GetData())
		}
		clear(l.cache[keep:]) // nobody else holds the slice: Entries copies
		l.cache = l.cache[:keep]
	} else {
		l.cache, l.cacheBytes = nil, 0
	}
	l.cache = append(l.cache, entries...)
	for _, e := range entries {
		l.cacheBytes += len(e.GetData())
	}
	l.last, l.lastTerm = last, entries[len(entries)-1].GetTerm()
	return nil
}

// trim gives cached entries up to index back, as far as the cache is over its limit.
func (l *raftLog) trim(index uint64) {
	n, over := 0, l.cacheMax
	if fault.Buggify("drop-cache") {
		over = -1
	}
	for n < len(l.cache) && l.cacheBytes > over && l.cache[n].GetIndex() <= index {
		l.cacheBytes -= len(l.cache[n].GetData())
		n++
	}
	if n > 0 {
		clear(l.cache[:n]) // the next growth of the slice drops their places
		l.cache = l.cache[n:]
	}
}

// truncate cuts entries up to index in the batch.
func (l *raftLog) truncate(b *storage.Batch, index, term uint64) error {
	b.DeleteRange(keys.LogEntry(l.id, l.truncated.Index+1), keys.LogEntry(l.id, index+1))
	total := l.last - l.truncated.Index
	if total > 0 {
		l.bytes -= l.bytes / total * min(index-l.truncated.Index, total)
	}
	l.truncated = &internalpb.TruncatedState{Index: index, Term: term}
	for len(l.cache) > 0 && l.cache[0].GetIndex() <= index {
		l.cacheBytes -= len(l.cache[0].GetData())
		l.cache = l.cache[1:]
	}
	return setProto(b, keys.Local(l.id, keys.KindTruncated), l.truncated)
}

// reset makes the log empty behind a range snapshot, in the batch that installs it.
func (l *raftLog) reset(b *storage.Batch, index, term uint64) error {
	b.DeleteRange(keys.LogEntry(l.id, 0), keys.LogEntry(l.id, math.MaxUint64))
	l.truncated = &internalpb.TruncatedState{Index: index, Term: term}
	l.last, l.lastTerm, l.bytes = index, term, 0
	l.cache, l.cacheBytes = nil, 0
	return setProto(b, keys.Local(l.id, keys.KindTruncated), l.truncated)
}

func setProto(b *storage.Batch, key []byte, m proto.Message) error {
	v, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %T: %w", m, err)
	}
	b.Set(key, v)
	return nil
}

// getProto reads a record; found is false when it is not there.
func getProto(r storage.Reader, key []byte, m proto.Message) (found bool, err error) {
	v, err := r.Get(key)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := proto.Unmarshal(v, m); err != nil {
		return false, fmt.Errorf("decode %T: %w", m, err)
	}
	return true, nil
}

// lastIndex finds the newest entry in the engine.
func lastIndex(r storage.Reader, id vproto.RangeID, t *internalpb.TruncatedState) (index, term uint64, err error) {
	it, err := r.NewIter(storage.IterOptions{
		Lower: keys.LogEntry(id, t.Index+1), Upper: keys.LogEntry(id, math.MaxUint64)})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.SeekLT(keys.LogEntry(id, math.MaxUint64)) {
		return t.Index, t.Term, nil
	}
	k, v := it.Item()
	if index, err = keys.LogIndex(k); err != nil {
		return 0, 0, err
	}
	e, err := decodeEntry(index, v)
	if err != nil {
		return 0, 0, err
	}
	return index, e.GetTerm(), nil
}

func invariant(ok bool, format string, args ...any) {
	if !ok {
		panic("invariant: " + fmt.Sprintf(format, args...))
	}
}
