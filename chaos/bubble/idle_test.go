package bubble_test

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/bubble"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/raftstore/engine"
)

// stored is how many bytes lie on a file system.
func stored(t *testing.T, disk engine.FS, dir string) (sum int64) {
	t.Helper()
	names, err := disk.List(dir)
	must(t, err)
	for _, name := range names {
		path := disk.PathJoin(dir, name)
		info, err := disk.Stat(path)
		if err != nil {
			continue // removed meanwhile
		}
		if info.IsDir() {
			sum += stored(t, disk, path)
		} else {
			sum += info.Size()
		}
	}
	return sum
}

// idleDefault is how long a cluster idles, and idleEnv the variable that says otherwise.
const (
	idleDefault = 15 * time.Minute
	idleEnv     = "VIPKV_BUBBLE_IDLE"
	// diskSlack is what a node's disk may grow: its log is truncated and its memtable flushed now and then only.
	diskSlack = 4 << 20
)

func idle(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv(idleEnv)
	if text == "" {
		return idleDefault
	}
	d, err := time.ParseDuration(text)
	must(t, err)
	return d
}

// sample is what must not grow while nobody asks for anything.
type sample struct {
	goroutines int
	heap       uint64
	disk       int64 // of all nodes
}

func take(t *testing.T, c *bubble.Cluster) (s sample) {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.goroutines, s.heap = runtime.NumGoroutine(), m.HeapAlloc
	for n := 1; n <= c.Len(); n++ {
		s.disk += stored(t, c.Disk(n), "/data")
	}
	return s
}

// A cluster that nobody asks for anything is after a while what it was before: no goroutine, no timer and no log is
// left over from what it does by itself. A day of it is make bubble-day.
func TestIdle(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := options(t)
		o.Plain = true
		c, err := bubble.New(t.Context(), 3, o)
		must(t, err)
		acme, err := c.Tenant(t.Context(), "acme")
		must(t, err)
		_, err = acme.Put(t.Context(), []byte("k"), []byte("v"), client.PutOptions{})
		must(t, err)
		total := idle(t)
		time.Sleep(total / 3)
		first := take(t, c)
		time.Sleep(total - total/3)
		last := take(t, c)
		t.Logf("after %v %+v, after %v %+v", total/3, first, total, last)
		if last.goroutines > first.goroutines+5 {
			t.Errorf("goroutines grew from %d to %d", first.goroutines, last.goroutines)
		}
		if last.heap > first.heap*3/2+8<<20 {
			t.Errorf("the heap grew from %d to %d bytes", first.heap, last.heap)
		}
		if last.disk > first.disk*3/2+3*diskSlack {
			t.Errorf("the disks grew from %d to %d bytes", first.disk, last.disk)
		}
		got, err := acme.Get(t.Context(), []byte("k"))
		must(t, err)
		if string(got.Value) != "v" {
			t.Errorf("read %q", got.Value)
		}
		must(t, c.Close())
	})
}
