package raftstore_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/raftstoretest"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// Stores lose power, one or all, at arbitrary moments under load: every acknowledged write is there afterwards, every
// disk holds a state that a prefix of the log makes, and the replicas are equal in the end.
func TestCrashUnderLoad(t *testing.T) {
	engines(t, func(t *testing.T, o raftstoretest.Options) {
		c := three(t, o)
		ws := writers(4, 512)
		rng := rand.New(rand.NewPCG(1, 2))
		ledger := &raftstoretest.Ledger{}
		for round := range 12 {
			stop := c.Load(ws...)
			waitWrites(c, 1+rng.Uint64N(30), ws[rng.IntN(len(ws))])
			ids := []proto.StoreID{1, 2, 3}
			if round%3 != 0 {
				i := rng.IntN(3)
				ids = ids[i : i+1]
			}
			c.Crash(ids...)
			if len(ids) == 1 {
				waitWrites(c, 3, ws...)
			}
			for _, id := range ids {
				n := c.Node(id)
				n.Start()
				view := n.Engine().NewView()
				if err := errors.Join(raftstoretest.CheckDisk(view, ws...), ledger.Check(view)); err != nil {
					t.Fatalf("round %d: store %d: %v", round, id, err)
				}
				if err := view.Close(); err != nil {
					t.Fatal(err)
				}
			}
			waitWrites(c, 3, ws...)
			stop()
			c.CheckAcked(ws...)
			c.CheckReplicas()
		}
	})
}

// moment is what a store's disk would hold had power failed before some operation on a file, and what was acknowledged
// until then.
type moment struct {
	disk  *engine.CrashableFS
	acked uint64
}

// recorder takes the moments of one store while it is on.
type recorder struct {
	store  proto.StoreID
	writer *raftstoretest.Writer
	every  int // take one of so many

	mu      sync.Mutex
	on      bool
	seen    int
	moments []moment
}

const changes = engine.FaultWrite | engine.FaultSync | engine.FaultCreate | engine.FaultRemove | engine.FaultRename

func (r *recorder) wrap(id proto.StoreID, disk *engine.CrashableFS) engine.FS {
	if id != r.store {
		return disk
	}
	return engine.InjectFS(disk, engine.FaultRule{Ops: changes, Active: func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.seen++; r.on && r.seen%r.every == 0 {
			acked := r.writer.Acked()
			r.moments = append(r.moments, moment{disk.CrashClone(), acked})
		}
		return false
	}})
}

func (r *recorder) turn(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.on = on
}

func (r *recorder) taken() []moment {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moments
}

// checkDisk opens the engine on a disk and looks at its records.
func checkDisk(disk *engine.CrashableFS, ledger *raftstoretest.Ledger, ws ...*raftstoretest.Writer) error {
	e, err := engine.OpenPebble(raftstoretest.Dir, raftstoretest.EngineOptions(disk))
	if err != nil {
		return err
	}
	return errors.Join(raftstoretest.CheckDisk(e, ws...), ledger.Check(e), e.Close())
}

// boot starts a store that is alone on each of the moments: it boots, and has everything that was acknowledged. From
// there on each has a history of its own.
func (r *recorder) boot(t *testing.T) {
	t.Helper()
	r.turn(false)
	t.Logf("%d moments", len(r.taken()))
	ledger := &raftstoretest.Ledger{}
	for i, m := range r.taken() {
		if err := checkDisk(m.disk, ledger, r.writer); err != nil {
			t.Fatalf("moment %d: %v", i, err)
		}
		ok := t.Run(fmt.Sprintf("moment %d", i), func(t *testing.T) {
			c := raftstoretest.New(t, raftstoretest.Options{Stores: 1, Disks: []*engine.CrashableFS{m.disk}})
			n := c.Node(1)
			n.Store().Statuses(func(st *replica.Status) bool { n.Store().Campaign(st.Range); return true })
			for number := m.acked; number+r.writer.Keys > m.acked && number > 0; number-- {
				v, found := c.MustGet(r.writer.Key(number))
				if !found || binary.BigEndian.Uint64(v) < number {
					t.Fatalf("%d was acknowledged, its key holds %x", number, v)
				}
			}
			if err := n.CheckDisk(r.writer); err != nil {
				t.Fatal(err)
			}
		})
		if !ok {
			return
		}
	}
}

// Power fails at every operation on a file while a range that is alone writes, truncates its log and splits.
func TestCrashAtEveryOperation(t *testing.T) {
	for _, story := range []struct {
		name  string
		every int
		run   func(*raftstoretest.Cluster, *raftstoretest.Writer) error
	}{
		{"write and truncate", 2, func(c *raftstoretest.Cluster, w *raftstoretest.Writer) error {
			return writeSome(c, w, 40)
		}},
		{"split", 1, func(c *raftstoretest.Cluster, w *raftstoretest.Writer) error {
			s, _ := c.WaitLeader(userRange)
			for _, at := range []uint64{4, 8, 12} {
				if _, _, err := s.Split(context.Background(), userRange, w.Key(w.Keys-at)); err != nil {
					return err
				}
				if err := writeSome(c, w, 5); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		t.Run(story.name, func(t *testing.T) {
			w := &raftstoretest.Writer{Name: "w", Keys: 16, Size: 3000}
			r := &recorder{store: 1, writer: w, every: story.every}
			c := raftstoretest.New(t, raftstoretest.Options{Stores: 1, WrapFS: r.wrap, Config: shortLog})
			c.WaitLeader(userRange)
			if err := writeSome(c, w, 20); err != nil {
				t.Fatal(err)
			}
			r.turn(true)
			if err := story.run(c, w); err != nil {
				t.Fatal(err)
			}
			r.boot(t)
		})
	}
}

// shortLog has a log that is cut all the time.
func shortLog(cfg *raftstore.Config) {
	cfg.TickInterval = 5 * time.Millisecond
	cfg.Core.TruncateEntries = 4
	cfg.Core.LogEntriesMax = 16
	cfg.Core.CacheBytesMax = 1 << 10
}

func writeSome(c *raftstoretest.Cluster, w *raftstoretest.Writer, n int) error {
	for range n {
		if err := w.Write(context.Background(), c); err != nil {
			return err
		}
	}
	return nil
}

// Power fails at every operation on a file of a store that takes a range snapshot, and of one whose replica is
// destroyed: it boots from each of them, and its disk holds what a prefix of the log makes.
func TestCrashDuringSnapshotAndDestroy(t *testing.T) {
	w := &raftstoretest.Writer{Name: "w", Keys: 16, Size: 20_000}
	r := &recorder{store: 3, writer: w, every: 1}
	c := three(t, raftstoretest.Options{WrapFS: r.wrap, Config: func(cfg *raftstore.Config) {
		shortLog(cfg)
		cfg.TickInterval = 20 * time.Millisecond
	}})
	stop := c.Load(w)
	defer stop()
	waitWrites(c, 20, w)
	c.Net.Isolate(3, true)
	waitWrites(c, 60, w)
	behind, _ := c.Node(3).Store().Status(userRange)
	c.Wait("the log is cut", func() bool {
		_, st := c.Leader(func(st *replica.Status) bool { return st.Range == userRange })
		return st != nil && st.FirstIndex > behind.LastIndex+1
	})
	r.turn(true)
	c.Net.Isolate(3, false)
	c.Wait("store 3 has a range snapshot", func() bool {
		st, _ := c.Node(3).Store().Status(userRange)
		return st.Applied > behind.LastIndex+10
	})
	installed := len(r.taken())
	c.Place(userRange, 1, 2)
	c.Wait("the replica is gone", func() bool {
		_, there := c.Node(3).Store().Status(userRange)
		return !there
	})
	r.turn(false)
	stop()
	c.CheckAcked(w)
	c.CheckReplicas()
	moments := r.taken()
	t.Logf("%d moments, %d until the range snapshot was there", len(moments), installed)
	ledger := &raftstoretest.Ledger{}
	for i, m := range moments {
		if err := checkDisk(m.disk, ledger, w); err != nil {
			t.Fatalf("moment %d: %v", i, err)
		}
		if err := bootsAndStops(m.disk); err != nil {
			t.Fatalf("moment %d: %v", i, err)
		}
	}
	for _, i := range []int{installed / 2, installed, len(moments) - 1} { // go on from there, in the cluster
		n := c.Node(3)
		_ = n.Stop() // its disk is replaced
		n.SetDisk(moments[i].disk)
		n.Start()
		c.Place(userRange, 1, 2, 3)
		c.CheckReplicas()
		if err := ledger.Check(n.Engine()); err != nil {
			t.Fatal(err)
		}
		c.Place(userRange, 1, 2)
	}
}

type deaf struct{ raftstore.Transport }

func (deaf) Send(*internalpb.RaftMessage) {}

// bootsAndStops opens a store on a disk, runs it and stops it.
func bootsAndStops(disk *engine.CrashableFS) error {
	e, err := engine.OpenPebble(raftstoretest.Dir, raftstoretest.EngineOptions(disk))
	if err != nil {
		return err
	}
	cfg := raftstoretest.Config(3, e, disk)
	cfg.Transport = deaf{}
	cfg.AllocateRange = func(context.Context) (proto.RangeID, error) { return 0, errors.New("no") }
	s, err := raftstore.Open(cfg)
	if err == nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		err = s.Run(ctx)
	}
	return errors.Join(err, e.Close())
}
