package engine

import (
	"slices"

	"github.com/google/btree"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
)

// memIter walks a tree that is not written to. A btree has callbacks and no cursor, so it reads ahead: items holds the
// next ones in the direction of the last move, and their number doubles with each refill.
type memIter struct {
	tree         *btree.BTreeG[item]
	lower, upper []byte

	items   []item
	pos     int // items[pos] is the current one
	valid   bool
	reverse bool
	more    bool // there may be items beyond the last one
	ahead   int  // size of the next refill
	seek    []byte
}

const aheadMax = 64

func newMemIter(t *btree.BTreeG[item], o storage.IterOptions) *memIter {
	return &memIter{tree: t, lower: slices.Clone(o.Lower), upper: slices.Clone(o.Upper)}
}

func (i *memIter) SeekGE(key []byte) bool {
	if i.lower != nil && compare(key, i.lower) < 0 {
		key = i.lower
	}
	i.ahead = 1
	return i.forward(key, false)
}

func (i *memIter) SeekLT(key []byte) bool {
	if i.upper != nil && compare(key, i.upper) > 0 {
		key = i.upper
	}
	i.ahead = 1
	return i.backward(key)
}

// forward refills from key on, without key itself when after is set.
func (i *memIter) forward(key []byte, after bool) bool {
	i.reset(false)
	i.tree.AscendGreaterOrEqual(item{key: key}, func(it item) bool {
		if after && compare(it.key, key) == 0 {
			return true
		}
		if i.upper != nil && compare(it.key, i.upper) >= 0 {
			return false
		}
		i.items = append(i.items, it)
		i.more = len(i.items) == i.ahead
		return !i.more
	})
	return i.filled()
}

// backward refills with what lies before key.
func (i *memIter) backward(key []byte) bool {
	i.reset(true)
	i.tree.DescendLessOrEqual(item{key: key}, func(it item) bool {
		if compare(it.key, key) == 0 {
			return true
		}
		if i.lower != nil && compare(it.key, i.lower) < 0 {
			return false
		}
		i.items = append(i.items, it)
		i.more = len(i.items) == i.ahead
		return !i.more
	})
	return i.filled()
}

func (i *memIter) reset(reverse bool) {
	i.items, i.pos, i.reverse, i.more = i.items[:0], 0, reverse, false
}

func (i *memIter) filled() bool {
	i.ahead = min(2*i.ahead, aheadMax)
	i.valid = len(i.items) > 0
	return i.valid
}

func (i *memIter) Next() bool { return i.step(false) }
func (i *memIter) Prev() bool { return i.step(true) }

func (i *memIter) step(reverse bool) bool {
	if !i.valid {
		return false
	}
	key := i.items[i.pos].key
	if i.reverse == reverse {
		if i.pos+1 < len(i.items) {
			i.pos++
			return true
		}
		if !i.more {
			i.valid = false
			return false
		}
	}
	if reverse {
		return i.backward(key)
	}
	return i.forward(key, true)
}

func (i *memIter) NextPrefix() bool {
	if !i.valid {
		return false
	}
	k := i.items[i.pos].key
	i.seek = immediateSuccessor(i.seek[:0], k[:keys.Split(k)])
	return i.SeekGE(i.seek)
}

func (i *memIter) Item() (key, value []byte) {
	if !i.valid {
		return nil, nil
	}
	it := i.items[i.pos]
	return it.key, it.value
}

func (i *memIter) Close() error {
	i.valid, i.tree = false, nil
	return nil
}
