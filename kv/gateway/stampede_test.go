package gateway

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// slowRanges answers late, so that requests overlap.
type slowRanges struct {
	fakeRanges
	leader proto.StoreID // the only store that executes; others are down
}

func (f *slowRanges) Lookup(ctx context.Context, key []byte, limit int) (
	[]*internalpb.RangeLocation, error) {
	time.Sleep(50 * time.Millisecond)
	return f.fakeRanges.Lookup(ctx, key, limit)
}

func (f *slowRanges) Execute(_ context.Context, s proto.StoreID, _ *internalpb.ExecuteRequest) (
	*internalpb.ExecuteResponse, error) {
	time.Sleep(time.Millisecond)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, s)
	if s != f.leader {
		return nil, status.Error(codes.Unavailable, "connection refused")
	}
	return &internalpb.ExecuteResponse{}, nil
}

// When the leader of a range was lost, each request that needed its route asked the placement driver, again and again:
// a driver on a busy machine, just elected, was asked so much that it answered nobody.
func TestLostLeaderIsLookedUpOnceForAllRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const requests = 300
		f := &slowRanges{leader: 3}
		f.ranges = []*internalpb.RangeLocation{located(1, "a", "", 1, 1)} // the driver still believes in store 1
		r := testRouter(&f.fakeRanges)
		r.cfg.Ranges = f
		var all sync.WaitGroup
		for range requests {
			all.Go(func() {
				if _, err := r.Send(t.Context(), mvcc.Route{Key: []byte("k")}, put()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if f.lookups > 2 {
			t.Errorf("%d lookups", f.lookups)
		}
		if len(f.asked) > 3*requests {
			t.Errorf("%d attempts at %d requests, on three stores", len(f.asked), requests)
		}
	})
}

// A request that gives up while it looks a route up for others leaves the lookup to one of them.
func TestLookupOutlivesTheRequestThatBeganIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &gaveUp{first: true}
		f.leader, f.ranges = 1, []*internalpb.RangeLocation{located(1, "a", "", 1, 1)}
		r := testRouter(&f.fakeRanges)
		r.cfg.Ranges = f
		var all sync.WaitGroup
		short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		all.Go(func() {
			if _, err := r.Send(short, mvcc.Route{Key: []byte("k")}, put()); err == nil {
				t.Error("it was answered before the lookup was")
			}
		})
		synctest.Wait()
		all.Go(func() {
			if _, err := r.Send(t.Context(), mvcc.Route{Key: []byte("l")}, put()); err != nil {
				t.Error(err)
			}
		})
		all.Wait()
	})
}

// gaveUp is never done with its first lookup.
type gaveUp struct {
	slowRanges
	first bool
}

func (f *gaveUp) Lookup(ctx context.Context, key []byte, limit int) (
	[]*internalpb.RangeLocation, error) {
	if f.first {
		f.first = false
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return f.slowRanges.Lookup(ctx, key, limit)
}
