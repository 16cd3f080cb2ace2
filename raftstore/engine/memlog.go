package engine

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/google/btree"

	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/storage"
)

// frame is one atomic step as bytes on a MemDisk: a batch, or the batch that an ingest amounts to, or a piece of a
// checkpoint. Its bytes are never changed; damage replaces the frame.
//
//	length (4) | CRC-32C of what follows (4) | how much of the log was durable when it was written (8) | batch
//
// The third field tells a torn end from damage: a bad frame below it had been durable.
type frame []byte

const frameHeader = 16

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // made once, by crc32

func newFrame(durable int, payload []byte) frame {
	f := make(frame, frameHeader+len(payload))
	binary.LittleEndian.PutUint32(f, uint32(len(payload)))
	binary.LittleEndian.PutUint64(f[8:], uint64(durable))
	copy(f[frameHeader:], payload)
	binary.LittleEndian.PutUint32(f[4:], crc32.Checksum(f[8:], castagnoli()))
	return f
}

// whole tells whether the bytes are those that were written.
func (f frame) whole() bool {
	if len(f) < frameHeader || int(binary.LittleEndian.Uint32(f)) != len(f)-frameHeader {
		return false
	}
	return fault.On(fault.SkipChecksum) ||
		binary.LittleEndian.Uint32(f[4:]) == crc32.Checksum(f[8:], castagnoli())
}

func (f frame) durable() int { return int(binary.LittleEndian.Uint64(f[8:])) }

func (f frame) batch() (storage.Batch, error) { return storage.Decode(f[frameHeader:]) }

// memLog is the bytes of a MemDisk: a checkpoint, and the log of the steps after it.
type memLog struct {
	base   []frame // the checkpoint: all durable
	log    []frame
	synced int // log[:synced] survive any crash
	bytes  int // of log
	safe   int // of log[:synced]
}

// append adds a step, which is not durable yet.
func (l *memLog) append(payload []byte) frame {
	f := newFrame(l.safe, payload)
	l.log = append(l.log, f)
	l.bytes += len(f)
	return f
}

func (l *memLog) sync() { l.synced, l.safe = len(l.log), l.bytes }

// blockBytes is the size of a piece of a checkpoint.
const blockBytes = 4096

// checkpoint replaces everything by what the tree holds. It reads what it replaces, so damage does not pass.
func (l *memLog) checkpoint(t *btree.BTreeG[item]) error {
	for _, fs := range [][]frame{l.base, l.log} {
		for _, f := range fs {
			if !f.whole() {
				return fmt.Errorf("checkpoint: %w: a block's checksum is wrong", ErrCorrupt)
			}
		}
	}
	l.base = nil
	var block storage.Batch
	flush := func() {
		if block.Count() > 0 {
			l.base = append(l.base, newFrame(0, block.Bytes()))
			block.Reset()
		}
	}
	t.Ascend(func(i item) bool {
		block.Set(i.key, i.value)
		if block.Len() >= blockBytes {
			flush()
		}
		return true
	})
	flush()
	l.log, l.bytes = nil, 0
	l.sync()
	return nil
}

// recover reads everything back and drops a torn end.
func (l *memLog) recover(t *btree.BTreeG[item]) error {
	for i, f := range l.base {
		if err := replay(t, f); err != nil {
			return fmt.Errorf("block %d of the checkpoint: %w", i, err)
		}
	}
	at := 0
	for i, f := range l.log {
		if f.whole() {
			if err := replay(t, f); err != nil {
				return fmt.Errorf("step %d of the log: %w", i, err)
			}
			at += len(f)
			continue
		}
		for _, later := range l.log[i+1:] {
			if later.whole() && later.durable() > at {
				return fmt.Errorf("step %d of the log: %w: it was durable", i, ErrCorrupt)
			}
		}
		l.log = l.log[:i:i]
		break
	}
	l.bytes = at
	l.sync()
	return nil
}

func replay(t *btree.BTreeG[item], f frame) error {
	if !f.whole() {
		return fmt.Errorf("%w: its checksum is wrong", ErrCorrupt)
	}
	b, err := f.batch()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return applyBatch(t, &b)
}

// tear keeps the first keep bytes of what is not durable. The frame in which the cut falls has zeros from there on;
// those behind it are gone, or, with stray, are on the disk all the same.
func (l *memLog) tear(keep int, stray bool) {
	for i, f := range l.log[l.synced:] {
		if keep >= len(f) {
			keep -= len(f)
			continue
		}
		end := l.synced + i
		if keep > 0 {
			torn := make(frame, len(f))
			copy(torn, f[:keep])
			l.log[end] = torn
			end++
		}
		if !stray || keep == 0 {
			l.log = l.log[:end:end]
		}
		break
	}
	l.bytes = 0
	for _, f := range l.log {
		l.bytes += len(f)
	}
	l.sync() // what is on the disk now stays there
}

// rot flips a bit of what is durable, and known to be by a step that is durable itself: damage in the newest durable
// steps can't be told from a torn end. pick chooses among n.
func (l *memLog) rot(pick func(n int) int) bool {
	last := 0
	if l.synced > 0 {
		last = l.log[l.synced-1].durable()
	}
	at, known := 0, 0
	for known < len(l.log) && at+len(l.log[known]) <= last {
		at += len(l.log[known])
		known++
	}
	if len(l.base)+known == 0 {
		return false
	}
	where := l.base
	i := pick(len(l.base) + known)
	if i >= len(l.base) {
		where, i = l.log, i-len(l.base)
	}
	damaged := append(frame(nil), where[i]...)
	bit := pick(8 * (len(damaged) - frameHeader))
	damaged[frameHeader+bit/8] ^= 1 << (bit % 8)
	where[i] = damaged
	return true
}
