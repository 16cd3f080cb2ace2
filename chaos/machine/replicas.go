package machine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// readCacheBytes is the block cache of a store that is opened to be read once.
const readCacheBytes = 16 << 20

// Comparison of all replicas of a cluster that does not run.
type Comparison struct {
	Ranges      int      // that were found
	Compared    int      // of them, those with two replicas or more at one applied index
	Replicas    int      // that were compared
	Bytes       uint64   // that were read
	Differences []string // replicas that are not as others at the same applied index
}

// Bit tells whether enough was compared to conclude something: at least half of the ranges.
func (c *Comparison) Bit() bool { return c.Ranges > 0 && 2*c.Compared >= c.Ranges }

func (c *Comparison) String() string {
	return fmt.Sprintf("%d ranges, %d of them compared on %d replicas, %d bytes, %d differ", c.Ranges,
		c.Compared, c.Replicas, c.Bytes, len(c.Differences))
}

// place is a moment in the life of a range, at which all its replicas are equal.
type place struct{ id, applied uint64 }

// copyOf is one replica's content at a place.
type copyOf struct {
	dir  string
	hash uint64
}

// CompareReplicas opens the stores in the directories, which no process may use, and compares what
// they hold of each range: all keys and values in its span, and its state. Replicas that have not
// applied the same entries are not compared.
func CompareReplicas(dirs []string) (*Comparison, error) {
	c := &Comparison{}
	found := map[place][]copyOf{}
	for _, dir := range dirs {
		if err := c.readStore(dir, found); err != nil {
			return nil, fmt.Errorf("compare replicas: %s: %w", dir, err)
		}
	}
	ids := map[uint64]bool{}
	for at, copies := range found {
		if ids[at.id] = ids[at.id] || len(copies) > 1; len(copies) < 2 {
			continue
		}
		c.Replicas += len(copies)
		for _, other := range copies[1:] {
			if other.hash != copies[0].hash {
				c.Differences = append(c.Differences, fmt.Sprintf(
					"range %d at index %d: %s differs from %s", at.id, at.applied, other.dir, copies[0].dir))
			}
		}
	}
	c.Ranges = len(ids)
	for _, compared := range ids {
		if compared {
			c.Compared++
		}
	}
	slices.Sort(c.Differences)
	return c, nil
}

func (c *Comparison) readStore(dir string, found map[place][]copyOf) error {
	e, err := engine.OpenPebble(dir, engine.Options{CacheBytes: readCacheBytes})
	if err != nil {
		return err
	}
	err = eachRange(e, func(state *internalpb.RangeState) error {
		hash, size, err := hashReplica(e, state)
		if err != nil {
			return fmt.Errorf("range %d: %w", state.Desc.RangeId, err)
		}
		c.Bytes += size
		at := place{state.Desc.RangeId, state.AppliedIndex}
		found[at] = append(found[at], copyOf{dir, hash})
		return nil
	})
	return errors.Join(err, e.Close())
}

// eachRange calls f with the state of each replica of a store.
func eachRange(r storage.Reader, f func(*internalpb.RangeState) error) (err error) {
	lower, upper := keys.AllLocal()
	it, err := r.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.SeekGE(lower); ok; ok = it.Next() {
		key, _ := it.Item()
		id, kind, err := keys.ParseLocal(key)
		if err != nil {
			return err
		}
		if kind != keys.KindApplied {
			continue
		}
		state, err := replica.ReadState(r, id)
		if err != nil {
			return err
		}
		if err := f(state); err != nil {
			return err
		}
	}
	return nil
}

// hashReplica reads all of a replica's data, and its state but for what is this replica's own.
func hashReplica(r storage.Reader, state *internalpb.RangeState) (hash, size uint64, err error) {
	lower, upper := keys.DataSpan(state.Desc.Start, state.Desc.End)
	it, err := r.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	if err != nil {
		return 0, 0, err
	}
	h := xxhash.New()
	var rows storage.Batch
	for ok := it.SeekGE(lower); ok; ok = it.Next() {
		key, value := it.Item()
		size += uint64(len(key) + len(value))
		rows = storage.Batch{} // one row at a time: a range need not fit into memory
		rows.Set(key, value)
		_, _ = h.Write(rows.Bytes()) // never fails
	}
	if err := it.Close(); err != nil {
		return 0, 0, err
	}
	shared := gproto.Clone(state).(*internalpb.RangeState)
	shared.ReplicaId = 0
	b, err := gproto.MarshalOptions{Deterministic: true}.Marshal(shared)
	if err != nil {
		return 0, 0, err
	}
	_, _ = h.Write(b)
	return h.Sum64(), size, nil
}
