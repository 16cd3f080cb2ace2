package txntest

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/google/btree"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
)

type item struct{ key, value []byte }

func itemLess(a, b item) bool { return keys.Compare(a.key, b.key) < 0 }

// Store is an ordered map of engine keys with views that cost nothing.
type Store struct {
	mu struct {
		sync.Mutex
		tree *btree.BTreeG[item]
	}
}

// NewStore makes an empty store.
func NewStore() *Store {
	s := &Store{}
	s.mu.tree = btree.NewG(32, itemLess)
	return s
}

// Apply carries out a batch.
func (s *Store) Apply(b *storage.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ops := b.Ops(); ; {
		op, ok, err := ops.Next()
		if err != nil {
			return fmt.Errorf("apply a batch: %w", err)
		}
		if !ok {
			return nil
		}
		switch op.Kind {
		case storage.OpSet:
			s.mu.tree.ReplaceOrInsert(item{bytes.Clone(op.Key), bytes.Clone(op.Value)})
		case storage.OpDelete:
			s.mu.tree.Delete(item{key: op.Key})
		case storage.OpDeleteRange:
			s.deleteRangeLocked(op.Key, op.Value)
		}
	}
}

func (s *Store) deleteRangeLocked(lower, upper []byte) {
	var doomed []item
	s.mu.tree.AscendRange(item{key: lower}, item{key: upper}, func(i item) bool {
		doomed = append(doomed, i)
		return true
	})
	for _, i := range doomed {
		s.mu.tree.Delete(i)
	}
}

// NewView pins the present state.
func (s *Store) NewView() storage.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &view{tree: s.mu.tree.Clone()}
}

// Bytes is the sum of the lengths of the engine keys and values of a span of replicated keys.
func (s *Store) Bytes(start, end []byte) int64 {
	lower, upper := keys.DataSpan(start, end)
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := int64(0)
	s.mu.tree.AscendRange(item{key: lower}, item{key: upper}, func(i item) bool {
		sum += int64(len(i.key) + len(i.value))
		return true
	})
	return sum
}

type view struct{ tree *btree.BTreeG[item] }

func (v *view) Close() error { return nil }

func (v *view) Get(key []byte) ([]byte, error) {
	i, ok := v.tree.Get(item{key: key})
	if !ok {
		return nil, storage.ErrNotFound
	}
	return bytes.Clone(i.value), nil
}

func (v *view) NewIter(o storage.IterOptions) (storage.Iter, error) {
	return &iter{tree: v.tree, lower: o.Lower, upper: o.Upper}, nil
}

// iter is at cur when ok. Item returns buffers that each move overwrites, so that a caller who keeps them is caught.
type iter struct {
	tree         *btree.BTreeG[item]
	lower, upper []byte
	cur          item
	ok           bool
	key, value   []byte
}

func (i *iter) at(found item, ok bool) bool {
	for n := range i.key {
		i.key[n] = 0xDB
	}
	for n := range i.value {
		i.value[n] = 0xDB
	}
	i.key, i.value = nil, nil
	if ok && i.lower != nil && keys.Compare(found.key, i.lower) < 0 {
		ok = false
	}
	if ok && i.upper != nil && keys.Compare(found.key, i.upper) >= 0 {
		ok = false
	}
	i.cur, i.ok = found, ok
	if ok {
		i.key, i.value = bytes.Clone(found.key), bytes.Clone(found.value)
	}
	return ok
}

func (i *iter) SeekGE(key []byte) bool {
	if i.lower != nil && keys.Compare(key, i.lower) < 0 {
		key = i.lower
	}
	var found item
	ok := false
	i.tree.AscendGreaterOrEqual(item{key: key}, func(x item) bool {
		found, ok = x, true
		return false
	})
	return i.at(found, ok)
}

func (i *iter) SeekLT(key []byte) bool {
	if i.upper != nil && keys.Compare(key, i.upper) > 0 {
		key = i.upper
	}
	var found item
	ok := false
	i.tree.DescendLessOrEqual(item{key: key}, func(x item) bool {
		if bytes.Equal(x.key, key) {
			return true
		}
		found, ok = x, true
		return false
	})
	return i.at(found, ok)
}

func (i *iter) Next() bool {
	if !i.ok {
		return false
	}
	var found item
	ok := false
	i.tree.AscendGreaterOrEqual(i.cur, func(x item) bool {
		if bytes.Equal(x.key, i.cur.key) {
			return true
		}
		found, ok = x, true
		return false
	})
	return i.at(found, ok)
}

func (i *iter) Prev() bool { return i.ok && i.SeekLT(i.cur.key) }

func (i *iter) NextPrefix() bool {
	if !i.ok {
		return false
	}
	prefix := i.cur.key[:keys.Split(i.cur.key)]
	return i.SeekGE(append(bytes.Clone(prefix), 0)) // the smallest key with a greater prefix
}

func (i *iter) Item() (key, value []byte) { return i.key, i.value }

func (i *iter) Close() error { return nil }

// Each calls f with a copy of every engine key and value, in order.
func (s *Store) Each(f func(key, value []byte)) {
	s.mu.Lock()
	tree := s.mu.tree.Clone()
	s.mu.Unlock()
	tree.Ascend(func(i item) bool {
		f(bytes.Clone(i.key), bytes.Clone(i.value))
		return true
	})
}

// Set writes one engine key, for tests that damage what is stored.
func (s *Store) Set(key, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.tree.ReplaceOrInsert(item{bytes.Clone(key), bytes.Clone(value)})
}
