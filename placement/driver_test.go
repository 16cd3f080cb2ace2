package placement

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

func TestCluster(t *testing.T) {
	c := newCluster(t)
	c.second(1)
	if got := c.voters(1) + ", " + c.voters(2); got != "1, 1" {
		t.Fatalf("one node: %s", got)
	}
	for n := 2; n <= 3; n++ {
		if id := c.join(n); id != uint64(n) {
			t.Fatalf("node %d got id %d", n, id)
		}
	}
	for range 10 {
		c.second(1, 2, 3)
	}
	if got := c.voters(1) + ", " + c.voters(2); got != "1 2 3, 1 2 3" {
		t.Fatalf("three nodes: %s", got)
	}
	c.kill(1)
	for range 6 {
		c.second(2, 3) // until it is known: before, its replicas may be moved for balance
	}
	c.join(4)
	for range 49 {
		c.second(2, 3, 4)
	}
	if got := c.voters(1); got != "1 2 3" {
		t.Fatalf("a store was replaced within its grace: %s", got)
	}
	view, err := c.driver.ClusterView(t.Context(), nil)
	if err != nil || !strings.Contains(strings.Join(view.Problems, "\n"), "node 1 (n1:7001) is unreachable") {
		t.Fatalf("problems %q, %v", view.GetProblems(), err)
	}

	// A new driver gives it a full grace again, routes at once, and never hands out an id twice.
	before, err := c.driver.AllocateIDs(t.Context(), &internalpb.AllocateIdsRequest{Count: 10})
	if err != nil {
		t.Fatal(err)
	}
	c.driver = active(t, c.state, c.clock, 2)
	loc, err := c.driver.Lookup(t.Context(), &internalpb.LookupRequest{})
	if err != nil || !slices.Equal(rangeIDs(loc.Ranges), []proto.RangeID{1, 2}) || loc.Ranges[0].LeaderStore != 0 {
		t.Fatalf("lookup right after activation: %v, %v", loc, err)
	}
	if len(loc.Ranges[0].Desc.Replicas) != 3 || len(loc.Nodes) != 4 {
		t.Fatalf("records are behind: %v", loc)
	}
	after, err := c.driver.AllocateIDs(t.Context(), &internalpb.AllocateIdsRequest{Count: 1})
	if err != nil || after.First < before.First+10 {
		t.Fatalf("ids %v then %v, %v", before, after, err)
	}
	for range 55 {
		c.second(2, 3, 4)
	}
	if got := c.voters(1); got != "1 2 3" {
		t.Fatalf("a new driver replaced a store within its grace: %s", got)
	}
	for range 15 {
		c.second(2, 3, 4)
	}
	if got := c.voters(1) + ", " + c.voters(2); got != "2 3 4, 2 3 4" {
		t.Fatalf("after the grace: %s", got)
	}
	view, err = c.driver.ClusterView(t.Context(), nil)
	if err != nil || len(view.Problems) != 1 || view.Stores[0].State != "lost" {
		t.Fatalf("problems %q, %v", view.GetProblems(), err)
	}
	if n := len(view.Ranges); n != 2 || view.Ranges[0].Note != "" {
		t.Fatalf("ranges %v", view.Ranges)
	}
}

// A store whose disk is behind others leads nothing as long as it says so, and the problems name it.
func TestSlowDiskLeadsNothing(t *testing.T) {
	c := newCluster(t)
	for n := 2; n <= 3; n++ {
		c.join(n)
	}
	for range 20 {
		c.second(1, 2, 3)
	}
	slow := c.leader[2]
	c.slow[slow] = true
	for range 3 {
		c.second(1, 2, 3)
	}
	for range 30 {
		for id, leader := range c.leader {
			if leader == slow {
				t.Fatalf("store %d leads range %d", slow, id)
			}
		}
		c.second(1, 2, 3)
	}
	view, err := c.driver.ClusterView(t.Context(), nil)
	if err != nil || len(view.Problems) != 1 || !strings.Contains(view.Problems[0], "writes to its disk hung") {
		t.Fatalf("problems %q, %v", view.GetProblems(), err)
	}
	c.slow[slow] = false
	for range 60 {
		c.second(1, 2, 3)
	}
	if view, err = c.driver.ClusterView(t.Context(), nil); err != nil || len(view.Problems) != 0 {
		t.Fatalf("problems %q, %v", view.GetProblems(), err)
	}
}

func TestDeclaredLostIsReplacedAtOnceAndStaysOut(t *testing.T) {
	c := newCluster(t)
	for n := 2; n <= 4; n++ {
		c.join(n)
	}
	for range 15 {
		c.second(1, 2, 3, 4)
	}
	c.kill(2)
	if err := c.driver.DeclareLost(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		c.second(1, 3, 4)
	}
	if got := c.voters(1) + ", " + c.voters(2); got != "1 3 4, 1 3 4" {
		t.Fatalf("not replaced: %s", got)
	}
	c.driver = active(t, c.state, c.clock, 2)
	var invalid *rpcerr.InvalidArgumentError
	_, err := c.driver.Heartbeat(t.Context(), &internalpb.HeartbeatRequest{
		Store: &internalpb.StoreInfo{StoreId: 2, NodeId: 2, BootEpoch: 9},
	})
	if !errors.As(err, &invalid) {
		t.Fatalf("heartbeat of a lost store: %v", err)
	}
	back := address(2)
	back.NodeId = 2
	if _, err := c.driver.Join(t.Context(), &internalpb.JoinRequest{Node: back}); !errors.As(err, &invalid) {
		t.Fatalf("join of a lost node: %v", err)
	}
	if id := c.join(2); id != 5 {
		t.Fatalf("the node joined anew as %d", id)
	}
}

func TestJoinTwiceAndAddressInUse(t *testing.T) {
	c := newCluster(t)
	if id := c.join(7); id != 2 {
		t.Fatalf("got %d", id)
	}
	if id := c.join(7); id != 3 { // the first answer was lost
		t.Fatalf("the retry got %d", id)
	}
	if _, ok := c.state.data[string(nodeKey(2))]; ok {
		t.Fatal("the record of the lost answer stays for ever")
	}
	c.second(1, 3)
	var invalid *rpcerr.InvalidArgumentError
	_, err := c.driver.Join(t.Context(), &internalpb.JoinRequest{Node: address(3)})
	if !errors.As(err, &invalid) {
		t.Fatalf("joined under the address of a live node: %v", err)
	}
	c.state.set(errors.New("no quorum"), nil)
	if _, err := c.driver.Join(t.Context(), &internalpb.JoinRequest{Node: address(9)}); err == nil {
		t.Fatal("answered an id that was not saved")
	}
	c.state.set(nil, nil)
	if id := c.join(9); id != 4 {
		t.Fatalf("got %d", id)
	}
}

func TestReports(t *testing.T) {
	clock := &fakeClock{ms: 1000}
	d := active(t, bootstrapped(t), clock, 1)
	for n := 2; n <= 3; n++ {
		if _, err := d.Join(t.Context(), &internalpb.JoinRequest{Node: address(n)}); err != nil {
			t.Fatal(err)
		}
	}
	seq := uint64(0)
	report := func(store, term uint64, descs ...*internalpb.Descriptor) *internalpb.HeartbeatResponse {
		seq++
		req := &internalpb.HeartbeatRequest{
			Store: &internalpb.StoreInfo{StoreId: store, NodeId: store, BootEpoch: 1}, Sequence: seq,
		}
		for _, desc := range descs {
			req.Led = append(req.Led, &internalpb.RangeHeartbeat{Desc: desc, Term: term})
		}
		req.Orphans = []*internalpb.OrphanReplica{
			{RangeId: 2, ReplicaId: 1}, {RangeId: 2, ReplicaId: 2}, {RangeId: 2, ReplicaId: 9}, {RangeId: 77, ReplicaId: 1},
		}
		resp, err := d.Heartbeat(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	expect := func(what, start, want string) {
		t.Helper()
		resp, err := d.Lookup(t.Context(), &internalpb.LookupRequest{Start: []byte(start)})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range resp.Ranges {
			got = append(got, fmt.Sprintf("%d[%s,%s)v%d.c%d@%d", l.Desc.RangeId, l.Desc.Start, l.Desc.End,
				l.Desc.Epoch.Version, l.Desc.Epoch.Conf, l.LeaderStore))
		}
		if g := strings.Join(got, " "); g != want {
			t.Fatalf("%s:\n got %s\nwant %s", what, g, want)
		}
	}
	report(1, 5, desc(2, 1, 3, "a", "", 1, 3))
	expect("first report", "b", "2[a,)v1.c3@1")
	report(2, 4, desc(2, 1, 4, "a", "", 1))
	expect("an older term", "b", "2[a,)v1.c3@1")
	report(2, 6, desc(2, 1, 2, "a", "", 1))
	expect("an older epoch", "b", "2[a,)v1.c3@1")
	resp := report(2, 6, desc(2, 1, 3, "a", "", 1, 3))
	expect("a new leader", "b", "2[a,)v1.c3@2")
	if len(resp.Gone) != 1 || resp.Gone[0].ReplicaId != 2 {
		t.Fatalf("gone: %v, want replica 2 only", resp.Gone)
	}
	report(1, 5, desc(2, 1, 3, "a", "", 1, 3))
	expect("the old leader again", "b", "2[a,)v1.c3@2")

	report(3, 6, desc(9, 2, 3, "m", "", 1, 3))
	expect("the right side of a split first: the old range stands in", "b", "2[a,)v1.c3@0 9[m,)v2.c3@3")
	report(2, 6, desc(2, 1, 3, "a", "", 1, 3))
	expect("an old report of the left side", "b", "2[a,)v1.c3@0 9[m,)v2.c3@3")
	report(2, 6, desc(2, 2, 3, "a", "m", 1, 3))
	expect("the left side", "b", "2[a,m)v2.c3@2 9[m,)v2.c3@3")
	expect("from the right", "x", "9[m,)v2.c3@3")
	report(2, 6)
	expect("not led any more", "b", "2[a,m)v2.c3@0 9[m,)v2.c3@3")

	if err := d.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	d = active(t, d.state.(*memState), clock, 2)
	expect("after a failover", "b", "2[a,m)v2.c3@0 9[m,)v2.c3@0")
}

func TestOvertakenHeartbeatIsIgnored(t *testing.T) {
	d := active(t, bootstrapped(t), &fakeClock{ms: 1000}, 1)
	for _, h := range []struct {
		boot, sequence, term uint64
		want                 uint64
	}{{1, 5, 3, 3}, {1, 4, 9, 3}, {1, 5, 9, 3}, {2, 1, 4, 4}, {1, 6, 9, 4}, {2, 2, 5, 5}} {
		_, err := d.Heartbeat(t.Context(), &internalpb.HeartbeatRequest{
			Store:    &internalpb.StoreInfo{StoreId: 1, NodeId: 1, BootEpoch: h.boot},
			Sequence: h.sequence,
			Led:      []*internalpb.RangeHeartbeat{{Desc: BootstrapDescriptors(1)[1], Term: h.term}},
		})
		if err != nil {
			t.Fatal(err)
		}
		loc, err := d.Lookup(t.Context(), &internalpb.LookupRequest{Start: []byte("x")})
		if err != nil || loc.Ranges[0].Term != h.want {
			t.Fatalf("boot %d sequence %d: %v, %v", h.boot, h.sequence, loc, err)
		}
	}
}

func TestNotActive(t *testing.T) {
	s, clock := bootstrapped(t), &fakeClock{ms: 1000}
	d := newDriver(t, s, clock)
	check := func(when string) {
		t.Helper()
		_, joinErr := d.Join(t.Context(), &internalpb.JoinRequest{Node: address(2)})
		_, beatErr := d.Heartbeat(t.Context(), &internalpb.HeartbeatRequest{})
		_, lookErr := d.Lookup(t.Context(), &internalpb.LookupRequest{})
		_, idsErr := d.AllocateIDs(t.Context(), &internalpb.AllocateIdsRequest{Count: 1})
		_, viewErr := d.ClusterView(t.Context(), nil)
		for i, err := range []error{joinErr, beatErr, lookErr, idsErr, viewErr, d.DeclareLost(t.Context(), 1)} {
			var notLeader *rpcerr.NotLeaderError
			if !errors.As(err, &notLeader) {
				t.Errorf("%s: call %d: %v", when, i, err)
			}
		}
	}
	check("before")
	if err := d.Activate(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	d.Deactivate(2)
	if term, ok := d.Active(); !ok || term != 3 {
		t.Fatal("a stale deactivation ended a newer activation")
	}
	d.Deactivate(3)
	check("after")
	if err := d.Activate(t.Context(), 2); !errors.Is(err, ErrSuperseded) {
		t.Fatalf("activated in a term that is over: %v", err)
	}
	if err := d.Activate(t.Context(), 3); err != nil { // the node never stopped leading
		t.Fatal(err)
	}
}

// duringLoad calls f in every Load.
type duringLoad struct {
	*memState
	f func()
}

func (s duringLoad) Load(ctx context.Context, term uint64, prefix string) ([]KV, error) {
	s.f()
	return s.memState.Load(ctx, term, prefix)
}

func TestDeactivatedWhileItLoads(t *testing.T) {
	s, d := &duringLoad{memState: bootstrapped(t)}, (*Driver)(nil)
	s.f = func() { d.Deactivate(3) }
	d = newDriver(t, s, &fakeClock{ms: 1000})
	if err := d.Activate(t.Context(), 3); !errors.Is(err, ErrSuperseded) {
		t.Fatalf("activated after it was deactivated: %v", err)
	}
	if _, ok := d.Active(); ok {
		t.Fatal("active")
	}
}

func TestAnOldDriverCanNotSave(t *testing.T) {
	s, clock := bootstrapped(t), &fakeClock{ms: 1000}
	old := active(t, s, clock, 1)
	active(t, s, clock, 2)
	if _, err := old.Join(t.Context(), &internalpb.JoinRequest{Node: address(2)}); !errors.Is(err, errFenced) {
		t.Fatalf("join: %v", err)
	}
	if _, err := old.AllocateIDs(t.Context(), &internalpb.AllocateIdsRequest{Count: 1}); !errors.Is(err, errFenced) {
		t.Fatalf("ids: %v", err)
	}
}

func TestHeartbeatsGoOnWhileASaveHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		gate := make(chan struct{})
		c.state.set(nil, gate)
		joined, allocated := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := c.driver.Join(t.Context(), &internalpb.JoinRequest{Node: address(2)})
			joined <- err
		}()
		synctest.Wait() // it has the writer's slot
		go func() {
			_, err := c.driver.AllocateIDs(t.Context(), &internalpb.AllocateIdsRequest{Count: 1})
			allocated <- err
		}()
		synctest.Wait()
		c.heartbeat(1)
		c.driver.Tick()
		if _, err := c.driver.Lookup(t.Context(), &internalpb.LookupRequest{}); err != nil {
			t.Fatal(err)
		}
		c.driver.Deactivate(1)
		close(gate)
		if err := <-joined; err != nil {
			t.Errorf("it was saved, and so is the node's: %v", err)
		}
		var notLeader *rpcerr.NotLeaderError
		if err := <-allocated; !errors.As(err, &notLeader) {
			t.Errorf("ids by a driver that is not active: %v", err)
		}
	})
}

// A descriptor that arrives while an older one is being saved is not forgotten.
func TestAReportDuringAFlushIsSavedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.ranges[2].Desc = desc(2, 1, 2, "\x00\x00\x00\x01", "", 1)
		c.heartbeat(1)
		gate := make(chan struct{})
		c.state.set(nil, gate)
		flushed := make(chan error, 1)
		go func() { flushed <- c.driver.Flush(t.Context()) }()
		synctest.Wait()
		c.ranges[2].Desc = desc(2, 1, 3, "\x00\x00\x00\x01", "", 1)
		c.heartbeat(1)
		close(gate)
		if err := <-flushed; err != nil {
			t.Fatal(err)
		}
		next := active(t, c.state, c.clock, 2)
		loc, err := next.Lookup(t.Context(), &internalpb.LookupRequest{Start: []byte("x")})
		if err != nil || loc.Ranges[0].Desc.Epoch.Conf != 3 {
			t.Fatalf("%v, %v", loc, err)
		}
	})
}

func TestIDsAreUniqueAcrossCallersAndFailovers(t *testing.T) {
	s, clock := bootstrapped(t), &fakeClock{ms: 1000}
	seen := map[uint64]bool{1: true, 2: true}
	for term := uint64(1); term <= 4; term++ {
		d := active(t, s, clock, term)
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for n := range 60 {
					count := uint32(i*n%200 + 1)
					resp, err := d.AllocateIDs(t.Context(), &internalpb.AllocateIdsRequest{Count: count})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for id := resp.First; id < resp.First+uint64(count); id++ {
						if id == 0 || seen[id] {
							t.Errorf("id %d twice", id)
						}
						seen[id] = true
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	}
}

func TestADriverThatStoodStillLosesNobody(t *testing.T) {
	c := newCluster(t)
	c.join(2)
	c.join(3)
	c.join(4)
	for range 15 {
		c.second(1, 2, 3, 4)
	}
	c.clock.add(300_000) // a suspended machine
	c.driver.Tick()
	view, err := c.driver.ClusterView(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range view.Stores {
		if s.State != "live" {
			t.Errorf("store %d is %s", s.Store.StoreId, s.State)
		}
	}
}

func TestRunDecidesAndSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		cfg := DefaultConfig()
		start := time.Now()
		cfg.NowMs = func() int64 { return time.Since(start).Milliseconds() }
		var err error
		if c.driver, err = New(cfg, c.state); err != nil {
			t.Fatal(err)
		}
		if err := c.driver.Activate(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.driver.Run(ctx) }()
		c.join(2)
		c.join(3)
		for range 10 {
			<-time.After(time.Second)
			for store := uint64(1); store <= 3; store++ {
				for _, step := range c.heartbeat(store).Steps {
					c.execute(step)
				}
			}
		}
		<-time.After(time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		next := active(t, c.state, c.clock, 3)
		loc, err := next.Lookup(t.Context(), &internalpb.LookupRequest{})
		if err != nil || len(loc.Ranges) != 2 || len(loc.Ranges[0].Desc.Replicas) != 3 {
			t.Fatalf("saved: %v, %v", loc, err)
		}
	})
}
