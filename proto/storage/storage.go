// Package storage is what the floors above agree on about a store's bytes: a batch of writes, and a consistent reader.
// It is PURE. mvcc evaluates into a Batch, the Raft log carries it, the replica adds its local records, the engine
// commits it.
package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrNotFound is returned by Reader.Get for a key that is not there.
var ErrNotFound = errors.New("key not found")

// Reader reads one consistent state of an engine.
type Reader interface {
	// Get returns a copy of the value, or ErrNotFound.
	Get(key []byte) ([]byte, error)
	// NewIter returns an iterator over keys in [o.Lower, o.Upper), not yet positioned.
	NewIter(o IterOptions) (Iter, error)
}

// View is a Reader pinned to one moment. It must be closed.
type View interface {
	Reader
	Close() error
}

// IterOptions bound an iterator. Nil bounds are open.
type IterOptions struct {
	Lower, Upper []byte
	// MinTS and MaxTS, when MaxTS is not 0, allow the iterator to skip blocks that hold only versions outside
	// [MinTS, MaxTS]. It may still return others: the caller checks each.
	MinTS, MaxTS uint64
}

// Iter walks keys in engine order (keys.Compare). Every positioning method returns whether the iterator is at an item.
type Iter interface {
	SeekGE(key []byte) bool
	SeekLT(key []byte) bool
	Next() bool
	Prev() bool
	// NextPrefix moves to the first key with another prefix (keys.Split): past the other versions of this key.
	NextPrefix() bool
	// Item returns the current key and value. Both are valid until the next move only.
	Item() (key, value []byte)
	// Close frees the iterator and returns the first error it met.
	Close() error
}

// OpKind is a kind of write.
type OpKind byte

// The kinds of writes in a Batch. Their numbers are in the log: never change one.
const (
	OpSet         OpKind = 1
	OpDelete      OpKind = 2
	OpDeleteRange OpKind = 3 // key is the start, value the end
)

// Op is one write.
type Op struct {
	Kind       OpKind
	Key, Value []byte
}

// Batch is a list of writes that take effect together and in order. The zero value is empty. Its form in bytes, in
// memory, on the wire and in the log, is a sequence of: kind (1), varint length and bytes of the key, and, except for
// OpDelete, varint length and bytes of the value.
type Batch struct {
	data  []byte
	count int
}

// Set writes a key.
func (b *Batch) Set(key, value []byte) { b.add(OpSet, key, value) }

// Delete removes a key.
func (b *Batch) Delete(key []byte) { b.add(OpDelete, key, nil) }

// DeleteRange removes all keys in [start, end).
func (b *Batch) DeleteRange(start, end []byte) { b.add(OpDeleteRange, start, end) }

func (b *Batch) add(kind OpKind, key, value []byte) {
	b.data = append(b.data, byte(kind))
	b.data = binary.AppendUvarint(b.data, uint64(len(key)))
	b.data = append(b.data, key...)
	if kind != OpDelete {
		b.data = binary.AppendUvarint(b.data, uint64(len(value)))
		b.data = append(b.data, value...)
	}
	b.count++
}

// Append adds all of o's writes after b's.
func (b *Batch) Append(o *Batch) {
	b.data = append(b.data, o.data...)
	b.count += o.count
}

// Count is the number of writes.
func (b *Batch) Count() int { return b.count }

// Len is the size in bytes of the encoded form.
func (b *Batch) Len() int { return len(b.data) }

// Bytes is the encoded form. It aliases the batch.
func (b *Batch) Bytes() []byte { return b.data }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() { b.data, b.count = b.data[:0], 0 }

// Decode checks data and makes a batch of it, which aliases data.
func Decode(data []byte) (Batch, error) {
	b := Batch{data: data}
	for r := b.Ops(); ; {
		_, ok, err := r.Next()
		if err != nil {
			return Batch{}, err
		}
		if !ok {
			return b, nil
		}
		b.count++
	}
}

// Ops returns a reader at the first write.
func (b *Batch) Ops() OpReader { return OpReader{rest: b.data} }

// OpReader walks the writes of a batch.
type OpReader struct{ rest []byte }

// Next returns the next write, which aliases the batch; ok is false at the end.
func (r *OpReader) Next() (op Op, ok bool, err error) {
	if len(r.rest) == 0 {
		return Op{}, false, nil
	}
	op.Kind = OpKind(r.rest[0])
	if op.Kind < OpSet || op.Kind > OpDeleteRange {
		return Op{}, false, fmt.Errorf("batch: unknown kind %d", op.Kind)
	}
	r.rest = r.rest[1:]
	if op.Key, err = r.field(); err != nil {
		return Op{}, false, err
	}
	if op.Kind != OpDelete {
		if op.Value, err = r.field(); err != nil {
			return Op{}, false, err
		}
	}
	return op, true, nil
}

func (r *OpReader) field() ([]byte, error) {
	n, w := binary.Uvarint(r.rest)
	if w <= 0 || n > uint64(len(r.rest)-w) {
		return nil, errors.New("batch: truncated")
	}
	f := r.rest[w : w+int(n) : w+int(n)]
	r.rest = r.rest[w+int(n):]
	return f, nil
}
