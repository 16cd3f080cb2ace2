package engine

import (
	"context"
	"fmt"
	"sync"

	"github.com/google/btree"

	"github.com/vipkv/vipkv/proto/storage"
)

// MemDisk is what an in-memory engine leaves behind when it stops: the stand-in for a disk. It keeps the batches since
// some durable state, and how many of them have been synced, so that a crash can lose a suffix of the others. It has no
// goroutine and no randomness: the same calls give the same bytes.
type MemDisk struct {
	mu      sync.RWMutex
	durable *btree.BTreeG[item] // never changed, only replaced
	steps   []memStep           // after durable, in order
	synced  int                 // steps[:synced] survive any crash
	live    *btree.BTreeG[item] // durable and all steps
	shared  *btree.BTreeG[item] // clone of live for readers, nil after a write
	engine  *memEngine          // the one open engine
	ingests uint64
}

// memStep is one atomic step: a batch, or, when items is set, an ingest.
type memStep struct {
	batch  storage.Batch
	excise Span
	items  []item // of the tables
	ingest bool
}

const (
	memDegree = 6 // small: the first write after a view copies nodes
	// stepsMax is when the durable state is brought up to date. A clone is cheap but makes later writes copy nodes.
	stepsMax = 1024
)

// NewMemDisk is an empty disk.
func NewMemDisk() *MemDisk {
	less := func(a, b item) bool { return compare(a.key, b.key) < 0 }
	live := btree.NewG(memDegree, less)
	return &MemDisk{live: live, durable: live.Clone()}
}

// Unsynced is how many atomic steps are not durable yet.
func (d *MemDisk) Unsynced() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.steps) - d.synced
}

// Crash cuts the power: everything synced and the first keep of the Unsynced steps stay. The open engine, if any, and
// its views return ErrClosed from now on. keep outside [0, Unsynced()] is a bug of the caller and panics.
func (d *MemDisk) Crash(keep int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if keep < 0 || keep > len(d.steps)-d.synced {
		panic(fmt.Sprintf("crash keeps %d of %d unsynced steps", keep, len(d.steps)-d.synced))
	}
	d.live = d.durable.Clone()
	for i := range d.steps[:d.synced+keep] {
		applyStep(d.live, &d.steps[i])
	}
	d.shared = nil
	d.settleLocked()
	if d.engine != nil {
		d.engine.closed = true
		d.engine = nil
	}
}

// settleLocked makes all of live durable.
func (d *MemDisk) settleLocked() {
	d.durable = d.live.Clone()
	clear(d.steps) // frees the batches
	d.steps, d.synced = d.steps[:0], 0
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
	closed bool // guarded by disk.mu
}

// OpenMem opens the engine on d. It returns ErrLocked when another one is open. Of o it uses FS, where the tables to
// ingest are, by default an empty one in memory.
func OpenMem(d *MemDisk, o Options) (Engine, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.engine != nil {
		return nil, ErrLocked
	}
	if o.FS == nil {
		o.FS = MemFS()
	}
	d.engine = &memEngine{disk: d, fs: o.FS}
	return d.engine, nil
}

func (e *memEngine) Commit(b *storage.Batch, sync bool) error {
	d := e.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	if err := checkBatch(b); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if b.Count() > 0 {
		var s memStep
		s.batch.Append(b) // the caller may reuse b: the tree's keys and values are slices of this copy
		d.addLocked(s)
	}
	if sync {
		d.syncLocked()
	}
	return nil
}

func (d *MemDisk) addLocked(s memStep) {
	applyStep(d.live, &s)
	d.shared = nil
	d.steps = append(d.steps, s)
}

func (d *MemDisk) syncLocked() {
	d.synced = len(d.steps)
	if d.synced >= stepsMax {
		d.settleLocked()
	}
}

func applyStep(t *btree.BTreeG[item], s *memStep) {
	if s.ingest {
		deleteSpan(t, s.excise)
		for _, i := range s.items {
			t.ReplaceOrInsert(i)
		}
	}
	for r := s.batch.Ops(); ; {
		op, ok, err := r.Next()
		if err != nil {
			panic(fmt.Sprintf("batch was checked: %v", err))
		}
		if !ok {
			return
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
	if e.closed {
		return nil, ErrClosed
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
	if e.closed {
		return nil, ErrClosed
	}
	return newMemIter(e.disk.readerLocked(), o), nil
}

func (e *memEngine) NewView() storage.View {
	e.disk.mu.Lock()
	defer e.disk.mu.Unlock()
	if e.closed {
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
	s := memStep{ingest: true, excise: p.span}
	for _, t := range p.tables {
		s.items = append(s.items, t.items...)
	}
	if in.Local != nil {
		s.batch.Append(in.Local)
	}
	if err := e.ingest(s); err != nil {
		return err
	}
	return removeFiles(e.fs, in.Tables)
}

func (e *memEngine) ingest(s memStep) error {
	d := e.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	d.addLocked(s)
	d.syncLocked()
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
	d.engine = nil
	d.settleLocked()
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
	if v.e.closed || v.tree == nil {
		return ErrClosed
	}
	return nil
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
