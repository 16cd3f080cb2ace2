package gateway

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// steps answers each attempt in turn; the last answer stays.
type steps struct {
	*fakeRanges
	answers []error
	stores  []proto.StoreID
	last    *internalpb.AdminRangeRequest
}

func (s *steps) Step(_ context.Context, store proto.StoreID, req *internalpb.AdminRangeRequest) (
	*internalpb.AdminRangeResponse, error) {
	s.stores, s.last = append(s.stores, store), req
	err := s.answers[min(len(s.stores), len(s.answers))-1]
	if err != nil {
		return nil, err
	}
	d := &internalpb.Descriptor{RangeId: 2, Start: []byte("a"), End: []byte("m")}
	return &internalpb.AdminRangeResponse{Desc: d}, nil
}

func (s *steps) View(context.Context) (*internalpb.ClusterViewResponse, error) {
	d := located(2, "a", "z", 1, 1).Desc
	d.Replicas[2].Role = internalpb.ReplicaRole_LEARNER
	return &internalpb.ClusterViewResponse{Ranges: []*internalpb.RangeStatus{
		{Range: &internalpb.RangeHeartbeat{Desc: d}, LeaderStore: 1}}}, nil
}

func stepAdmin(answers ...error) (*Admin, *steps) {
	f := &fakeRanges{ranges: []*internalpb.RangeLocation{located(2, "a", "z", 1, 1)}}
	s := &steps{fakeRanges: f, answers: answers}
	return &Admin{Cluster: s, Steps: s}, s
}

func movedTo(store uint64) error {
	return &rpcerr.NotLeaderError{NotLeader: &vipkvpb.NotLeader{RangeId: 2, LeaderStore: store}}
}

// A step follows the leader, and ends with an answer that another attempt does not change.
func TestStepFollowsTheLeader(t *testing.T) {
	a, s := stepAdmin(movedTo(3), rpcerr.Throttled("busy", 0), nil)
	res, err := a.SplitRange(t.Context(), &vipkvpb.SplitRangeRequest{Key: []byte("k")})
	if err != nil || string(res.Key) != "m" || res.RangeId != 2 {
		t.Fatalf("%v %v", res, err)
	}
	if len(s.stores) != 3 || s.stores[0] != 1 || s.stores[1] != 3 || string(s.last.GetSplit().Key) != "k" {
		t.Errorf("asked %v for %v", s.stores, s.last)
	}
	refused := status.Error(codes.FailedPrecondition, "no")
	a, s = stepAdmin(refused)
	if _, err := a.SplitRange(t.Context(), &vipkvpb.SplitRangeRequest{Key: []byte("k")}); !errors.Is(err, refused) ||
		len(s.stores) != 1 {
		t.Errorf("%v after %v", err, s.stores)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*stepRetry)
	defer cancel()
	a, _ = stepAdmin(movedTo(0))
	begin := time.Now()
	if _, err := a.SplitRange(ctx, &vipkvpb.SplitRangeRequest{Key: []byte("k")}); err == nil ||
		time.Since(begin) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
	// A range that begins at the key already is what was asked for.
	a, _ = stepAdmin(nil)
	if res, err := a.SplitRange(t.Context(), &vipkvpb.SplitRangeRequest{Key: []byte("a")}); err != nil ||
		string(res.Key) != "a" || res.RangeId != 0 {
		t.Errorf("%v %v", res, err)
	}
}

// A key is not missing because the range that holds it has not reported yet: it was made a moment ago.
func TestSplitWaitsForARangeJustMade(t *testing.T) {
	a, s := stepAdmin(nil)
	whole := s.ranges
	s.ranges = []*internalpb.RangeLocation{located(3, "x", "z", 1, 1)}
	later := time.AfterFunc(2*stepRetry, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ranges = whole
	})
	defer later.Stop()
	if _, err := a.SplitRange(t.Context(), &vipkvpb.SplitRangeRequest{Key: []byte("k")}); err != nil ||
		s.last.RangeId != 2 {
		t.Errorf("%v for %v", err, s.last)
	}
}

func TestTransferLeaderChecksTheStore(t *testing.T) {
	a, s := stepAdmin(nil)
	if _, err := a.TransferLeader(t.Context(), &vipkvpb.TransferLeaderRequest{RangeId: 2, StoreId: 2}); err != nil {
		t.Fatal(err)
	}
	if s.last.GetTransfer().GetToReplica() != 2 || s.stores[0] != 1 {
		t.Errorf("asked store %v for %v", s.stores, s.last)
	}
	for _, bad := range []struct {
		rng, store uint64
		want       codes.Code
	}{{3, 1, codes.NotFound}, {2, 4, codes.FailedPrecondition}, {2, 3, codes.FailedPrecondition}} {
		_, err := a.TransferLeader(t.Context(), &vipkvpb.TransferLeaderRequest{RangeId: bad.rng, StoreId: bad.store})
		if status.Code(err) != bad.want {
			t.Errorf("range %d to store %d: %v", bad.rng, bad.store, err)
		}
	}
}
