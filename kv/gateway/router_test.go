package gateway

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// fakeRanges answers from a list of ranges and a function.
type fakeRanges struct {
	mu      sync.Mutex
	ranges  []*internalpb.RangeLocation
	lookups int
	execute func(store proto.StoreID, req *internalpb.ExecuteRequest) error
	asked   []proto.StoreID
	ids     [][]byte
}

func (f *fakeRanges) Lookup(
	_ context.Context, key []byte, limit int,
) (out []*internalpb.RangeLocation, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lookups++
	for _, r := range f.ranges {
		if len(out) < limit && (len(r.Desc.End) == 0 || bytes.Compare(key, r.Desc.End) < 0) {
			out = append(out, r)
		}
	}
	return out, nil
}

func (f *fakeRanges) Execute(
	_ context.Context, s proto.StoreID, req *internalpb.ExecuteRequest,
) (*internalpb.ExecuteResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, s)
	f.ids = append(f.ids, req.GetPut().GetRequestId().GetId())
	if err := f.execute(s, req); err != nil {
		return nil, err
	}
	return &internalpb.ExecuteResponse{}, nil
}

func (f *fakeRanges) Endpoint(proto.StoreID) string { return "" }

func located(
	id uint64, start, end string, version uint64, leader uint64,
) *internalpb.RangeLocation {
	d := &internalpb.Descriptor{RangeId: id, Start: []byte(start), End: []byte(end),
		Epoch: &internalpb.Epoch{Version: version, Conf: 1}}
	for s := uint64(1); s <= 3; s++ {
		d.Replicas = append(d.Replicas, &internalpb.Replica{StoreId: s, ReplicaId: s})
	}
	return &internalpb.RangeLocation{Desc: d, LeaderStore: leader}
}

func testRouter(f *fakeRanges) *Router {
	cfg := DefaultRouterConfig()
	cfg.Ranges, cfg.BackoffMin, cfg.BackoffMax = f, time.Microsecond, time.Microsecond
	return NewRouter(cfg)
}

func put() *internalpb.ExecuteRequest {
	return &internalpb.ExecuteRequest{Request: &internalpb.ExecuteRequest_Put{Put: &vipkvpb.PutRequest{
		RequestId: &vipkvpb.RequestId{Id: []byte("0123456789abcdef")}}}}
}

func notLeader(hint uint64) error {
	return &rpcerr.NotLeaderError{NotLeader: &vipkvpb.NotLeader{LeaderStore: hint}}
}

// A router finds the leader by hints and by asking around, remembers it, and sends the same request
// id every time.
func TestRouterFindsTheLeader(t *testing.T) {
	f := &fakeRanges{ranges: []*internalpb.RangeLocation{located(2, "", "", 1, 1)}}
	leader := proto.StoreID(3)
	f.execute = func(s proto.StoreID, _ *internalpb.ExecuteRequest) error {
		switch s {
		case leader:
			return nil
		case 1:
			return notLeader(2)
		}
		return status.Error(codes.Unavailable, "connection refused")
	}
	r := testRouter(f)
	for range 2 {
		if _, err := r.Send(t.Context(), mvcc.Route{Key: []byte("k")}, put()); err != nil {
			t.Fatal(err)
		}
	}
	if last := f.asked[len(f.asked)-2:]; last[0] != leader || last[1] != leader {
		t.Errorf("asked %v: the leader was not remembered", f.asked)
	}
	for _, id := range f.ids {
		if string(id) != "0123456789abcdef" {
			t.Errorf("an attempt had request id %q", id)
		}
	}
	leader = 2
	if _, err := r.Send(t.Context(), mvcc.Route{Key: []byte("k")}, put()); err != nil {
		t.Fatalf("after the leader moved: %v (asked %v)", err, f.asked)
	}
}

// After a split the stale location goes, and a lookup that still has the old descriptor does not
// bring it back.
func TestRouterLearnsOfSplits(t *testing.T) {
	f := &fakeRanges{ranges: []*internalpb.RangeLocation{located(2, "", "", 1, 1)}}
	f.execute = func(_ proto.StoreID, req *internalpb.ExecuteRequest) error {
		if req.EpochVersion == 1 {
			f.ranges = []*internalpb.RangeLocation{located(2, "", "m", 2, 1), located(3, "m", "", 2, 2)}
			return &rpcerr.StaleEpochError{StaleEpoch: &vipkvpb.StaleEpoch{}}
		}
		return nil
	}
	r := testRouter(f)
	if _, err := r.Send(t.Context(), mvcc.Route{Key: []byte("z")}, put()); err != nil {
		t.Fatal(err)
	}
	if loc, store := r.cached(mvcc.Route{Key: []byte("z")}); loc.desc.RangeId != 3 || store != 2 {
		t.Errorf("z is in range %d on store %d", loc.desc.RangeId, store)
	}
	r.insert(located(2, "", "", 1, 1))
	if loc, _ := r.cached(mvcc.Route{Key: []byte("z")}); loc == nil || loc.desc.RangeId != 3 {
		t.Error("an older descriptor replaced a newer one")
	}
	if loc, _, err := r.locate(t.Context(), mvcc.Route{Key: []byte("m"), Before: true}); err != nil || loc.desc.RangeId != 2 {
		t.Errorf("what is before m is in %v, %v", loc, err)
	}
}

// What may have been carried out is never called failed; what was refused is.
func TestRouterTellsUnknownFromRefused(t *testing.T) {
	for name, c := range map[string]struct {
		err       error
		ambiguous bool
		final     bool // no second attempt
	}{
		"unknown outcome":   {rpcerr.Ambiguous("leader lost"), true, false},
		"connection broken": {status.Error(codes.Unavailable, "EOF"), true, false},
		"queue full":        {rpcerr.Throttled("full", 0), false, false},
		"no leader":         {notLeader(0), false, false},
		"condition":         {&rpcerr.ConditionFailedError{ConditionFailed: &vipkvpb.ConditionFailed{}}, false, true},
		"internal":          {errors.New("a bug"), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeRanges{ranges: []*internalpb.RangeLocation{located(2, "", "", 1, 1)}}
			f.execute = func(proto.StoreID, *internalpb.ExecuteRequest) error { return c.err }
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			_, err := testRouter(f).Send(ctx, mvcc.Route{Key: []byte("k")}, put())
			var ambiguous *rpcerr.AmbiguousError
			if err == nil || errors.As(err, &ambiguous) != c.ambiguous {
				t.Errorf("got %v", err)
			}
			if c.final != (len(f.asked) == 1) {
				t.Errorf("%d attempts", len(f.asked))
			}
		})
	}
}

// A refusal after an attempt that may have been carried out is a failure only when it settles that one too.
func TestRouterDoesNotCallAFailureWhatItDoesNotKnow(t *testing.T) {
	commit := func(version uint64) *internalpb.ExecuteRequest {
		return &internalpb.ExecuteRequest{Request: &internalpb.ExecuteRequest_Commit{Commit: &vipkvpb.CommitRequest{
			Conditions: []*vipkvpb.Condition{{Key: []byte("a"), Version: version}}}}}
	}
	failed := &rpcerr.ConditionFailedError{ConditionFailed: &vipkvpb.ConditionFailed{ActualVersion: 9}}
	for name, c := range map[string]struct {
		request   *internalpb.ExecuteRequest
		then      error
		ambiguous bool
	}{
		"the range was split":       {commit(7), &rpcerr.StaleEpochError{StaleEpoch: &vipkvpb.StaleEpoch{}}, true},
		"a version is gone":         {commit(7), failed, false},
		"a key exists, for now":     {commit(0), failed, true},
		"the request id is too old": {commit(7), &rpcerr.RequestExpiredError{RequestExpired: &vipkvpb.RequestExpired{}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeRanges{ranges: []*internalpb.RangeLocation{located(2, "", "", 1, 1)}}
			f.execute = func(proto.StoreID, *internalpb.ExecuteRequest) error {
				if len(f.asked) == 1 {
					return status.Error(codes.Unavailable, "cut")
				}
				f.ranges = []*internalpb.RangeLocation{located(2, "", "m", 2, 1), located(3, "m", "", 2, 2)}
				return c.then
			}
			_, err := testRouter(f).Send(t.Context(), mvcc.Route{Key: []byte("a")}, c.request, []byte("a"), []byte("z"))
			var ambiguous *rpcerr.AmbiguousError
			if err == nil || errors.As(err, &ambiguous) != c.ambiguous {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Keys in several ranges are told before anything is sent.
func TestRouterRefusesSeveralRanges(t *testing.T) {
	f := &fakeRanges{ranges: []*internalpb.RangeLocation{located(2, "", "m", 2, 1), located(3, "m", "", 2, 2)}}
	f.execute = func(proto.StoreID, *internalpb.ExecuteRequest) error { return nil }
	r := testRouter(f)
	if _, err := r.Send(t.Context(), mvcc.Route{Key: []byte("a")}, put(), []byte("a"), []byte("z")); !errors.Is(err, errSeveralRanges) {
		t.Errorf("got %v", err)
	}
	if len(f.asked) > 0 {
		t.Error("something was sent")
	}
}
