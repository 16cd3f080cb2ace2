package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/engine/enginetest"
)

func one(i int) *storage.Batch {
	var b storage.Batch
	b.Set(keys.LogEntry(1, uint64(i%50)), fmt.Append(nil, "value ", i))
	return &b
}

// A power cut at any byte, with or without stray sectors behind it, leaves a prefix of whole steps.
func TestMemCrashTears(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		disk := engine.NewMemDisk()
		var past enginetest.History
		past.Add(nil, true)
		for life := range 3 {
			e, err := engine.OpenMem(disk, engine.Options{})
			if err != nil {
				t.Fatalf("seed %d life %d: %v", seed, life, err)
			}
			at := -1
			for i, s := range past.States {
				if diff, err := s.Diff(e); err == nil && diff == "" && i >= past.Durable {
					at = i
				}
			}
			if at < 0 {
				t.Fatalf("seed %d life %d: what is there is no prefix that has all durable steps", seed, life)
			}
			now := past.States[at]
			past = enginetest.History{}
			past.Add(now, true)
			for range r.IntN(30) {
				b, sync := one(r.IntN(1000)), r.IntN(4) == 0
				if err := e.Commit(b, sync); err != nil {
					t.Fatal(err)
				}
				past.Add(past.Now().Apply(b), sync)
			}
			disk.CrashTorn(r.IntN(disk.UnsyncedBytes()+1), r.IntN(2) == 0)
		}
	}
}

// A flipped bit anywhere in what is known to be durable is found at the next start, and never served.
func TestMemRotIsFound(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		disk := engine.NewMemDisk()
		e, err := engine.OpenMem(disk, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if disk.Rot(r.IntN) {
			t.Fatal("an empty disk rots")
		}
		n := 3 + r.IntN([]int{4, 1500}[seed%2]) // in a short log the newest durable steps are often hit
		for i := range n {
			if err := e.Commit(one(i), i%3 != 1); err != nil {
				t.Fatal(err)
			}
		}
		if !disk.Rot(r.IntN) {
			t.Fatalf("seed %d: no durable bytes in %d steps", seed, n)
		}
		disk.CrashTorn(r.IntN(disk.UnsyncedBytes()+1), false)
		if _, err := engine.OpenMem(disk, engine.Options{}); !errors.Is(err, engine.ErrCorrupt) {
			t.Fatalf("seed %d: opened a rotten disk: %v", seed, err)
		}
	}
}

// A checkpoint does not carry damage on: the engine fails when it is made.
func TestMemRotStopsTheCheckpoint(t *testing.T) {
	disk := engine.NewMemDisk()
	e, err := engine.OpenMem(disk, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		if i == 100 && !disk.Rot(rand.New(rand.NewPCG(1, 1)).IntN) {
			t.Fatal("nothing rots")
		}
		if err = e.Commit(one(i), true); err != nil {
			break
		}
	}
	if !errors.Is(err, engine.ErrCorrupt) || !errors.Is(err, engine.ErrFailed) {
		t.Fatalf("5,000 synced steps: %v", err)
	}
	if _, err := e.Get(keys.LogEntry(1, 1)); !errors.Is(err, engine.ErrCorrupt) {
		t.Errorf("read after it: %v", err)
	}
}

// A full or failing disk fences the engine; nothing synced is lost, and with room the disk opens again.
func TestMemDiskFullAndFailing(t *testing.T) {
	eio := errors.New("input/output error")
	for _, c := range []struct {
		name    string
		trouble func(*engine.MemDisk)
		want    error
	}{
		{"full", func(d *engine.MemDisk) { d.SetRoom(100) }, engine.ErrDiskFull},
		{"third operation", func(d *engine.MemDisk) { d.FailAfter(3, eio) }, eio},
	} {
		disk := engine.NewMemDisk()
		e, err := engine.OpenMem(disk, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var past enginetest.History
		past.Add(nil, true)
		for i := 0; err == nil; i++ {
			if i == 10 {
				c.trouble(disk)
			}
			if i == 100 {
				t.Fatalf("%s: never failed", c.name)
			}
			if err = e.Commit(one(i), true); err == nil {
				past.Add(past.Now().Apply(one(i)), true)
			}
		}
		if !errors.Is(err, c.want) || !errors.Is(err, engine.ErrFailed) {
			t.Fatalf("%s: %v", c.name, err)
		}
		if err := e.Commit(one(1), false); !errors.Is(err, c.want) {
			t.Errorf("%s: a later write: %v", c.name, err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if c.want == engine.ErrDiskFull {
			disk.SetRoom(0)
			if _, err := engine.OpenMem(disk, engine.Options{}); !errors.Is(err, engine.ErrDiskFull) {
				t.Errorf("opened without room: %v", err)
			}
			disk.SetRoom(-1)
		}
		if e, err = engine.OpenMem(disk, engine.Options{}); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		diff, err := past.Now().Diff(e)
		also, _ := past.Now().Apply(one(len(past.States) - 1)).Diff(e) // the write that failed may be there
		if err != nil || diff != "" && also != "" {
			t.Errorf("%s: %s %v", c.name, diff, err)
		}
	}
}
