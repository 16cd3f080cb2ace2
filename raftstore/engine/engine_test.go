package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/engine/enginetest"
)

const storeDir = "/disk/store"

// openPebble opens an engine on a file system that can crash.
func openPebble() (*enginetest.Harness, error) {
	disk := engine.NewCrashableMemFS()
	h := &enginetest.Harness{Dir: "/disk"}
	open := func() (err error) {
		h.FS = disk
		h.Engine, err = engine.OpenPebble(storeDir, engine.Options{FS: disk, MemTableBytes: 256 << 10, CacheBytes: 1 << 20})
		return err
	}
	churns := 0
	h.Churn = func() error {
		churns++
		return engine.Churn(h.Engine, churns%2 == 0)
	}
	h.Reopen = func() error { return errors.Join(h.Engine.Close(), open()) }
	h.Crash = func(int) error {
		old, clone := h.Engine, disk.CrashClone()
		disk = clone
		return errors.Join(old.Close(), open())
	}
	h.Close = func() error { return h.Engine.Close() }
	return h, open()
}

// openMem opens an engine in memory.
func openMem() (*enginetest.Harness, error) {
	disk, fs := engine.NewMemDisk(), engine.MemFS()
	h := &enginetest.Harness{Dir: "/", FS: fs}
	open := func() (err error) {
		h.Engine, err = engine.OpenMem(disk, engine.Options{FS: fs})
		return err
	}
	h.Churn = func() error { return nil }
	h.Reopen = func() error { return errors.Join(h.Engine.Close(), open()) }
	h.Crash = func(keep int) error {
		disk.Crash(keep % (disk.Unsynced() + 1))
		return open()
	}
	h.Close = func() error { return h.Engine.Close() }
	return h, open()
}

func TestPebbleConformance(t *testing.T) { enginetest.RunConformance(t, openPebble) }

func TestMemConformance(t *testing.T) { enginetest.RunConformance(t, openMem) }

func TestPebbleModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { enginetest.RunModel(t, openPebble) })
}

func TestMemModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { enginetest.RunModel(t, openMem) })
}

// A view made at any moment sees an ingest whole or not at all.
func TestViewsSeeIngestsWhole(t *testing.T) {
	h, err := openPebble()
	if err != nil {
		t.Fatal(err)
	}
	a, b, local := keys.Data([]byte("ma")), keys.Version([]byte("mz"), 1), keys.Local(1, keys.KindApplied)
	span := engine.Span{Start: keys.Data([]byte("m")), End: keys.Data([]byte("n"))}
	ingest := func(round int) error {
		v := fmt.Append(nil, round)
		var l storage.Batch
		l.Set(local, v)
		return h.Ingest(span, []enginetest.KV{{Key: a, Value: v}, {Key: b, Value: v}}, &l)
	}
	if err := ingest(0); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				view := h.Engine.NewView()
				x, err1 := view.Get(a)
				y, err2 := view.Get(b)
				z, err3 := view.Get(local)
				if err := errors.Join(err1, err2, err3, view.Close()); err != nil || !bytes.Equal(x, y) || !bytes.Equal(y, z) {
					t.Errorf("view %d: %q, %q, %q, %v", n, x, y, z, err)
					return
				}
			}
		})
	}
	for round := range 60 {
		var w storage.Batch
		w.Set(keys.Data([]byte("mm")), []byte("x")) // lets some ingests overlap the memtable
		if round%3 == 0 {
			err = h.Engine.Commit(&w, false)
		}
		if err := errors.Join(err, ingest(round)); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	readers.Wait()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestMemCrashKeepsAPrefix(t *testing.T) {
	for keep := range 4 {
		disk := engine.NewMemDisk()
		e, err := engine.OpenMem(disk, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := engine.OpenMem(disk, engine.Options{}); !errors.Is(err, engine.ErrLocked) {
			t.Errorf("opened twice: %v", err)
		}
		for i := range 5 {
			var b storage.Batch
			b.Set(keys.LogEntry(1, uint64(i)), nil)
			if err := e.Commit(&b, i == 1); err != nil {
				t.Fatal(err)
			}
		}
		if n := disk.Unsynced(); n != 3 {
			t.Errorf("%d unsynced", n)
		}
		view := e.NewView()
		disk.Crash(keep)
		if _, err := view.Get(keys.LogEntry(1, 0)); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("view after the crash: %v", err)
		}
		if err := e.Commit(&storage.Batch{}, true); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("commit after the crash: %v", err)
		}
		if e, err = engine.OpenMem(disk, engine.Options{}); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			_, err := e.Get(keys.LogEntry(1, uint64(i)))
			if lives := err == nil; lives != (i < 2+keep) {
				t.Errorf("keep %d: entry %d lives: %v", keep, i, lives)
			}
		}
	}
}

// Thousands of synced batches settle the durable state; a crash still gives a prefix.
func TestMemCrashAfterSettling(t *testing.T) {
	disk := engine.NewMemDisk()
	e, err := engine.OpenMem(disk, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var past enginetest.History
	past.Add(nil, true)
	for i := range 3000 {
		var b storage.Batch
		b.Set(keys.LogEntry(1, uint64(i%50)), fmt.Append(nil, i))
		sync := i < 2990 && i%3 == 0
		if err := e.Commit(&b, sync); err != nil {
			t.Fatal(err)
		}
		past.Add(past.Now().Apply(&b), sync)
	}
	disk.Crash(4)
	if e, err = engine.OpenMem(disk, engine.Options{}); err != nil {
		t.Fatal(err)
	}
	diff, err := past.States[past.Durable+4].Diff(e)
	if err != nil || diff != "" {
		t.Error(diff, err)
	}
}
