package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/btree"

	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/storage"
)

// MemDisk is what an in-memory engine leaves behind when it stops: the stand-in for a disk. It holds bytes with
// checksums, a checkpoint and a log, and knows how much of the log has been synced, so that a crash can lose or tear
// the rest. It can be full, fail, and rot. It has no goroutine and no randomness: the same calls give the same bytes.
type MemDisk struct {
	mu      sync.RWMutex
	bytes   memLog
	live    *btree.BTreeG[item] // what the open engine has read and written
	shared  *btree.BTreeG[item] // clone of live for readers, nil after a write
	engine  *memEngine          // the one open engine
	ingests uint64

	room    int   // how many more bytes fit; negative: no limit
	trouble error // what the write that failsIn counts down to meets
	failsIn int
	// void is for the mutant that swallows a failed sync: steps from here on never reach the disk. Negative: all do.
	void int
}

const (
	memDegree = 6 // small: the first write after a view copies nodes
	// stepsMax and logBytesMax are when a checkpoint is made.
	stepsMax    = 1024
	logBytesMax = 4 << 20
)

// NewMemDisk is an empty disk without an end.
func NewMemDisk() *MemDisk { return &MemDisk{room: -1, void: -1} }

func newTree() *btree.BTreeG[item] {
	return btree.NewG(memDegree, func(a, b item) bool { return compare(a.key, b.key) < 0 })
}

// Unsynced is how many atomic steps are not durable yet.
func (d *MemDisk) Unsynced() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.bytes.log) - d.bytes.synced
}

// UnsyncedBytes is how many bytes are not durable yet.
func (d *MemDisk) UnsyncedBytes() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.bytes.bytes - d.bytes.safe
}

// Crash cuts the power: everything synced and the first keep of the Unsynced steps stay. The open engine, if any, and
// its views return ErrClosed from now on. keep outside [0, Unsynced()] is a bug of the caller and panics.
func (d *MemDisk) Crash(keep int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if keep < 0 || keep > len(d.bytes.log)-d.bytes.synced {
		panic(fmt.Sprintf("crash keeps %d of %d unsynced steps", keep, len(d.bytes.log)-d.bytes.synced))
	}
	n := 0
	for _, f := range d.bytes.log[d.bytes.synced : d.bytes.synced+keep] {
		n += len(f)
	}
	d.crashLocked(n, false)
}

// CrashTorn cuts the power in the middle of a write: everything synced and the first keep bytes of the others stay, so
// the last step may be torn. With stray, what was written behind the torn step is on the disk nevertheless, as when the
// disk had written its sectors in another order.
func (d *MemDisk) CrashTorn(keep int, stray bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashLocked(keep, stray)
}

func (d *MemDisk) crashLocked(keep int, stray bool) {
	if d.void >= 0 {
		d.bytes.log = d.bytes.log[:min(d.void, len(d.bytes.log))]
		keep, d.void = 0, -1
		d.bytes.synced = min(d.bytes.synced, len(d.bytes.log))
	}
	d.bytes.tear(keep, stray)
	if d.engine != nil {
		d.engine.closed = true
	}
	d.leaveLocked()
}

func (d *MemDisk) leaveLocked() { d.engine, d.live, d.shared = nil, nil, nil }

// SetRoom says how many more bytes fit on the disk, from now on. Negative: any number. A write for which there is no
// room fails with ErrDiskFull and fences the engine, and so does opening one on a disk without room.
func (d *MemDisk) SetRoom(bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = bytes
}

// FailAfter has the n-th write or sync from now fail with err, 1 being the next. It fences the engine. 0: none does.
func (d *MemDisk) FailAfter(n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failsIn, d.trouble = n, err
}

// Rot flips one bit of what is durable; pick chooses one of n. It is found when the checkpoint is replaced or the disk
// is opened: ErrCorrupt. It answers false, and does nothing, when no such bytes are there.
func (d *MemDisk) Rot(pick func(n int) int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bytes.rot(pick)
}

// readerLocked is a tree that no write changes.
func (d *MemDisk) readerLocked() *btree.BTreeG[item] {
	if d.shared == nil {
		d.shared = d.live.Clone()
	}
	return d.shared
}

// memEngine is an Engine on a MemDisk.
type memEngine struct {
	disk   *MemDisk
	fs     FS
	closed bool  // guarded by disk.mu
	failed error // guarded by disk.mu; as I5
}

// OpenMem opens the engine on d, with what its bytes hold. It returns ErrLocked when another one is open, ErrCorrupt
// when the bytes are not what was written, ErrDiskFull when there is no room. Of o it uses FS, where the tables to
// ingest are, by default an empty one in memory.
func OpenMem(d *MemDisk, o Options) (Engine, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.engine != nil {
		return nil, ErrLocked
	}
	if d.room == 0 {
		return nil, fmt.Errorf("open: %w", ErrDiskFull)
	}
	if o.FS == nil {
		o.FS = MemFS()
	}
	d.live = newTree()
	if err := d.bytes.recover(d.live); err != nil {
		d.leaveLocked()
		return nil, fmt.Errorf("open: %w", err)
	}
	d.engine = &memEngine{disk: d, fs: o.FS}
	return d.engine, nil
}

// stateLocked is why the engine can't be used, or nil.
func (e *memEngine) stateLocked() error {
	if e.closed {
		return ErrClosed
	}
	return e.failed
}

func (e *memEngine) Commit(b *storage.Batch, sync bool) error {
	d := e.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := e.stateLocked(); err != nil {
		return err
	}
	if err := checkBatch(b); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return e.stepLocked(b, sync)
}

// stepLocked writes one step, and makes it and all before it durable when sync is set.
func (e *memEngine) stepLocked(b *storage.Batch, sync bool) error {
	d := e.disk
	if b.Count() > 0 {
		if err := d.writeLocked(b); err != nil {
			return e.failLocked(err)
		}
	}
	if !sync {
		return nil
	}
	if err := d.troubleLocked(); err != nil {
		return e.failLocked(err)
	}
	d.bytes.sync()
	if len(d.bytes.log) < stepsMax && d.bytes.bytes < logBytesMax || d.void >= 0 {
		return nil
	}
	if err := d.bytes.checkpoint(d.live); err != nil {
		return e.failLocked(err)
	}
	return nil
}

// failLocked fences the engine: nothing is acknowledged any more, and the disk stays as it is.
func (e *memEngine) failLocked(err error) error {
	if fault.On(fault.SwallowSyncError) && e.disk.live != nil {
		if e.disk.void < 0 {
			e.disk.void = e.disk.bytes.synced
		}
		return nil
	}
	e.failed = fmt.Errorf("%w: %w", ErrFailed, classify(err))
	return e.failed
}

// writeLocked appends a step to the log; when there is trouble, half of it.
func (d *MemDisk) writeLocked(b *storage.Batch) error {
	size := frameHeader + b.Len()
	err := d.troubleLocked()
	if err == nil && d.room >= 0 && d.room < size {
		err = ErrDiskFull
	}
	if err != nil && !fault.On(fault.SwallowSyncError) {
		f := d.bytes.append(b.Bytes())
		d.bytes.log[len(d.bytes.log)-1] = f[:len(f)/2]
		d.bytes.bytes -= len(f) - len(f)/2
		return err
	}
	// The caller may reuse b: the tree's keys and values are slices of the frame.
	f := d.bytes.append(b.Bytes())
	if d.room >= 0 {
		d.room = max(0, d.room-size)
	}
	own, decodeErr := f.batch()
	if decodeErr != nil {
		return decodeErr
	}
	d.shared = nil
	return errors.Join(err, applyBatch(d.live, &own))
}

// troubleLocked counts down to the operation that fails.
func (d *MemDisk) troubleLocked() error {
	if d.failsIn == 0 {
		return nil
	}
	if d.failsIn--; d.failsIn > 0 {
		return nil
	}
	return d.trouble
}

func applyBatch(t *btree.BTreeG[item], b *storage.Batch) error {
	for r := b.Ops(); ; {
		op, ok, err := r.Next()
		if err != nil || !ok {
			return err
		}
		switch op.Kind {
		case storage.OpSet:
			t.ReplaceOrInsert(item{op.Key, op.Value})
		case storage.OpDelete:
			t.Delete(item{key: op.Key})
		case storage.OpDeleteRange:
			deleteSpan(t, Span{op.Key, op.Value})
		}
	}
}

func deleteSpan(t *btree.BTreeG[item], s Span) {
	if compare(s.Start, s.End) >= 0 {
		return
	}
	var gone []item
	t.AscendRange(item{key: s.Start}, item{key: s.End}, func(i item) bool {
		gone = append(gone, i)
		return true
	})
	for _, i := range gone {
		t.Delete(i)
	}
}

func (e *memEngine) Get(key []byte) ([]byte, error) {
	e.disk.mu.RLock()
	defer e.disk.mu.RUnlock()
	if err := e.stateLocked(); err != nil {
		return nil, err
	}
	return getItem(e.disk.live, key)
}

func getItem(t *btree.BTreeG[item], key []byte) ([]byte, error) {
	i, ok := t.Get(item{key: key})
	if !ok {
		return nil, storage.ErrNotFound
	}
	return append(make([]byte, 0, len(i.value)), i.value...), nil
}

func (e *memEngine) NewIter(o storage.IterOptions) (storage.Iter, error) {
	e.disk.mu.Lock()
	defer e.disk.mu.Unlock()
	if err := e.stateLocked(); err != nil {
		return nil, err
	}
	return newMemIter(e.disk.readerLocked(), o), nil
}

func (e *memEngine) NewView() storage.View {
	e.disk.mu.Lock()
	defer e.disk.mu.Unlock()
	if e.stateLocked() != nil {
		return &memView{e: e}
	}
	return &memView{e: e, tree: e.disk.readerLocked()}
}

func (e *memEngine) IngestAndExcise(ctx context.Context, in Ingest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := planIngest(ctx, e.fs, in, true)
	if err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	var b storage.Batch
	b.DeleteRange(p.span.Start, p.span.End)
	for _, t := range p.tables {
		for _, i := range t.items {
			b.Set(i.key, i.value)
		}
	}
	if in.Local != nil {
		b.Append(in.Local)
	}
	if err := e.ingest(&b); err != nil {
		return err
	}
	return removeFiles(e.fs, in.Tables)
}

// ingest writes the batch that an ingest amounts to. What was committed before is durable first.
func (e *memEngine) ingest(b *storage.Batch) error {
	d := e.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := e.stateLocked(); err != nil {
		return err
	}
	if err := e.stepLocked(b, true); err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	d.ingests++
	return nil
}

func (e *memEngine) Metrics() Metrics {
	e.disk.mu.RLock()
	defer e.disk.mu.RUnlock()
	return Metrics{Ingests: e.disk.ingests, ReadAmplification: 1}
}

func (e *memEngine) Close() error {
	d := e.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	e.closed = true
	if e.failed == nil {
		d.bytes.sync()
	}
	d.leaveLocked()
	return nil
}

// memView is a storage.View on a tree that is not written to.
type memView struct {
	e    *memEngine
	tree *btree.BTreeG[item] // nil when closed
}

func (v *memView) check() error {
	v.e.disk.mu.RLock()
	defer v.e.disk.mu.RUnlock()
	if v.tree == nil {
		return ErrClosed
	}
	return v.e.stateLocked()
}

func (v *memView) Get(key []byte) ([]byte, error) {
	if err := v.check(); err != nil {
		return nil, err
	}
	return getItem(v.tree, key)
}

func (v *memView) NewIter(o storage.IterOptions) (storage.Iter, error) {
	if err := v.check(); err != nil {
		return nil, err
	}
	return newMemIter(v.tree, o), nil
}

func (v *memView) Close() error {
	v.tree = nil
	return nil
}
