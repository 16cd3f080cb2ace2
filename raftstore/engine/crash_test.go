package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/engine/enginetest"
)

// story is a workload of steps with all that a store does. Some are synced.
func story(fs engine.FS, e engine.Engine, step int) (b *storage.Batch, sync bool, err error) {
	b = &storage.Batch{}
	i := uint64(step)
	entry := []byte(strings.Repeat("e", 20_000))
	switch {
	case step%13 == 12: // a range snapshot
		span := engine.Span{Start: keys.Data([]byte("m")), End: keys.Data([]byte("n"))}
		path := "/disk/snapshot"
		f, err := engine.CreateFile(fs, path)
		if err != nil {
			return b, true, err
		}
		w := engine.NewTableWriter(f)
		value := fmt.Appendf(nil, "snapshot %d", step)
		if err := errors.Join(w.Set(keys.Version([]byte("m"), 7), value), finish(w), f.Close()); err != nil {
			return b, true, err
		}
		var local storage.Batch
		local.DeleteRange(keys.LogEntry(1, 0), keys.LogEntry(1, 1<<40))
		local.Set(keys.Local(1, keys.KindApplied), fmt.Append(nil, step))
		b.DeleteRange(span.Start, span.End)
		b.Set(keys.Version([]byte("m"), 7), value)
		b.Append(&local)
		in := engine.Ingest{Tables: []string{path}, Excise: span, Local: &local}
		return b, true, e.IngestAndExcise(context.Background(), in)
	case step%5 == 4: // a truncation
		b.DeleteRange(keys.LogEntry(1, 0), keys.LogEntry(1, i-3))
		b.Set(keys.Local(1, keys.KindTruncated), fmt.Append(nil, step))
	case step%3 == 2: // an apply
		b.Set(keys.Version([]byte("m"), 100), entry)
		b.Set(keys.Local(1, keys.KindApplied), fmt.Append(nil, step))
	default: // an append
		b.Set(keys.LogEntry(1, i), entry)
		sync = true
	}
	return b, sync, e.Commit(b, sync)
}

func finish(w *engine.TableWriter) error {
	_, err := w.Finish()
	return err
}

const storySteps = 40

// survivor opens fs and checks that it holds a state that a crash may leave.
func survivor(fs engine.FS, past *enginetest.History) error {
	e, err := engine.OpenPebble(storeDir, engine.Options{FS: fs, MemTableBytes: 256 << 10, CacheBytes: 1 << 20})
	if err != nil {
		return err
	}
	_, err = past.Survivor(e)
	return errors.Join(err, e.Close())
}

// At every operation on a file, power may fail: what is then on the disk is a prefix with all that was durable.
func TestCrashAtEveryFileOperation(t *testing.T) {
	disk := engine.NewCrashableMemFS()
	var mu sync.Mutex
	var past enginetest.History
	past.Add(nil, true)
	type moment struct {
		disk    *engine.CrashableFS
		durable int
	}
	var moments []moment
	fs := engine.InjectFS(disk, engine.FaultRule{
		Ops: engine.FaultWrite | engine.FaultSync | engine.FaultCreate | engine.FaultRemove | engine.FaultRename,
		Active: func() bool {
			mu.Lock()
			defer mu.Unlock()
			moments = append(moments, moment{disk.CrashClone(), past.Durable})
			return false
		},
	})
	e, err := engine.OpenPebble(storeDir, engine.Options{FS: fs, MemTableBytes: 256 << 10, CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for step := range storySteps {
		b, sync, err := story(fs, e, step)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		past.Add(past.Now().Apply(b), sync)
		mu.Unlock()
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d moments", len(moments))
	for i, m := range moments {
		past := enginetest.History{States: past.States, Durable: m.durable}
		if err := survivor(m.disk, &past); err != nil {
			t.Fatalf("crash before operation %d: %v", i, err)
		}
	}
}

// Whatever operation fails first, and if only once: OnFatal is called once, every call returns the error from then on,
// and neither a restart nor a power loss finds less than what was acknowledged.
func TestFaultAtEveryFileOperation(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		want  error
		ops   engine.FaultOp
		count int
		step  int // every how many operations: they must not be so many that the test is slow
	}{
		{"disk full", syscall.ENOSPC, engine.ErrDiskFull, engine.FaultWrite | engine.FaultCreate, 0, 5},
		{"disk full for a moment", syscall.ENOSPC, engine.ErrDiskFull, engine.FaultWrite, 1, 4},
		{"sync fails", syscall.EIO, syscall.EIO, engine.FaultSync, 1, 2},
		{"disk is gone", syscall.EIO, syscall.EIO,
			engine.FaultWrite | engine.FaultSync | engine.FaultCreate | engine.FaultRename | engine.FaultRemove, 0, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			for skip := 0; ; skip += c.step {
				rule := engine.FaultRule{Ops: c.ops, Path: storeDir, Skip: skip, Count: c.count, Err: c.err}
				done, err := faultyStory(rule, c.want)
				if err != nil {
					t.Fatalf("fault at operation %d: %v", skip, err)
				}
				if done {
					t.Logf("%d operations", skip)
					return
				}
			}
		})
	}
}

// faultyStory plays the story under rule; done tells that nothing failed.
func faultyStory(rule engine.FaultRule, want error) (done bool, err error) {
	disk := engine.NewCrashableMemFS()
	fs := engine.InjectFS(disk, rule)
	var fatal atomic.Int32
	var past enginetest.History
	past.Add(nil, true)
	o := engine.Options{FS: fs, MemTableBytes: 256 << 10, CacheBytes: 1 << 20, OnFatal: func(err error) {
		fatal.Add(1)
		if !errors.Is(err, want) || !errors.Is(err, engine.ErrFailed) {
			fatal.Add(100)
		}
	}}
	e, err := engine.OpenPebble(storeDir, o)
	if err != nil {
		if !errors.Is(err, want) || fatal.Load() != 0 {
			return false, fmt.Errorf("open: %w, and %d calls of OnFatal", err, fatal.Load())
		}
		return false, errors.Join(survivor(disk.CrashClone(), &past), survivor(disk, &past))
	}
	var failed error
	for step := range storySteps {
		b, sync, err := story(fs, e, step)
		if failed != nil && fatal.Load() > 0 && !errors.Is(err, engine.ErrFailed) && !errors.Is(err, want) {
			return false, fmt.Errorf("step %d after a failure: %v", step, err)
		}
		if err != nil {
			failed = err
		}
		// What failed may still have taken effect.
		past.Add(past.Now().Apply(b), sync && err == nil)
		if failed != nil && fatal.Load() > 0 {
			_, err := e.Get(keys.Local(1, keys.KindApplied))
			_, err2 := e.NewIter(storage.IterOptions{})
			if !errors.Is(err, engine.ErrFailed) || !errors.Is(err2, engine.ErrFailed) {
				return false, fmt.Errorf("reads after a failure: %v, %v", err, err2)
			}
		} else if failed != nil {
			break // an ingest could not be prepared: the store lives
		}
	}
	crashed := disk.CrashClone()
	if cerr := e.Close(); cerr == nil && fatal.Load() > 0 {
		return false, errors.New("close says nothing of the failure")
	}
	if n := fatal.Load(); n > 1 || failed != nil && !errors.Is(failed, want) {
		return false, fmt.Errorf("%d calls of OnFatal, first error %v", n, failed)
	}
	// A restart of the process finds all that was written, and perhaps the lock of an engine that could not be closed.
	restarted := disk.MemFS.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	err = errors.Join(survivor(crashed, &past), survivor(disk.CrashClone(), &past), survivor(restarted, &past))
	return failed == nil && fatal.Load() == 0, err
}

// Writers that wait for a flush which cannot succeed are freed with an error.
func TestFailedFlushFreesStalledWriters(t *testing.T) {
	fs := engine.InjectFS(engine.NewCrashableMemFS(), engine.FaultRule{
		Ops: engine.FaultWrite, Path: ".sst", Err: syscall.ENOSPC,
	})
	e, err := engine.OpenPebble(storeDir, engine.Options{FS: fs, MemTableBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			var b storage.Batch
			b.Set(keys.LogEntry(1, uint64(w)), make([]byte, 10_000))
			var err error
			for err == nil {
				err = e.Commit(&b, w%2 == 0)
			}
			if !errors.Is(err, engine.ErrDiskFull) {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	if err := e.Close(); !errors.Is(err, engine.ErrDiskFull) {
		t.Error(err)
	}
}

// walFile is the newest file of the log with its bytes.
func walFile(t *testing.T, fs engine.FS) (path string, data []byte) {
	t.Helper()
	names, err := fs.List(storeDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if p := fs.PathJoin(storeDir, n); strings.HasSuffix(n, ".log") && p > path {
			path = p
		}
	}
	return path, readFile(t, fs, path)
}

func readFile(t *testing.T, fs engine.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

// A torn or damaged log gives a prefix of the batches or ErrCorrupt: never a state with a hole in it.
func TestDamagedLogTail(t *testing.T) {
	disk := engine.NewCrashableMemFS()
	e, err := engine.OpenPebble(storeDir, engine.Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	var past enginetest.History
	past.Add(nil, true)
	var ends []int // length of the log after each step
	for step := range 12 {
		var b storage.Batch
		b.Set(keys.LogEntry(1, uint64(step)), bytes.Repeat([]byte{byte(step)}, 5000)) // some batches span log blocks
		if err := e.Commit(&b, true); err != nil {
			t.Fatal(err)
		}
		past.Add(past.Now().Apply(&b), true)
		_, data := walFile(t, disk.CrashClone())
		ends = append(ends, len(data))
	}
	crashed := disk.CrashClone()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	path, whole := walFile(t, crashed)
	const block = 32 << 10 // damage in the last block cannot be told from a torn end
	outcomes := map[string]int{}
	try := func(what string, at int, data []byte) {
		fs := crashed.CrashClone()
		if err := engine.WriteFile(fs, path, data); err != nil {
			t.Fatal(err)
		}
		// Batches that end before the damage must be there, if the store opens.
		durable := 0
		for i, end := range ends {
			if end <= at {
				durable = i + 1
			}
		}
		h := enginetest.History{States: past.States, Durable: durable}
		err := survivor(fs, &h)
		outcomes[fmt.Sprintf("%s: corrupt %v", what, errors.Is(err, engine.ErrCorrupt))]++
		if err != nil && !errors.Is(err, engine.ErrCorrupt) || what == "flip" && at < block && err == nil {
			t.Errorf("%s at %d of %d: %v", what, at, len(whole), err)
		}
	}
	for at := 0; at < len(whole); at += 1009 {
		try("cut", at, whole[:at])
		flipped := bytes.Clone(whole)
		flipped[at] ^= 0x40
		try("flip", at, flipped)
		zeroed := bytes.Clone(whole)
		clear(zeroed[at:])
		try("zeroes from", at, zeroed)
	}
	try("garbage after", len(whole), append(bytes.Clone(whole), bytes.Repeat([]byte{0xa5}, 4000)...))
	t.Log(outcomes)
	if outcomes["flip: corrupt true"] == 0 || outcomes["cut: corrupt false"] == 0 {
		t.Errorf("the damage does not reach the log: %v", outcomes)
	}
}

// After a failure nothing reaches the disk: Pebble runs on and would remove logs whose flush went nowhere.
func TestFailureFreezesTheDisk(t *testing.T) {
	disk := engine.MemFS().(*vfs.MemFS)
	for _, name := range []string{"/000001.log", "/000002.sst"} {
		if err := engine.WriteFile(disk, name, []byte("precious")); err != nil {
			t.Fatal(err)
		}
	}
	fs, open, err := engine.FrozenFS(disk, "/000003.log")
	if err != nil {
		t.Fatal(err)
	}
	before := disk.String()
	ops := map[string]func() error{
		"write":   func() error { _, err := open.Write([]byte("x")); return err },
		"writeat": func() error { _, err := open.WriteAt([]byte("x"), 0); return err },
		"sync":    func() error { return open.Sync() },
		"create": func() error {
			f, err := fs.Create("/000001.log", "pebble-wal")
			if err != nil {
				return err
			}
			_, err = f.Write([]byte("x"))
			return errors.Join(err, f.Sync(), f.Close())
		},
		"reuse":     func() error { _, err := fs.ReuseForWrite("/000001.log", "/000004.log", ""); return err },
		"readwrite": func() error { _, err := fs.OpenReadWrite("/000005.log", ""); return err },
		"link":      func() error { return fs.Link("/000001.log", "/000006.log") },
		"rename":    func() error { return fs.Rename("/000001.log", "/000007.log") },
		"remove":    func() error { return fs.Remove("/000001.log") },
		"removeall": func() error { return fs.RemoveAll("/000002.sst") },
		"mkdir":     func() error { return fs.MkdirAll("/dir", 0o755) },
		"close":     func() error { return open.Close() },
	}
	for _, name := range slices.Sorted(maps.Keys(ops)) {
		if err := ops[name](); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if after := disk.String(); after != before {
			t.Fatalf("%s changed the disk:\n%sto\n%s", name, before, after)
		}
	}
	if _, err := fs.Create("/000008.sst", "pebble-compaction"); err == nil {
		t.Error("a compaction goes on")
	}
}
