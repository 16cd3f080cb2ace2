package raftstore_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore"
	"github.com/vipkv/vipkv/raftstore/raftstoretest"
	"github.com/vipkv/vipkv/raftstore/replica"
)

func cutLog(cfg *raftstore.Config) {
	cfg.Core.TruncateEntries = 8
	cfg.Core.LogEntriesMax = 32
	cfg.Core.CacheBytesMax = 4 << 10
}

// fallBehind cuts a store off until the leader's log does not reach back to where it is, and mends the network.
func fallBehind(c *raftstoretest.Cluster, id proto.StoreID) (behind uint64) {
	c.T.Helper()
	c.Net.Isolate(id, true)
	before, _ := c.Node(id).Store().Status(userRange)
	c.Wait("the log is cut", func() bool {
		_, st := c.Leader(func(st *replica.Status) bool { return st.Range == userRange })
		last, _ := c.Node(id).Store().Status(userRange)
		return st != nil && !(st.Leads && st.Replica == before.Replica) && st.FirstIndex > last.LastIndex+1
	})
	last, _ := c.Node(id).Store().Status(userRange)
	c.Net.Isolate(id, false)
	return last.LastIndex
}

// A follower that is far behind takes a range snapshot, again and again, while writes go on.
func TestFollowerFarBehind(t *testing.T) {
	engines(t, func(t *testing.T, o raftstoretest.Options) {
		o.Config = cutLog
		c := three(t, o)
		ws := writers(3, 3000)
		stop := c.Load(ws...)
		defer stop()
		for range 3 {
			waitWrites(c, 5, ws...)
			behind := fallBehind(c, 3)
			c.Wait("store 3 has caught up", func() bool {
				st, ok := c.Node(3).Store().Status(userRange)
				return ok && st.Applied > behind+20
			})
		}
		stop()
		c.CheckAcked(ws...)
		c.CheckReplicas()
		if err := c.Node(3).CheckDisk(ws...); err != nil {
			t.Fatal(err)
		}
	})
}

// Many ranges move to a store that takes one range snapshot at a time: refused ones are sent again.
func TestSnapshotSlots(t *testing.T) {
	c := raftstoretest.New(t, raftstoretest.Options{Stores: 2, Config: func(cfg *raftstore.Config) {
		cutLog(cfg)
		cfg.ReceiveSlots = 1
		cfg.SendSlots = 4
	}})
	ws := writers(2, 2000)
	ctx := context.Background()
	c.WaitLeader(userRange)
	for range 32 {
		for _, w := range ws {
			if err := w.Write(ctx, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	var ids []proto.RangeID
	for i := range uint64(8) {
		s, d := c.WaitLeader(userRange)
		_, right, err := s.Split(ctx, userRange, ws[0].Key(15-i))
		if err != nil {
			t.Fatalf("split %v: %v", d, err)
		}
		ids = append(ids, proto.RangeID(right.RangeId))
	}
	move, cancel := context.WithTimeout(ctx, 25*time.Second)
	defer cancel()
	done := make(chan error, len(ids))
	for _, id := range ids {
		go func() { done <- c.TryPlace(move, id, 1, 2) }()
	}
	for range ids {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	c.CheckAcked(ws...)
	c.CheckReplicas()
}

// The receiver of a range snapshot is cut off or loses power half-way: it takes another one.
func TestSnapshotIsInterrupted(t *testing.T) {
	c := raftstoretest.New(t, raftstoretest.Options{Stores: 2, Config: func(cfg *raftstore.Config) {
		cutLog(cfg)
		cfg.SnapshotBytesPerSecond = 1 << 20
		cfg.SnapshotTableBytes = 1 << 16
	}})
	c.WaitLeader(userRange)
	w := &raftstoretest.Writer{Name: "w", Keys: 64, Size: 16_000} // a second at this rate
	if err := writeSome(c, w, 64); err != nil {
		t.Fatal(err)
	}
	for _, harm := range []func(){
		func() { c.Net.Isolate(2, true); c.Net.Isolate(2, false) },
		func() { c.Net.Isolate(2, true); c.Crash(2); c.Node(2).Start() },
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
		placed := make(chan error, 1)
		go func() { placed <- c.TryPlace(ctx, userRange, 1, 2) }()
		c.Wait("a table is coming", func() bool {
			names, err := c.Node(2).Disk().List("/incoming")
			return err == nil && len(names) > 1
		})
		harm()
		if err := <-placed; err != nil {
			t.Fatal(err)
		}
		cancel()
		c.CheckAcked(w)
		c.CheckReplicas()
		c.Place(userRange, 1)
		c.Wait("the replica is gone", func() bool {
			_, there := c.Node(2).Store().Status(userRange)
			return !there
		})
		if names, err := c.Node(2).Disk().List("/incoming"); err != nil || len(names) > 0 {
			t.Fatalf("left behind: %v, %v", names, err)
		}
	}
}

// A dead store's replica is replaced. When the store comes back, its replica learns that it is gone, from the others or
// from the placement driver, and its data goes.
func TestReplaceDeadStore(t *testing.T) {
	c := three(t, raftstoretest.Options{Stores: 4})
	ws := writers(2, 500)
	stop := c.Load(ws...)
	defer stop()
	for _, told := range []bool{false, true} {
		waitWrites(c, 10, ws...)
		_, d := c.WaitLeader(userRange)
		dead := proto.StoreID(d.Replicas[0].StoreId)
		c.Crash(dead)
		var rest []proto.StoreID
		for _, n := range c.Nodes() {
			if n.ID != dead {
				rest = append(rest, n.ID)
			}
		}
		c.Place(userRange, rest...)
		waitWrites(c, 10, ws...)
		n := c.Node(dead)
		if told {
			c.Net.Isolate(dead, true)
		}
		n.Start()
		if told {
			c.Wait("the replica is an orphan", func() bool {
				_, orphans, _, err := n.Store().Led(context.Background(), 10)
				return err == nil && len(orphans) > 0
			})
			n.Store().Gone(userRange, proto.ReplicaID(d.Replicas[0].ReplicaId))
		}
		c.Wait("its data is gone", func() bool {
			_, there := n.Store().Status(userRange)
			return !there && n.CheckDisk() == nil
		})
		c.Net.Isolate(dead, false)
	}
	stop()
	c.CheckAcked(ws...)
	c.CheckReplicas()
}

// A leader takes itself out of the range.
func TestLeaderLeaves(t *testing.T) {
	c := three(t, raftstoretest.Options{Stores: 4})
	ws := writers(2, 100)
	stop := c.Load(ws...)
	defer stop()
	stores := []proto.StoreID{1, 2, 3, 4}
	for range 3 {
		id := c.LeaderStore(userRange)
		var rest []proto.StoreID
		for _, s := range stores {
			if s != id {
				rest = append(rest, s)
			}
		}
		c.Place(userRange, rest...)
		waitWrites(c, 5, ws...)
	}
	stop()
	c.CheckAcked(ws...)
	c.CheckReplicas()
	for _, n := range c.Nodes() {
		c.WaitNil("data of removed replicas is gone", func() error { return raftstoretest.CheckDisk(n.Engine(), ws...) })
	}
}

// A third of all messages is lost: no acknowledged write is.
func TestLossyNetwork(t *testing.T) {
	c := three(t, raftstoretest.Options{})
	rng := rand.New(rand.NewPCG(5, 6))
	c.Net.Filter(func(*internalpb.RaftMessage) bool { return rng.IntN(3) > 0 }) // under the network's lock
	ws := writers(3, 100)
	stop := c.Load(ws...)
	defer stop()
	waitWrites(c, 20, ws...)
	c.Net.Filter(nil)
	waitWrites(c, 5, ws...)
	stop()
	c.CheckAcked(ws...)
	c.CheckReplicas()
}
