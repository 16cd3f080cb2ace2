package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/raftstore"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/raftstoretest"
)

// A store whose log can not be written or synced stops once: callers get errors and no acknowledgement, and from its
// disk, as it is or after a power loss, it comes back with everything that was acknowledged.
func TestDiskFails(t *testing.T) {
	for _, f := range []struct {
		name string
		ops  engine.FaultOp
		err  error
		want error
	}{
		{"sync fails", engine.FaultSync, syscall.EIO, syscall.EIO},
		{"write fails", engine.FaultWrite, syscall.EIO, syscall.EIO},
		{"disk is full", engine.FaultWrite | engine.FaultCreate, syscall.ENOSPC, engine.ErrDiskFull},
		{"everything fails", changes, syscall.EIO, syscall.EIO},
	} {
		for _, power := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, power loss %v", f.name, power), func(t *testing.T) {
				var broken atomic.Bool
				c := raftstoretest.New(t, raftstoretest.Options{Stores: 1,
					WrapFS: func(_ proto.StoreID, disk *engine.CrashableFS) engine.FS {
						return engine.InjectFS(disk, engine.FaultRule{Ops: f.ops, Path: raftstoretest.Dir, Err: f.err,
							Active: broken.Load})
					}})
				c.WaitLeader(userRange)
				ws := writers(3, 1000)
				stop := c.Load(ws...)
				defer stop()
				waitWrites(c, 30, ws...)
				n := c.Node(1)
				s := n.Store()
				broken.Store(true)
				c.Wait("the store has failed", func() bool { return len(n.Fatal()) > 0 })
				stop()
				for range 3 {
					late := raftstoretest.Key("late")
					if err := raftstoretest.Put(context.Background(), s, userRange, late, []byte("x")); err == nil {
						t.Fatal("a store that has failed acknowledged a write")
					}
				}
				if err := s.Confirm(context.Background(), userRange, 1); err == nil {
					t.Fatal("a store that has failed confirmed a read")
				}
				if power {
					n.SetDisk(n.Disk().CrashClone())
				}
				if err := n.Stop(); !errors.Is(err, f.want) {
					t.Fatalf("run returned %v", err)
				}
				if all := n.Fatal(); len(all) != 1 || !errors.Is(all[0], f.want) {
					t.Fatalf("OnFatal was called with %v", all)
				}
				broken.Store(false)
				n.Start()
				c.CheckAcked(ws...)
				if err := n.CheckDisk(ws...); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// wal is the newest log file of a store and what it holds.
func wal(fs engine.FS) (path string, data []byte, err error) {
	names, err := fs.List(raftstoretest.Dir)
	if err != nil {
		return "", nil, err
	}
	for _, n := range names {
		if strings.HasSuffix(n, ".log") && fs.PathJoin(raftstoretest.Dir, n) > path {
			path = fs.PathJoin(raftstoretest.Dir, n)
		}
	}
	f, err := fs.Open(path)
	if err != nil {
		return "", nil, err
	}
	data, err = io.ReadAll(f)
	return path, data, errors.Join(err, f.Close())
}

// torn is what power that fails during a sync may leave: a part of what was to be synced, perhaps damaged.
func torn(disk *engine.CrashableFS, rng *rand.Rand) (*engine.CrashableFS, error) {
	clone := disk.CrashClone()
	path, all, err := wal(disk)
	if err != nil {
		return nil, err
	}
	_, safe, err := wal(clone)
	if err != nil || len(safe) >= len(all) {
		return nil, err
	}
	tail := append([]byte(nil), all[:len(safe)+1+rng.IntN(len(all)-len(safe))]...)
	for range rng.IntN(3) {
		tail[len(safe)+rng.IntN(len(tail)-len(safe))] ^= byte(1 + rng.IntN(255))
	}
	return clone, engine.WriteFile(clone, path, tail)
}

// Power fails while the log is synced: of what was not yet durable any part is on the disk, some of it damaged. The
// store boots from each such disk with everything that was acknowledged.
func TestTornLogTail(t *testing.T) {
	w := &raftstoretest.Writer{Name: "w", Keys: 8, Size: 7000}
	rng := rand.New(rand.NewPCG(3, 4))
	r := &recorder{writer: w}
	var failure error
	c := raftstoretest.New(t, raftstoretest.Options{Stores: 1,
		WrapFS: func(_ proto.StoreID, disk *engine.CrashableFS) engine.FS {
			return engine.InjectFS(disk, engine.FaultRule{Ops: engine.FaultSync, Path: ".log", Active: func() bool {
				r.mu.Lock()
				defer r.mu.Unlock()
				if acked := w.Acked(); r.on {
					clone, err := torn(disk, rng)
					if clone != nil {
						r.moments = append(r.moments, moment{clone, acked})
					}
					failure = errors.Join(failure, err)
				}
				return false
			}})
		}})
	c.WaitLeader(userRange)
	if err := writeSome(c, w, 10); err != nil {
		t.Fatal(err)
	}
	r.turn(true)
	if err := writeSome(c, w, 60); err != nil {
		t.Fatal(err)
	}
	r.turn(false)
	if failure != nil || len(r.taken()) < 10 {
		t.Fatalf("%d torn logs, %v", len(r.taken()), failure)
	}
	r.boot(t)
}

// While the disk stands still, proposals are refused within milliseconds once the queues are full, and say when to come
// again; all others are answered when it goes on. Leadership elsewhere goes on.
func TestQueuesAreBounded(t *testing.T) {
	var stuck atomic.Bool
	var gate sync.RWMutex
	c := raftstoretest.New(t, raftstoretest.Options{Stores: 1,
		Config: func(cfg *raftstore.Config) {
			cfg.Core.QueueCountMax = 64
			cfg.Core.StoreQueueBytesMax = 1 << 20
		},
		WrapFS: func(_ proto.StoreID, disk *engine.CrashableFS) engine.FS {
			return engine.InjectFS(disk, engine.FaultRule{Ops: engine.FaultSync, Path: ".log", Active: func() bool {
				if stuck.Load() {
					gate.RLock()
					defer gate.RUnlock()
				}
				return false
			}})
		}})
	s, _ := c.WaitLeader(userRange)
	c.MustPut(raftstoretest.Key("before"), []byte("x"))
	for _, size := range []int{10, 100_000} { // the count is the limit, then the bytes
		gate.Lock()
		stuck.Store(true)
		const callers = 128
		answers := make(chan error, callers)
		slowest := make(chan time.Duration, callers)
		for i := range callers {
			go func() {
				began := time.Now()
				err := raftstoretest.Put(context.Background(), s, userRange, raftstoretest.Key(fmt.Sprint(i)), make([]byte, size))
				var throttled *rpcerr.ThrottledError
				if errors.As(err, &throttled) {
					slowest <- time.Since(began)
				}
				answers <- err
			}()
		}
		refused := 0
		want := callers - 64
		if size > 10 {
			want = callers - (1<<20)/size
		}
		for range want {
			err := <-answers
			var throttled *rpcerr.ThrottledError
			if !errors.As(err, &throttled) || throttled.RetryAfterMs == 0 {
				t.Fatalf("a full queue answered %v", err)
			}
			refused++
		}
		took := time.Duration(0)
		for range refused {
			took = max(took, <-slowest)
		}
		if took > time.Second { // the machine may be busy; it is far from how long the disk stands still
			t.Fatalf("a full queue answered after %v", took)
		}
		select {
		case err := <-answers:
			t.Fatalf("answered while the disk stands still: %v", err)
		default:
		}
		stuck.Store(false)
		gate.Unlock()
		for range callers - refused {
			if err := <-answers; err != nil {
				t.Fatalf("a queued write: %v", err)
			}
		}
	}
}
