package engine_test

import (
	"fmt"
	"testing"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	"github.com/vipkv/vipkv/raftstore/engine"
)

// BenchmarkCommitSync commits groups of log entries of 256 bytes, each group in one batch and one sync. An operation is
// an entry.
func BenchmarkCommitSync(b *testing.B) {
	for _, group := range []int{1, 8, 64, 512} {
		b.Run(fmt.Sprintf("group=%d", group), func(b *testing.B) {
			e, err := engine.OpenPebble(b.TempDir(), engine.Options{})
			if err != nil {
				b.Fatal(err)
			}
			value := make([]byte, 256)
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			var batch storage.Batch
			for i := 0; b.Loop(); i++ {
				batch.Set(keys.LogEntry(1, uint64(i)), value)
				if batch.Count() < group {
					continue
				}
				if err := e.Commit(&batch, true); err != nil {
					b.Fatal(err)
				}
				batch.Reset()
			}
			if err := e.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkMemCommit is the price of a step in the simulator: an append, an apply and a read.
func BenchmarkMemCommit(b *testing.B) {
	e, err := engine.OpenMem(engine.NewMemDisk(), engine.Options{})
	if err != nil {
		b.Fatal(err)
	}
	value := make([]byte, 64)
	var batch storage.Batch
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		batch.Reset()
		batch.Set(keys.LogEntry(1, uint64(i%10_000)), value)
		batch.Set(keys.Local(1, keys.KindApplied), value)
		if err := e.Commit(&batch, i%2 == 0); err != nil {
			b.Fatal(err)
		}
		v := e.NewView()
		if _, err := v.Get(keys.LogEntry(1, uint64(i%10_000))); err != nil {
			b.Fatal(err)
		}
		if err := v.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkView is a point read through a view, as every command makes it.
func BenchmarkView(b *testing.B) {
	e, err := engine.OpenPebble(b.TempDir(), engine.Options{})
	if err != nil {
		b.Fatal(err)
	}
	var batch storage.Batch
	for i := range 10_000 {
		batch.Set(keys.Version(fmt.Appendf(nil, "k%05d", i), 7), make([]byte, 100))
	}
	if err := e.Commit(&batch, true); err != nil {
		b.Fatal(err)
	}
	key := keys.Version([]byte("k05000"), 7)
	b.ReportAllocs()
	for b.Loop() {
		v := e.NewView()
		if _, err := v.Get(key); err != nil {
			b.Fatal(err)
		}
		if err := v.Close(); err != nil {
			b.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCommitNoSync is an apply: its cost is the engine's own, without the disk.
func BenchmarkCommitNoSync(b *testing.B) {
	e, err := engine.OpenPebble(b.TempDir(), engine.Options{})
	if err != nil {
		b.Fatal(err)
	}
	value := make([]byte, 100)
	b.ReportAllocs()
	var batch storage.Batch
	for i := 0; b.Loop(); i++ {
		batch.Reset()
		for j := range 8 {
			batch.Set(keys.LogEntry(1, uint64(i*8+j)%100_000), value)
		}
		if err := e.Commit(&batch, false); err != nil {
			b.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		b.Fatal(err)
	}
}
