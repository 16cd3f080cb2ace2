package raftstore_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/raftstoretest"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// ranges are the descriptors of all ranges that have a leader, by start key.
func ranges(c *raftstoretest.Cluster) (ds []*internalpb.Descriptor) {
	seen := map[proto.RangeID]*internalpb.Descriptor{}
	for _, n := range c.Nodes() {
		n.Store().Statuses(func(st *replica.Status) bool {
			if old := seen[st.Range]; st.Descriptor != nil && (old == nil || old.Epoch.Version < st.Descriptor.Epoch.Version) {
				seen[st.Range] = st.Descriptor
			}
			return true
		})
	}
	for _, d := range seen {
		ds = append(ds, d)
	}
	slices.SortFunc(ds, func(a, b *internalpb.Descriptor) int { return slices.Compare(a.Start, b.Start) })
	return ds
}

// The first leaders of right-hand sides are spread over all voters. That they do stand for election is a story.
func TestCampaignersAreSpread(t *testing.T) {
	c := three(t, raftstoretest.Options{})
	c.Wait("each voter is somebody's first leader", func() bool {
		s, d := c.WaitLeader(userRange)
		chosen := map[proto.ReplicaID]bool{}
		for right := range proto.RangeID(len(d.Replicas)) {
			chosen[s.Campaigner(t.Context(), d, right)] = true
		}
		return len(chosen) == len(d.Replicas) && !chosen[0]
	})
}

// Under load ranges split as they grow: none is lost, spans stay gapless.
func TestSplitBySize(t *testing.T) {
	c := three(t, raftstoretest.Options{Config: func(cfg *raftstore.Config) { cfg.SplitBytes = 64 << 10 }})
	var ws []*raftstoretest.Writer
	for i := range 3 {
		ws = append(ws, &raftstoretest.Writer{Name: fmt.Sprintf("w%d", i), Keys: 1 << 14, Size: 1000})
	}
	stop := c.Load(ws...)
	defer stop()
	c.Wait("there are 10 ranges", func() bool { return len(ranges(c)) >= 10 })
	stop()
	c.Wait("splits have come to an end", func() bool {
		ds := ranges(c)
		large := false
		for _, d := range ds {
			_, st := c.Leader(func(st *replica.Status) bool { return st.Range == proto.RangeID(d.RangeId) })
			large = large || st == nil || st.Bytes > 64<<10
		}
		return !large
	})
	c.CheckReplicas()
	ds := ranges(c)
	for i, d := range ds {
		if i > 0 && string(ds[i-1].End) != string(d.Start) {
			t.Fatalf("a gap between %v and %v", ds[i-1], d)
		}
	}
	for _, n := range c.Nodes() {
		if err := n.CheckDisk(ws...); err != nil {
			t.Errorf("store %d: %v", n.ID, err)
		}
	}
	for _, w := range ws {
		for number := uint64(1); number <= w.Acked(); number++ {
			if _, found := c.MustGet(w.Key(number)); !found && w.WasAcked(number) {
				t.Fatalf("%d of %s is lost", number, w.Name)
			}
		}
	}
}

// A command that was evaluated before a split is refused after it, whichever side its key lies on, and succeeds when it
// is evaluated again.
func TestSplitRefusesOldEpoch(t *testing.T) {
	c := three(t, raftstoretest.Options{})
	ctx := context.Background()
	s, d := c.WaitLeader(userRange)
	_, term, err := s.Begin(userRange)
	if err != nil {
		t.Fatal(err)
	}
	left, right, err := s.Split(ctx, userRange, raftstoretest.Key("m"))
	if err != nil {
		t.Fatal(err)
	}
	if string(left.End) != string(raftstoretest.Key("m")) || string(right.Start) != string(left.End) ||
		left.Epoch.Version != d.Epoch.Version+1 || right.Epoch.Version != d.Epoch.Version+1 {
		t.Fatalf("split into %v and %v", left, right)
	}
	for _, name := range []string{"a", "z"} {
		err := s.Propose(ctx, userRange, raftstoretest.WriteCommand(d, term, raftstoretest.Key(name), []byte("x")))
		var stale *rpcerr.StaleEpochError
		if !errors.As(err, &stale) {
			t.Fatalf("the old epoch was answered with %v", err)
		}
		c.MustPut(raftstoretest.Key(name), []byte("y"))
	}
	if _, _, err := s.Split(ctx, userRange, raftstoretest.Key("z")); err == nil {
		t.Fatal("a range was split at a key outside of it")
	}
	c.CheckReplicas()
}

// A range with one key can not be split, and is not tried again at every write.
func TestSplitWithoutKey(t *testing.T) {
	c := raftstoretest.New(t, raftstoretest.Options{Stores: 1})
	s, _ := c.WaitLeader(userRange)
	c.MustPut(raftstoretest.Key("only"), make([]byte, 1000))
	if _, _, err := s.Split(context.Background(), userRange, nil); !errors.Is(err, raftstore.ErrNoSplitKey) {
		t.Fatalf("split: %v", err)
	}
	if _, _, err := s.Split(context.Background(), proto.SystemRange, nil); err == nil {
		t.Fatal("the system range was split")
	}
}

// Splits, writes, transfers and restarts at the same time.
func TestSplitUnderFire(t *testing.T) {
	c := three(t, raftstoretest.Options{})
	ws := writers(4, 200)
	stop := c.Load(ws...)
	defer stop()
	for i := range 8 {
		waitWrites(c, 3, ws...)
		key := raftstoretest.Key(fmt.Sprintf("w%d-%03d", i%4, 4+i))
		c.WaitNil(fmt.Sprintf("split at %s", key), func() error {
			s, st := c.Leader(func(st *replica.Status) bool { return raftstoretest.Contains(st.Descriptor, key) })
			if s == nil || string(st.Descriptor.Start) == string(key) {
				return map[bool]error{true: raftstoretest.ErrNoLeader}[s == nil]
			}
			_, _, err := s.Split(context.Background(), st.Range, key)
			return err
		})
		if i%3 == 1 {
			n := c.Node(proto.StoreID(i%3 + 1))
			c.Crash(n.ID)
			n.Start()
		}
	}
	waitWrites(c, 10, ws...)
	stop()
	c.CheckAcked(ws...)
	c.CheckReplicas()
	for _, n := range c.Nodes() {
		if err := n.CheckDisk(ws...); err != nil {
			t.Errorf("store %d: %v", n.ID, err)
		}
	}
}

// A thousand idle ranges cost no goroutine.
func TestIdleRangesCostNoGoroutines(t *testing.T) {
	const count = 1000
	disk := engine.NewCrashableMemFS()
	e, err := engine.OpenPebble(raftstoretest.Dir, raftstoretest.EngineOptions(disk))
	if err != nil {
		t.Fatal(err)
	}
	var b storage.Batch
	start := raftstoretest.UserStart
	for i := range count {
		end := raftstoretest.Key(fmt.Sprintf("%04d", i))
		d := &internalpb.Descriptor{RangeId: uint64(i + 2), Start: start, End: end,
			Epoch: &internalpb.Epoch{Version: 1, Conf: 1}, NextReplicaId: 2,
			Replicas: []*internalpb.Replica{{StoreId: 1, ReplicaId: 1}}}
		if err := replica.Bootstrap(&b, d, 0); err != nil {
			t.Fatal(err)
		}
		start = end
	}
	one := raftstoretest.New(t, raftstoretest.Options{Stores: 1})
	one.WaitLeader(userRange)
	goroutines := settled(t)
	if err := errors.Join(e.Commit(&b, true), e.Close()); err != nil {
		t.Fatal(err)
	}
	many := raftstoretest.New(t, raftstoretest.Options{Stores: 1, Disks: []*engine.CrashableFS{disk}})
	many.Wait("all ranges have a leader", func() bool {
		led := 0
		many.Node(1).Store().Statuses(func(st *replica.Status) bool {
			if st.Leads && st.AppliedTerm == st.Term {
				led++
			}
			return true
		})
		return led == count
	})
	if more := settled(t) - 2*goroutines; more > 10 {
		t.Fatalf("%d goroutines with 2 ranges, %d more with %d", goroutines, more, count)
	}
}

// settled is the number of goroutines once it does not change any more.
func settled(t *testing.T) int {
	t.Helper()
	last, same := 0, 0
	raftstoretest.Wait(t, "goroutines settle", func() bool {
		if n := runtime.NumGoroutine(); n == last {
			same++
		} else {
			last, same = n, 0
		}
		return same > 20
	})
	return last
}
