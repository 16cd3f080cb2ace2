package raftstore_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/raftstoretest"
)

// BenchmarkPropose writes 128-byte values into one range on three stores in this process, on file systems in memory
// without the cost of a sync: what is measured is the CPU time of three stores.
func BenchmarkPropose(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			disks := map[proto.StoreID]engine.FS{1: engine.MemFS(), 2: engine.MemFS(), 3: engine.MemFS()}
			c := three(b, raftstoretest.Options{
				Engine: func(o *engine.Options) { o.MemTableBytes, o.CacheBytes = 64<<20, 64<<20 },
				WrapFS: func(id proto.StoreID, _ *engine.CrashableFS) engine.FS { return disks[id] }})
			s, _ := c.WaitLeader(userRange)
			ctx := context.Background()
			value := make([]byte, 128)
			var next atomic.Int64
			var failed atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range callers {
				wg.Add(1)
				go func() {
					defer wg.Done()
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						if err := raftstoretest.Put(ctx, s, userRange, raftstoretest.Key(fmt.Sprint(i)), value); err != nil {
							failed.Add(1)
						}
					}
				}()
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
			if failed.Load() > 0 {
				b.Fatalf("%d of %d writes failed", failed.Load(), b.N)
			}
		})
	}
}

// BenchmarkConfirm confirms reads on one range on three stores.
func BenchmarkConfirm(b *testing.B) {
	c := three(b, raftstoretest.Options{})
	s, _ := c.WaitLeader(userRange)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			_, term, err := s.Begin(userRange)
			if err == nil {
				err = s.Confirm(context.Background(), userRange, term)
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}
