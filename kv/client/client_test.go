package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/kv/client/clienttest"
	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

func open(t *testing.T, c *clienttest.Cluster, o client.Options) *client.Client {
	t.Helper()
	if o.Endpoints == nil {
		o.Endpoints = c.Endpoints()
	}
	if o.Credential == "" {
		o.Credential = c.Tenant("t")
	}
	cl, err := client.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	return cl
}

// oneID fails unless all calls carry one request id.
func oneID(t *testing.T, calls []clienttest.Call, atLeast int) {
	t.Helper()
	ids := make(map[string]bool)
	for _, c := range calls {
		ids[c.RequestID] = true
	}
	if len(calls) < atLeast || len(ids) != 1 || ids[""] {
		t.Fatalf("%d calls with %d ids; want at least %d calls with one", len(calls), len(ids), atLeast)
	}
}

// first is a fault that hits the first n calls of a method.
func first(method string, n int32, f clienttest.Fault) clienttest.Fault {
	var seen atomic.Int32
	return func(ctx context.Context, c clienttest.Call) error {
		if c.Method != method || seen.Add(1) > n {
			return nil
		}
		return f(ctx, c)
	}
}

func answer(err error) clienttest.Fault {
	return func(context.Context, clienttest.Call) error { return err }
}

func hang(ctx context.Context, _ clienttest.Call) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestWritesAreRetriedWithTheSameID(t *testing.T) {
	unavailable := status.Error(codes.Unavailable, "no leader")
	stale := &rpcerr.StaleEpochError{StaleEpoch: &vipkvpb.StaleEpoch{}}
	notLeader := &rpcerr.NotLeaderError{NotLeader: &vipkvpb.NotLeader{RangeId: 2}}
	for name, fault := range map[string]struct{ before, after error }{
		"not leader, no hint":          {before: notLeader},
		"stale epoch":                  {before: stale},
		"throttled":                    {before: rpcerr.Throttled("queue", 5*time.Millisecond)},
		"unavailable":                  {before: unavailable},
		"ambiguous, not executed":      {before: rpcerr.Ambiguous("leader lost")},
		"ambiguous, executed":          {after: rpcerr.Ambiguous("leader lost")},
		"unavailable, yet executed":    {after: unavailable},
		"internal error, yet executed": {after: status.Error(codes.Internal, "bug")},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := clienttest.Start(t, 3)
			cl := open(t, cluster, client.Options{})
			for i, do := range []struct {
				method string
				call   func() (dup bool, err error)
			}{
				{"Put", func() (bool, error) {
					w, err := cl.Put(t.Context(), []byte("k"), []byte("v"), client.PutOptions{IfAbsent: true})
					return w.Duplicate, err
				}},
				{"Append", func() (bool, error) {
					a, err := cl.Append(t.Context(), "s", []client.Record{{Body: []byte("x")}}, client.AppendOptions{})
					if a.LastSeq != 1 && err == nil {
						err = fmt.Errorf("last seq %d: appended twice", a.LastSeq)
					}
					return a.Duplicate, err
				}},
				{"Commit", func() (bool, error) {
					w, err := cl.Commit(t.Context(), client.Transaction{
						Conditions: []client.Condition{{Key: []byte("c")}},
						Mutations:  []client.Mutation{{Key: []byte("c"), Value: []byte("1")}},
					})
					return w.Duplicate, err
				}},
				{"Delete", func() (bool, error) {
					w, err := cl.Delete(t.Context(), []byte("k"), client.DeleteOptions{})
					return w.Duplicate, err
				}},
			} {
				cluster.Before(nil)
				cluster.After(nil)
				if fault.before != nil {
					cluster.Before(first(do.method, 2, answer(fault.before)))
				} else {
					cluster.After(first(do.method, 2, answer(fault.after)))
				}
				dup, err := do.call()
				if err != nil {
					t.Fatalf("%d %s: %v", i, do.method, err)
				}
				if dup != (fault.after != nil) {
					t.Errorf("%s: duplicate is %v", do.method, dup)
				}
				oneID(t, cluster.Calls(do.method), 3)
			}
		})
	}
}

func TestFinalErrorsAreNotRetried(t *testing.T) {
	for _, final := range []error{
		&rpcerr.ConditionFailedError{ConditionFailed: &vipkvpb.ConditionFailed{ActualVersion: 3}},
		&rpcerr.StreamConflictError{StreamConflict: &vipkvpb.StreamConflict{LastSeq: 3}},
		rpcerr.TooLarge("value", 2, 1),
		rpcerr.Integrity("tag"),
		&rpcerr.RequestExpiredError{RequestExpired: &vipkvpb.RequestExpired{}},
		&rpcerr.RequestReusedError{RequestReused: &vipkvpb.RequestReused{}},
		rpcerr.Invalid("key", "empty"),
		&rpcerr.MultiRangeError{MultiRange: &vipkvpb.MultiRange{Ranges: 2}},
		&rpcerr.BelowFloorError{BelowFloor: &vipkvpb.BelowFloor{FloorSeq: 3}},
		&rpcerr.DiskFullError{DiskFull: &vipkvpb.DiskFull{}},
		status.Error(codes.Unauthenticated, "who"),
		status.Error(codes.PermissionDenied, "no"),
	} {
		t.Run(fmt.Sprintf("%T/%s", final, status.Code(final)), func(t *testing.T) {
			cluster := clienttest.Start(t, 2)
			cl := open(t, cluster, client.Options{})
			cluster.Before(first("Put", 100, answer(final)))
			_, err := cl.Put(t.Context(), []byte("k"), nil, client.PutOptions{})
			var want rpcerr.Error
			if errors.As(final, &want) {
				var got rpcerr.Error
				if !errors.As(err, &got) || fmt.Sprintf("%T", got) != fmt.Sprintf("%T", want) {
					t.Errorf("got %v, want %v", err, final)
				}
			} else if status.Code(err) != status.Code(final) {
				t.Errorf("got %v, want %v", err, final)
			}
			if n := len(cluster.Calls("Put")); n != 1 {
				t.Errorf("sent %d times", n)
			}
		})
	}
}

// An attempt may have been executed and the next one is refused for a reason that does not tell: the outcome is
// unknown. A reason that tells is passed on.
func TestUnknownOutcomeIsNeverAPlainFailure(t *testing.T) {
	expired := &rpcerr.RequestExpiredError{RequestExpired: &vipkvpb.RequestExpired{}}
	failed := &rpcerr.ConditionFailedError{ConditionFailed: &vipkvpb.ConditionFailed{}}
	for name, c := range map[string]struct {
		then      error
		ambiguous bool
		put       client.PutOptions
	}{
		"expired":           {then: expired, ambiguous: true},
		"denied":            {then: status.Error(codes.PermissionDenied, "no"), ambiguous: true},
		"throttled for day": {then: rpcerr.Throttled("quota", 24*time.Hour), ambiguous: true},
		"disk full":         {then: &rpcerr.DiskFullError{DiskFull: &vipkvpb.DiskFull{}}, ambiguous: true},
		"version is gone":   {then: failed, put: client.PutOptions{IfVersion: 7}},
		// The key may be deleted, and the first attempt, still on its way, find what it wants.
		"key exists":   {then: failed, ambiguous: true, put: client.PutOptions{IfAbsent: true}},
		"other ranges": {then: &rpcerr.MultiRangeError{MultiRange: &vipkvpb.MultiRange{}}, ambiguous: true},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := clienttest.Start(t, 1)
			cl := open(t, cluster, client.Options{})
			var n atomic.Int32
			cluster.Before(func(_ context.Context, call clienttest.Call) error {
				if call.Method != "Put" {
					return nil
				}
				if n.Add(1) == 1 {
					return status.Error(codes.Unavailable, "cut")
				}
				return c.then
			})
			_, err := cl.Put(t.Context(), []byte("k"), nil, c.put)
			var ambiguous *rpcerr.AmbiguousError
			if err == nil || errors.As(err, &ambiguous) != c.ambiguous {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestReadsAreNeverAmbiguous(t *testing.T) {
	cluster := clienttest.Start(t, 1)
	cl := open(t, cluster, client.Options{Timeout: 200 * time.Millisecond})
	cluster.Before(first("Get", 1000, answer(status.Error(codes.Unavailable, "cut"))))
	_, err := cl.Get(t.Context(), []byte("k"))
	var ambiguous *rpcerr.AmbiguousError
	if err == nil || errors.As(err, &ambiguous) {
		t.Errorf("got %v", err)
	}
	if n := len(cluster.Calls("Get")); n < 3 {
		t.Errorf("only %d attempts", n)
	}
}

func TestNothingListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cl, err := client.Open(t.Context(), client.Options{
		Endpoints: []string{addr}, Credential: "x", Timeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	// Nothing left this process, so the write surely was not executed.
	_, err = cl.Put(t.Context(), []byte("k"), nil, client.PutOptions{})
	var ambiguous *rpcerr.AmbiguousError
	if errors.As(err, &ambiguous) || status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestCanceledWriteIsAmbiguous(t *testing.T) {
	cluster := clienttest.Start(t, 1)
	cl := open(t, cluster, client.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cluster.Before(first("Put", 100, func(c context.Context, call clienttest.Call) error {
		cancel()
		return hang(c, call)
	}))
	_, err := cl.Put(ctx, []byte("k"), nil, client.PutOptions{})
	var ambiguous *rpcerr.AmbiguousError
	if !errors.As(err, &ambiguous) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRequestsGoToTheLeader(t *testing.T) {
	cluster := clienttest.Start(t, 3)
	cl := open(t, cluster, client.Options{})
	cluster.Lead(1, false)
	for i := range 20 {
		if _, err := cl.Put(t.Context(), fmt.Appendf(nil, "k%d", i), nil, client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range cluster.Calls("Put") {
		if c.Node != 1 {
			t.Errorf("a put went to node %d", c.Node)
		}
	}
	if n := len(cluster.Calls("Locate")); n != 1 {
		t.Errorf("located %d times", n)
	}

	// The leader moves: one call meets NotLeader, whose hint is followed and kept.
	cluster.Lead(2, false)
	before := len(cluster.Calls("Put"))
	for range 5 {
		if _, err := cl.Put(t.Context(), []byte("x"), nil, client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var nodes []int
	for _, c := range cluster.Calls("Put")[before:] {
		nodes = append(nodes, c.Node)
	}
	if !slices.Equal(nodes, []int{1, 2, 2, 2, 2, 2}) {
		t.Errorf("puts went to nodes %v", nodes)
	}
}

func TestStaleEpochBringsTheNewRoutes(t *testing.T) {
	cluster := clienttest.Start(t, 2)
	cl := open(t, cluster, client.Options{})
	if _, err := cl.Get(t.Context(), []byte("a")); !errors.Is(err, client.ErrNotFound) {
		t.Fatal(err)
	}
	ends := cluster.Endpoints()
	cluster.Before(first("Get", 1, answer(&rpcerr.StaleEpochError{StaleEpoch: &vipkvpb.StaleEpoch{
		Ranges: []*vipkvpb.RangeRoute{
			{RangeId: 2, EpochVersion: 2, End: []byte("km"), LeaderEndpoint: ends[0]},
			{RangeId: 3, EpochVersion: 2, Start: []byte("km"), LeaderEndpoint: ends[1]},
		}}})))
	for key, node := range map[string]int{"x": 1, "a": 0, "m": 1, "lz": 0} {
		_, err := cl.Get(t.Context(), []byte(key))
		if !errors.Is(err, client.ErrNotFound) {
			t.Fatal(err)
		}
		calls := cluster.Calls("Get")
		if last := calls[len(calls)-1]; last.Node != node {
			t.Errorf("%q was read from node %d, want %d", key, last.Node, node)
		}
	}
	if n := len(cluster.Calls("Locate")); n != 1 {
		t.Errorf("located %d times", n)
	}
}

func TestHungLeaderCostsOneAttempt(t *testing.T) {
	cluster := clienttest.Start(t, 3)
	cl := open(t, cluster, client.Options{AttemptTimeout: 100 * time.Millisecond})
	cluster.Before(func(ctx context.Context, c clienttest.Call) error {
		if c.Node == 0 {
			return hang(ctx, c)
		}
		return nil
	})
	for range 10 {
		if _, err := cl.Put(t.Context(), []byte("k"), nil, client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	oneIDPerPut := make(map[string]int)
	hung := 0
	for _, c := range cluster.Calls("Put") {
		oneIDPerPut[c.RequestID]++
		if c.Node == 0 {
			hung++
		}
	}
	if len(oneIDPerPut) != 10 {
		t.Errorf("%d ids for 10 puts", len(oneIDPerPut))
	}
	if hung > 3 {
		t.Errorf("%d of 10 puts went to the node that hangs", hung)
	}
}

func TestStoppedAndStartedNode(t *testing.T) {
	cluster := clienttest.Start(t, 3)
	cl := open(t, cluster, client.Options{})
	put := func() {
		t.Helper()
		if _, err := cl.Put(t.Context(), []byte("k"), nil, client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put()
	cluster.StopNode(0)
	cluster.Lead(1, true)
	put()
	cluster.StopNode(1)
	cluster.StopNode(2)
	done := make(chan error, 1)
	go func() {
		_, err := cl.Put(t.Context(), []byte("k"), nil, client.PutOptions{})
		done <- err
	}()
	cluster.StartNode(0)
	cluster.Lead(0, false)
	if err := <-done; err != nil {
		t.Errorf("the put did not find the node that came back: %v", err)
	}
}

// A slow operation, not a hung node: every attempt takes longer than the first attempts' time.
func TestAttemptTimeGrows(t *testing.T) {
	cluster := clienttest.Start(t, 2)
	cl := open(t, cluster, client.Options{AttemptTimeout: 20 * time.Millisecond})
	cluster.Before(first("Put", 100, func(ctx context.Context, _ clienttest.Call) error {
		select {
		case <-time.After(100 * time.Millisecond):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}))
	if _, err := cl.Put(t.Context(), []byte("k"), nil, client.PutOptions{}); err != nil {
		t.Error(err)
	}
}

func TestPlaintextOffLoopbackIsRefused(t *testing.T) {
	for _, addr := range []string{"192.0.2.1:1", "example.com:1", "nothing"} {
		_, err := client.Open(t.Context(), client.Options{Endpoints: []string{addr}})
		var invalid *rpcerr.InvalidArgumentError
		if !errors.As(err, &invalid) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	// A server's hint off loopback is not followed either.
	cluster := clienttest.Start(t, 1)
	cl := open(t, cluster, client.Options{})
	cluster.Before(first("Get", 1, answer(&rpcerr.NotLeaderError{NotLeader: &vipkvpb.NotLeader{
		RangeId: 2, LeaderEndpoint: "192.0.2.1:1"}})))
	if _, err := cl.Get(t.Context(), []byte("k")); !errors.Is(err, client.ErrNotFound) {
		t.Error(err)
	}
	for _, e := range []string{"localhost:1", "[::1]:1", "127.9.9.9:1"} {
		c, err := client.Open(t.Context(), client.Options{Endpoints: []string{e}})
		if err != nil {
			t.Errorf("%s: %v", e, err)
			continue
		}
		c.Close()
	}
}

func TestScanPages(t *testing.T) {
	cluster := clienttest.Start(t, 1)
	cl := open(t, cluster, client.Options{})
	for i := range 10 {
		if _, err := cl.Put(t.Context(), fmt.Appendf(nil, "a%d", i), nil, client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		o    client.ScanOptions
		want string
	}{
		{client.ScanOptions{PageItems: 3}, "a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 "},
		{client.ScanOptions{PageItems: 3, Reverse: true, Limit: 4}, "a9 a8 a7 a6 "},
		{client.ScanOptions{Start: []byte("a3"), End: client.PrefixEnd([]byte("a5")), PageItems: 1}, "a3 a4 a5 "},
		{client.ScanOptions{PageItems: 2, Limit: 4}, "a0 a1 a2 a3 "},
	} {
		got := ""
		for item, err := range cl.Scan(t.Context(), c.o) {
			if err != nil {
				t.Fatal(err)
			}
			got += string(item.Key) + " "
		}
		if got != c.want {
			t.Errorf("%+v: got %s", c.o, got)
		}
	}
}

func TestLatestIsOldestFirst(t *testing.T) {
	cluster := clienttest.Start(t, 1)
	cl := open(t, cluster, client.Options{})
	for i := range 2500 {
		_, err := cl.Append(t.Context(), "s", []client.Record{{Body: fmt.Append(nil, i)}}, client.AppendOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{1, 50, 2200, 9000} {
		got, err := cl.Latest(t.Context(), "s", n)
		if err != nil {
			t.Fatal(err)
		}
		want := min(n, 2500)
		if len(got) != want || got[0].Seq != uint64(2500-want+1) || got[want-1].Seq != 2500 {
			t.Errorf("latest %d: %d records", n, len(got))
		}
	}
}
