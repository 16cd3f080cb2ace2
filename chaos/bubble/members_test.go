package bubble_test

import (
	"crypto/rand"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/bubble"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/kv/node"
	"github.com/vipkv/vipkv/proto"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// filler makes a tenant and returns a function that writes so many bytes under keys of their own.
func (w *world) filler() func(prefix string, total int) {
	w.t.Helper()
	store, err := w.Tenant(w.t.Context(), "filler")
	must(w.t, err)
	return func(prefix string, total int) { w.fill(store, prefix, total) }
}

func (w *world) fill(store *client.Client, prefix string, total int) {
	w.t.Helper()
	value := make([]byte, 8<<10)
	_, _ = rand.Read(value) // never fails; values are compressed before they are sealed
	for i := range total / len(value) {
		_, err := store.Put(w.t.Context(), fmt.Appendf(nil, "%s/%06d", prefix, i), value, client.PutOptions{})
		must(w.t, err)
	}
}

// split makes up to n ranges of the keys that the load has used.
func (w *world) split(n int) {
	w.t.Helper()
	ctx := w.t.Context()
	admin, err := w.Admin(ctx)
	must(w.t, err)
	tenant, err := admin.GetTenant(ctx, "load")
	must(w.t, err)
	var used []string
	for _, o := range w.load.Ops() {
		used = append(used, o.Key)
	}
	slices.Sort(used)
	used = slices.Compact(used)
	for i := 1; i < n; i++ {
		key := used[i*len(used)/n]
		_, err := admin.SplitRange(ctx, mvcc.PlainKey(proto.TenantID(tenant.Id), []byte(key)))
		must(w.t, err)
	}
}

// placed waits until every range has exactly the replicas that it wants, on the given stores.
func (w *world) placed(stores ...uint64) {
	w.t.Helper()
	for range 3000 {
		ranges, err := w.Ranges(w.t.Context())
		must(w.t, err)
		bad := slices.ContainsFunc(ranges, func(r *vipkvpb.RangeInfo) bool {
			var have []uint64
			for _, rep := range r.Replicas {
				have = append(have, rep.StoreId)
			}
			slices.Sort(have)
			return !slices.Equal(have, stores)
		})
		if !bad {
			return
		}
		w.sleep(100 * time.Millisecond)
	}
	w.t.Fatal("the ranges are not on the stores that are left")
}

// Ranges split while they are written to and while the nodes that lead them lose power.
func TestSplitUnderLoad(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := options(t)
		o.Tune = func(n *node.Tunables) { n.SplitBytes = 64 << 10 }
		w := newWorld(t, 3, o)
		fill := w.filler()
		fill("a", 512<<10)
		w.sleep(time.Second)
		n := w.leader()
		w.PowerLoss(n) // in the middle of it
		fill("b", 256<<10)
		w.mend()
		n = w.leader()
		fill("c", 128<<10)
		w.PowerLoss(n)
		w.sleep(time.Second)
		w.mend()
		w.during("splits go on", 100, func() { w.sleep(15 * time.Second) })
		ranges, err := w.Ranges(t.Context())
		must(t, err)
		t.Logf("%d ranges", len(ranges))
		if len(ranges) < 6 {
			t.Errorf("only %d ranges", len(ranges))
		}
		w.finish(200)
	})
}

// A third node joins two that hold data, and gets all of it by range snapshots, while it is written to.
func TestLateJoin(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := options(t)
		o.Tune = func(n *node.Tunables) { n.SplitBytes = 256 << 10 }
		o.Endpoints = 3
		w := &world{t: t, live: 3}
		var err error
		w.Cluster, err = bubble.New(t.Context(), 1, o)
		must(t, err)
		w.startLoad()
		w.filler()("a", 1<<20)
		w.during("two nodes join", 20, func() {
			for range 2 {
				_, err = w.Add()
				must(t, err)
			}
			must(t, w.WaitHealthy(t.Context(), 3))
		})
		w.placed(1, 2, 3)
		w.PowerLoss(1) // the only one that had it all
		w.during("the first node is gone", 20, func() { w.sleep(8 * time.Second) })
		w.mend()
		w.sleep(3 * time.Second)
		w.finish(80)
	})
}

// A node is lost for good. After a while its replicas are made anew elsewhere, without a command; when it comes back
// nevertheless, with its old disk, it gives up what it had.
func TestReplace(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := options(t)
		o.Tune = func(n *node.Tunables) { n.LostAfter = 30 * time.Second }
		w := newWorld(t, 3, o)
		w.filler()("a", 256<<10)
		w.sleep(2 * time.Second)
		w.PowerLoss(3)
		_, err := w.Add()
		must(t, err)
		w.during("a node is lost and replaced", 200, func() {
			w.sleep(30 * time.Second)
			w.placed(1, 2, 4)
		})
		w.PowerLoss(1) // what is on the new node counts
		w.during("another one is away", 20, func() { w.sleep(8 * time.Second) })
		must(t, w.Start(1))
		must(t, w.Start(3))
		w.live = 4
		w.mend()
		w.sleep(20 * time.Second)
		w.finish(300)
	})
}
