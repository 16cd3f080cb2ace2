package engine

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
)

func iterOptions(o storage.IterOptions) *pebble.IterOptions {
	return &pebble.IterOptions{LowerBound: o.Lower, UpperBound: o.Upper, PointKeyFilters: timeFilter(o)}
}

// pebbleIter is a storage.Iter. The value is read by the move, not by Item, so that a block that cannot be read ends
// the iteration and is never taken for an empty value.
type pebbleIter struct {
	it       *pebble.Iterator
	valid    bool
	stepNext bool // NextPrefix must seek: Pebble's needs an upper bound without a suffix
	value    []byte
	err      error
	seek     []byte // scratch
}

func newPebbleIter(it *pebble.Iterator, o storage.IterOptions) *pebbleIter {
	return &pebbleIter{it: it, stepNext: keys.Split(o.Upper) != len(o.Upper)}
}

// at ends a move.
func (i *pebbleIter) at(ok bool) bool {
	i.valid, i.value = ok && i.err == nil, nil
	if i.valid {
		v, err := i.it.ValueAndErr()
		if err != nil {
			i.err, i.valid = err, false
		}
		i.value = v
	}
	return i.valid
}

func (i *pebbleIter) SeekGE(key []byte) bool { return i.at(i.it.SeekGE(key)) }
func (i *pebbleIter) SeekLT(key []byte) bool { return i.at(i.it.SeekLT(key)) }
func (i *pebbleIter) Next() bool             { return i.valid && i.at(i.it.Next()) }
func (i *pebbleIter) Prev() bool             { return i.valid && i.at(i.it.Prev()) }

func (i *pebbleIter) NextPrefix() bool {
	if !i.valid {
		return false
	}
	if i.stepNext {
		k := i.it.Key()
		i.seek = immediateSuccessor(i.seek[:0], k[:keys.Split(k)])
		return i.SeekGE(i.seek)
	}
	return i.at(i.it.NextPrefix())
}

func (i *pebbleIter) Item() (key, value []byte) {
	if !i.valid {
		return nil, nil
	}
	return i.it.Key(), i.value
}

func (i *pebbleIter) Close() error {
	i.valid = false
	err := i.it.Close()
	if i.err != nil {
		err = i.err
	}
	return classify(err)
}

// allKeys spans every key of package keys.
func allKeys() pebble.KeyRange {
	return pebble.KeyRange{Start: []byte{sentinel}, End: []byte{0xff, sentinel}}
}

// pebbleView is a storage.View: an iterator, which pins the memtables and files of its moment, and clones of it (I4).
// A Pebble snapshot would see later excises. An eventually-file-only snapshot would not, and would let go of the
// memtables in time, but takes Pebble's central lock when it is made and closed, which every read would wait for, and
// Pebble 2.1.7 panics when one is closed during an excise.
type pebbleView struct {
	e    *pebbleEngine
	base *pebble.Iterator // nil when closed, and when the engine was closed or failed
}

func (e *pebbleEngine) NewView() storage.View {
	v := &pebbleView{e: e}
	if err := e.enterRead(); err != nil {
		return v
	}
	defer e.leaveRead()
	base, err := e.db.NewIter(nil)
	if err != nil {
		e.fail.set(fmt.Errorf("new view: %w", err)) // Pebble has no such error today
		return v
	}
	v.base = base
	e.views.Add(1)
	return v
}

func (v *pebbleView) enter() error {
	if err := v.e.enter(); err != nil {
		return err
	}
	if v.base == nil {
		v.e.leave()
		return ErrClosed
	}
	return nil
}

func (v *pebbleView) Get(key []byte) ([]byte, error) {
	if err := v.enter(); err != nil {
		return nil, err
	}
	defer v.e.leave()
	if !v.base.SeekPrefixGE(key) || compare(v.base.Key(), key) != 0 {
		if err := v.base.Error(); err != nil {
			return nil, classify(err)
		}
		return nil, storage.ErrNotFound
	}
	value, err := v.base.ValueAndErr()
	if err != nil {
		return nil, classify(err)
	}
	return append(make([]byte, 0, len(value)), value...), nil
}

func (v *pebbleView) NewIter(o storage.IterOptions) (storage.Iter, error) {
	if err := v.enter(); err != nil {
		return nil, err
	}
	defer v.e.leave()
	it, err := v.base.Clone(pebble.CloneOptions{IterOptions: iterOptions(o)})
	if err != nil {
		return nil, classify(err)
	}
	return newPebbleIter(it, o), nil
}

// Close may be called on a failed engine; a second call does nothing.
func (v *pebbleView) Close() error {
	v.e.life.RLock()
	defer v.e.life.RUnlock()
	if v.base == nil {
		return nil
	}
	base := v.base
	v.base = nil
	v.e.views.Add(-1)
	return classify(base.Close())
}
