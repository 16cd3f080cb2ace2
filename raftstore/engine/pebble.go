package engine

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/vipkv/vipkv/proto/storage"
)

const (
	// retryPause is how long a failed flush or compaction of a failed engine waits before Pebble tries it again.
	retryPause = 100 * time.Millisecond
	// closeGrace bounds how long Close waits for calls in progress after a failure, closePoll how often it looks.
	closeGrace = time.Second
	closePoll  = 5 * time.Millisecond
)

// pebbleEngine is an Engine on a directory.
type pebbleEngine struct {
	dir  string
	opts Options
	lock *pebble.Lock
	db   *pebble.DB

	fail    failure
	stalls  atomic.Int64
	views   atomic.Int64
	ingests atomic.Uint64 // names temporary tables
	running atomic.Int64  // guarded calls, see guard
	closed  atomic.Bool   // set by Close
	closing chan struct{} // closed by Close when it closes Pebble

	// life is held for reading by every call and for writing by Close.
	life sync.RWMutex

	// swap is held for reading while an iterator, view or point read is made, and for writing during an ingest's
	// atomic step. Pebble publishes an ingest's sequence number after its version: a reader in between sees the span
	// emptied and the new tables not yet.
	swap      sync.RWMutex
	ingesting sync.Mutex                    // one at a time, held around swap
	swapped   atomic.Pointer[chan struct{}] // closed at the end of the ingest that holds swap
}

// OpenPebble opens the store in dir, and makes it when dir is missing or empty. It returns ErrLocked, ErrForeignDir,
// ErrNewerFormat, ErrCorrupt or ErrDiskFull for these cases. Everything that was durable is there, and nothing that
// Commit was never called with.
func OpenPebble(dir string, o Options) (Engine, error) {
	e := &pebbleEngine{dir: dir, opts: o.withDefaults(), closing: make(chan struct{})}
	e.fail.notify, e.fail.failed = e.opts.OnFatal, make(chan struct{})
	if err := e.open(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, classify(err))
	}
	return e, nil
}

func (e *pebbleEngine) open() (err error) {
	fs := e.opts.FS
	if err := checkMarker(fs, e.dir); err != nil {
		return err
	}
	if err := makeDir(fs, e.dir); err != nil {
		return err
	}
	if e.lock, err = lockDir(fs, e.dir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = e.lock.Close() // the first error says more
		}
	}()
	created, err := writeMarker(fs, e.dir)
	if err != nil {
		return err
	}
	if err := removeLocalTables(fs, e.dir); err != nil {
		return err
	}
	p := e.pebbleOptions()
	p.Lock = e.lock
	if e.db, err = openDB(e.dir, p); err != nil {
		return errors.Join(e.fail.get(), err)
	}
	if created {
		err = e.startLog()
	}
	e.fail.opened.Store(true)
	if err = e.result(err); err != nil {
		_ = closeDB(e.db) // the first error says more
	}
	return err
}

// startLog replaces the log of a new store. Pebble writes that of a directory's first start in its oldest format, whose
// chunks do not say how much was synced before them: damage in the middle would pass for a torn end.
func (e *pebbleEngine) startLog() error { return e.db.Flush() }

// openDB turns a panic, with which Pebble answers some corrupt files, into an error.
func openDB(dir string, p *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, fmt.Errorf("%w: %v", ErrCorrupt, r)
		}
	}()
	return pebble.Open(dir, p)
}

func closeDB(db *pebble.DB) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("close: %v", r)
		}
	}()
	return db.Close()
}

// enter begins a call: the engine is neither closed nor failed, and is not closed before leave.
func (e *pebbleEngine) enter() error {
	e.life.RLock()
	err := e.fail.get()
	if e.closed.Load() {
		err = ErrClosed
	}
	if err != nil {
		e.life.RUnlock()
	}
	return err
}

func (e *pebbleEngine) leave() { e.life.RUnlock() }

// enterRead is enter, and holds swap; leaveRead ends both. It does not wait for an ingest of a failed engine.
func (e *pebbleEngine) enterRead() error {
	if err := e.enter(); err != nil {
		return err
	}
	for !e.swap.TryRLock() {
		select {
		case <-*e.swapped.Load():
		case <-e.fail.failed:
			e.leave()
			return e.fail.get()
		}
	}
	return nil
}

func (e *pebbleEngine) leaveRead() {
	e.swap.RUnlock()
	e.leave()
}

// exclude runs step with swap held for writing.
func (e *pebbleEngine) exclude(step func() error) error {
	e.ingesting.Lock()
	defer e.ingesting.Unlock()
	done := make(chan struct{})
	e.swapped.Store(&done)
	defer close(done) // after Unlock: readers that it wakes find swap free
	e.swap.Lock()
	defer e.swap.Unlock()
	return step()
}

// result is what a call returns: no success after a failure.
func (e *pebbleEngine) result(err error) error {
	if failed := e.fail.get(); failed != nil {
		return failed
	}
	return classify(err)
}

// backgroundError is called by a flush or compaction that failed, with Pebble's lock held. Pebble tries again at once,
// for ever.
func (e *pebbleEngine) backgroundError(err error) {
	e.fail.set(fmt.Errorf("flush or compaction: %w", err))
	t := time.NewTimer(retryPause)
	defer t.Stop()
	select {
	case <-e.closing:
	case <-t.C:
	}
}

func (e *pebbleEngine) Commit(b *storage.Batch, sync bool) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	if err := checkBatch(b); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	pb, err := e.encode(b)
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if !sync {
		return e.result(e.apply(pb, false))
	}
	return e.result(e.guard(func() error { return e.apply(pb, true) }))
}

// guard runs f, which waits for the disk through Pebble, and waits for its end or the engine's failure: after a failure
// Pebble may wait for ever for a flush that cannot succeed, and the caller must get its answer nevertheless. The
// goroutine ends with f, at the latest with the process. f must not use what the caller may reuse. A commit without
// sync is not worth a goroutine: it waits only when all memtables are full.
func (e *pebbleEngine) guard(f func() error) error {
	done := make(chan error, 1)
	e.running.Add(1)
	go func() {
		err := f()
		e.running.Add(-1)
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-e.fail.failed:
		return e.fail.get()
	}
}

// encode makes a Pebble batch of b.
func (e *pebbleEngine) encode(b *storage.Batch) (*pebble.Batch, error) {
	pb := e.db.NewBatchWithSize(b.Len() + 16*b.Count() + 16)
	for r := b.Ops(); ; {
		op, ok, err := r.Next()
		if err != nil || !ok {
			return pb, err
		}
		switch op.Kind {
		case storage.OpSet:
			err = pb.Set(op.Key, op.Value, nil)
		case storage.OpDelete:
			err = pb.Delete(op.Key, nil)
		case storage.OpDeleteRange:
			if compare(op.Key, op.Value) < 0 {
				err = pb.DeleteRange(op.Key, op.Value, nil)
			}
		}
		if err != nil {
			return nil, err
		}
	}
}

func (e *pebbleEngine) apply(pb *pebble.Batch, sync bool) error {
	if pb.Empty() {
		return e.barrier(sync)
	}
	o := pebble.NoSync
	if sync {
		o = pebble.Sync
	}
	if err := e.db.Apply(pb, o); err != nil || e.fail.get() != nil {
		return err // Pebble may still hold pb
	}
	return pb.Close()
}

// barrier makes all earlier batches durable.
func (e *pebbleEngine) barrier(sync bool) error {
	if !sync {
		return nil
	}
	return e.db.LogData(nil, pebble.Sync)
}

func (e *pebbleEngine) Get(key []byte) ([]byte, error) {
	if err := e.enterRead(); err != nil {
		return nil, err
	}
	defer e.leaveRead()
	return e.copied(e.db.Get(key))
}

// copied ends a point read: Pebble's value is only good until its closer is closed.
func (e *pebbleEngine) copied(v []byte, c io.Closer, err error) ([]byte, error) {
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, storage.ErrNotFound
	}
	if err != nil {
		return nil, classify(err)
	}
	out := append(make([]byte, 0, len(v)), v...)
	return out, classify(c.Close())
}

func (e *pebbleEngine) NewIter(o storage.IterOptions) (storage.Iter, error) {
	if err := e.enterRead(); err != nil {
		return nil, err
	}
	defer e.leaveRead()
	it, err := e.db.NewIter(iterOptions(o))
	if err != nil {
		return nil, classify(err)
	}
	return newPebbleIter(it, o), nil
}

func (e *pebbleEngine) Metrics() Metrics {
	if err := e.enter(); err != nil {
		return Metrics{}
	}
	defer e.leave()
	p := e.db.Metrics()
	total := p.Total()
	m := Metrics{
		DiskBytes:           p.DiskSpaceUsage(),
		TableBytes:          uint64(total.TablesSize),
		TableCount:          uint64(total.TablesCount),
		WALBytes:            p.WAL.Size,
		MemTableBytes:       p.MemTable.Size,
		MemTableCount:       p.MemTable.Count,
		L0Files:             p.Levels[0].TablesCount,
		L0Sublevels:         int64(p.Levels[0].Sublevels),
		ReadAmplification:   int64(p.ReadAmp()),
		CompactionDebtBytes: p.Compact.EstimatedDebt,
		CompactionsRunning:  p.Compact.NumInProgress,
		Compactions:         p.Compact.Count,
		Flushes:             p.Flush.Count,
		Ingests:             p.Ingest.Count,
		CacheBytes:          p.BlockCache.Size,
		CacheHits:           p.BlockCache.Hits,
		CacheMisses:         p.BlockCache.Misses,
		BytesLogged:         p.WAL.BytesWritten,
		BytesFlushed:        total.TableBytesFlushed,
		BytesCompacted:      total.TableBytesCompacted,
		BytesIngested:       total.TableBytesIngested,
		WriteStalls:         e.stalls.Load(),
		OpenViews:           e.views.Load(),
	}
	if u, err := e.opts.FS.GetDiskUsage(e.dir); err == nil { // a file system in memory has none
		m.DiskFreeBytes, m.DiskTotalBytes = u.AvailBytes, u.TotalBytes
	}
	return m
}

// Close of a failed engine returns the failure. When a call is stuck in Pebble then, Pebble and the lock of the
// directory stay until the process ends.
func (e *pebbleEngine) Close() error {
	if e.closed.Swap(true) {
		return ErrClosed
	}
	if !e.settle() {
		return fmt.Errorf("close store %s: %w", e.dir, e.fail.get())
	}
	defer e.life.Unlock()
	close(e.closing)
	err := closeDB(e.db)
	if lerr := e.lock.Close(); err == nil {
		err = lerr
	}
	if err = e.result(err); err != nil {
		return fmt.Errorf("close store %s: %w", e.dir, err)
	}
	return nil
}

// settle waits until no call is in progress and takes life, or gives up on a failed engine.
func (e *pebbleEngine) settle() bool {
	poll, grace := time.NewTicker(closePoll), time.Duration(0)
	defer poll.Stop()
	for {
		if e.life.TryLock() {
			if e.running.Load() == 0 {
				return true
			}
			e.life.Unlock()
		}
		<-poll.C
		if e.fail.get() != nil {
			if grace += closePoll; grace > closeGrace {
				return false
			}
		}
	}
}

// checkBatch refuses keys that are not of package keys' form: they would sort and split at random.
func checkBatch(b *storage.Batch) error {
	for r := b.Ops(); ; {
		op, ok, err := r.Next()
		if err != nil || !ok {
			return err
		}
		if err := validateKey(op.Key); err != nil {
			return err
		}
		if op.Kind == storage.OpDeleteRange {
			if err := validateKey(op.Value); err != nil {
				return err
			}
		}
	}
}

// localTablePrefix begins the names of tables made of Ingest.Local; a crash may leave one behind.
const localTablePrefix = "local-"

func removeLocalTables(fs FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasPrefix(n, localTablePrefix) {
			if err := fs.Remove(fs.PathJoin(dir, n)); err != nil {
				return err
			}
		}
	}
	return nil
}
