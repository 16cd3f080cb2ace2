package raftstore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/raftstore/raftstoretest"
	"github.com/vipkv/vipkv/raftstore/replica"
)

const userRange = proto.FirstUserRange

// three is a cluster whose user range lies on stores 1, 2 and 3.
func three(t testing.TB, o raftstoretest.Options) *raftstoretest.Cluster {
	t.Helper()
	if o.Stores == 0 {
		o.Stores = 3
	}
	c := raftstoretest.New(t, o)
	c.WaitLeader(proto.SystemRange)
	c.Place(userRange, 1, 2, 3)
	return c
}

func writers(n int, size int) (ws []*raftstoretest.Writer) {
	for i := range n {
		ws = append(ws, &raftstoretest.Writer{Name: fmt.Sprintf("w%d", i), Keys: 16, Size: size})
	}
	return ws
}

// waitWrites waits until every writer had so many more writes acknowledged.
func waitWrites(c *raftstoretest.Cluster, n uint64, ws ...*raftstoretest.Writer) {
	c.T.Helper()
	for _, w := range ws {
		goal := w.Acked() + n
		c.Wait(fmt.Sprintf("writer %s is at %d", w.Name, goal), func() bool { return w.Acked() >= goal })
	}
}

func engines(t *testing.T, f func(*testing.T, raftstoretest.Options)) {
	t.Run("pebble", func(t *testing.T) { f(t, raftstoretest.Options{}) })
	t.Run("memory", func(t *testing.T) { f(t, raftstoretest.Options{Mem: true}) })
}

// What is written on three stores is read back, and all three hold the same.
func TestWriteAndRead(t *testing.T) {
	engines(t, func(t *testing.T, o raftstoretest.Options) {
		c := three(t, o)
		for i := range 50 {
			c.MustPut(raftstoretest.Key(fmt.Sprint(i)), fmt.Appendf(nil, "value %d", i))
		}
		for i := range 50 {
			if v, found := c.MustGet(raftstoretest.Key(fmt.Sprint(i))); !found || string(v) != fmt.Sprintf("value %d", i) {
				t.Fatalf("key %d: %q, %v", i, v, found)
			}
		}
		if _, found := c.MustGet(raftstoretest.Key("absent")); found {
			t.Fatal("a key that was never written is there")
		}
		c.CheckReplicas()
	})
}

// A leader's store stops: another leads, nothing that was acknowledged is lost, and the store catches up later.
func TestLeaderStops(t *testing.T) {
	engines(t, func(t *testing.T, o raftstoretest.Options) {
		c := three(t, o)
		ws := writers(3, 64)
		stop := c.Load(ws...)
		defer stop()
		for range 3 {
			waitWrites(c, 20, ws...)
			n := c.Node(c.LeaderStore(userRange))
			if err := n.Stop(); err != nil {
				t.Fatalf("run: %v", err)
			}
			waitWrites(c, 20, ws...)
			n.Start()
		}
		stop()
		c.CheckAcked(ws...)
		c.CheckReplicas()
	})
}

// A leader that is cut off serves no read and acknowledges no write.
func TestLeaderIsCutOff(t *testing.T) {
	c := three(t, raftstoretest.Options{})
	key := raftstoretest.Key("k")
	c.MustPut(key, []byte("old"))
	id := c.LeaderStore(userRange)
	old := c.Node(id).Store()
	_, term, err := old.Begin(userRange)
	if err != nil {
		t.Fatal(err)
	}
	c.Net.Isolate(id, true)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	write := make(chan error, 1)
	go func() { write <- raftstoretest.Put(ctx, old, userRange, key, []byte("lost")) }()
	if err := old.Confirm(ctx, userRange, term); err == nil {
		t.Fatal("a leader without a quorum confirmed a read")
	} else if ctx.Err() != nil {
		t.Fatalf("a leader without a quorum never answered: %v", err)
	}
	if err := <-write; err == nil {
		t.Fatal("a leader without a quorum acknowledged a write")
	}
	c.MustPut(key, []byte("new"))
	c.Net.Isolate(id, false)
	if v, _ := c.MustGet(key); string(v) != "new" {
		t.Fatalf("read %q", v)
	}
	c.CheckReplicas()
}

// Leadership goes round by request, under load.
func TestLeadershipTransfer(t *testing.T) {
	c := three(t, raftstoretest.Options{})
	ws := writers(2, 64)
	stop := c.Load(ws...)
	defer stop()
	for i := range 6 {
		s, d := c.WaitLeader(userRange)
		to := d.Replicas[i%3]
		if err := s.TransferLeader(context.Background(), userRange, proto.ReplicaID(to.ReplicaId)); err != nil {
			t.Logf("transfer: %v", err)
			continue
		}
		c.Wait("the range is led elsewhere", func() bool { return c.LeaderStore(userRange) == proto.StoreID(to.StoreId) })
		waitWrites(c, 5, ws...)
	}
	stop()
	c.CheckAcked(ws...)
	c.CheckReplicas()
}

// A store hands over all that it leads, under load: it says that it kept nothing, and does not lead until somebody gives it
// a range again.
func TestHandOver(t *testing.T) {
	c := three(t, raftstoretest.Options{})
	ws := writers(2, 64)
	stop := c.Load(ws...)
	defer stop()
	for range 6 {
		s, _ := c.WaitLeader(userRange)
		if kept := s.HandOver(t.Context()); kept != 0 {
			t.Fatalf("it kept %d ranges", kept)
		}
		s.Statuses(func(st *replica.Status) bool {
			if st.Leads && replica.Voters(st.Descriptor) > 1 {
				t.Errorf("it leads range %d", st.Range)
			}
			return true
		})
		waitWrites(c, 5, ws...)
	}
	stop()
	c.CheckAcked(ws...)
	c.CheckReplicas()
}

// Stores that stop in the middle of everything leave no goroutine behind, and answer all who wait.
func TestStopLeavesNothing(t *testing.T) {
	before := settled(t)
	for range 3 {
		t.Run("cluster", func(t *testing.T) {
			c := three(t, raftstoretest.Options{Config: cutLog})
			ws := writers(4, 5000)
			stop := c.Load(ws...)
			waitWrites(c, 10, ws...)
			fallBehind(c, 3)
			for _, n := range c.Nodes() {
				s := n.Store()
				if err := n.Stop(); err != nil {
					t.Fatalf("store %d: %v", n.ID, err)
				}
				ctx := context.Background()
				if err := s.Confirm(ctx, userRange, 1); err == nil {
					t.Fatal("a store that has stopped confirmed a read")
				}
				if err := raftstoretest.Put(ctx, s, userRange, raftstoretest.Key("k"), nil); err == nil {
					t.Fatal("a store that has stopped acknowledged a write")
				}
			}
			stop()
		})
	}
	if after := settled(t); after > before+2 {
		t.Fatalf("%d goroutines before, %d after", before, after)
	}
}
