package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/proto/wait"
)

// placementAttempt bounds one attempt to reach the placement driver.
const placementAttempt = time.Second

// placementClient calls the placement driver, wherever it is: it goes where the last answer came
// from, follows hints, and otherwise asks one node after the other.
type placementClient struct {
	peers *peers
	self  *placementServer // of this node, called without a connection
	addr  string           // this node's peer address
	seeds []string         // from --join
	wait  wait.Scheduler

	mu   sync.Mutex
	last string // peer address of the node that answered; empty: not known
}

// call runs f against the driver until it answers or ctx ends.
func (c *placementClient) call(
	ctx context.Context, f func(context.Context, internalpb.PlacementClient) error,
) error {
	var last error
	pause := 10 * time.Millisecond
	for round := 0; ; round++ {
		for _, addr := range c.candidates() {
			hint, err := c.try(ctx, addr, f)
			for hops := 0; hint != "" && hops < 3; hops++ {
				addr = hint
				hint, err = c.try(ctx, addr, f)
			}
			if err == nil {
				c.remember(addr)
				return nil
			}
			if ctx.Err() != nil {
				return fmt.Errorf("reach the placement driver: %w", errors.Join(ctx.Err(), last))
			}
			if !retriable(err) {
				return err
			}
			last = err
		}
		c.remember("")
		if err := c.wait.Sleep(ctx, pause); err != nil {
			return fmt.Errorf("reach the placement driver: %w", errors.Join(err, last))
		}
		pause = min(pause*2, 200*time.Millisecond)
	}
}

// try asks one node; hint is the peer address of the node that it names instead.
func (c *placementClient) try(ctx context.Context, addr string,
	f func(context.Context, internalpb.PlacementClient) error) (hint string, err error) {
	ctx, cancel := c.wait.WithTimeout(ctx, placementAttempt)
	defer cancel()
	var client internalpb.PlacementClient = localPlacement{c.self}
	if addr != c.addr {
		conn, err := c.peers.connect(addr)
		if err != nil {
			return "", err
		}
		client = internalpb.NewPlacementClient(conn)
	}
	err = rpcerr.Decode(f(ctx, client))
	var nl *rpcerr.NotLeaderError
	if errors.As(err, &nl) && nl.LeaderStore != 0 {
		if n := c.peers.nodeOf(proto.StoreID(nl.LeaderStore)); n != nil && n.PeerAddress != addr {
			return n.PeerAddress, err
		}
		if nl.LeaderEndpoint != "" && nl.LeaderEndpoint != addr {
			return nl.LeaderEndpoint, err // before this node knows any address, the peer's is in the hint
		}
	}
	return "", err
}

// retriable: another node, or the same one later, may do better.
func retriable(err error) bool {
	var (
		nl *rpcerr.NotLeaderError
		th *rpcerr.ThrottledError
		se *rpcerr.StaleEpochError
		am *rpcerr.AmbiguousError
	)
	if errors.As(err, &nl) || errors.As(err, &th) || errors.As(err, &se) || errors.As(err, &am) {
		return true
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return true
	case codes.Unknown: // not from a server: the context of the attempt, or a connection
		return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	}
	return false
}

func (c *placementClient) remember(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = addr
}

// candidates: who answered last, this node, all known nodes, the seeds.
func (c *placementClient) candidates() []string {
	c.mu.Lock()
	last := c.last
	c.mu.Unlock()
	var out []string
	seen := map[string]bool{"": true}
	all := append([]string{last}, c.addr)
	if c.self == nil {
		all = all[:1]
	}
	all = append(append(all, c.peers.addresses()...), c.seeds...)
	for _, a := range all {
		if !seen[a] && (a != c.addr || c.self != nil) {
			seen[a] = true
			out = append(out, a)
		}
	}
	return out
}

func (c *placementClient) timestamps(
	ctx context.Context, count uint32,
) (first proto.Timestamp, err error) {
	err = c.call(ctx, func(ctx context.Context, p internalpb.PlacementClient) error {
		resp, err := p.Timestamps(ctx, &internalpb.TimestampsRequest{Count: count})
		first = proto.Timestamp(resp.GetFirst())
		return err
	})
	return first, err
}

func (c *placementClient) lookup(
	ctx context.Context, key []byte, limit int,
) (ranges []*internalpb.RangeLocation, err error) {
	err = c.call(ctx, func(ctx context.Context, p internalpb.PlacementClient) error {
		resp, err := p.Lookup(ctx, &internalpb.LookupRequest{Start: key, Limit: uint32(limit)})
		if err == nil {
			err = c.peers.update(resp.Nodes, resp.NodeOfStore)
		}
		ranges = resp.GetRanges()
		return err
	})
	return ranges, err
}

func (c *placementClient) allocateRange(ctx context.Context) (id proto.RangeID, err error) {
	err = c.call(ctx, func(ctx context.Context, p internalpb.PlacementClient) error {
		resp, err := p.AllocateIds(ctx, &internalpb.AllocateIdsRequest{Count: 1})
		id = proto.RangeID(resp.GetFirst())
		return err
	})
	return id, err
}

// localPlacement calls the driver of this node as a client would.
type localPlacement struct{ s *placementServer }

func (l localPlacement) Join(
	ctx context.Context, r *internalpb.JoinRequest, _ ...grpc.CallOption,
) (*internalpb.JoinResponse, error) {
	return l.s.Join(ctx, r)
}

func (l localPlacement) Heartbeat(
	ctx context.Context, r *internalpb.HeartbeatRequest, _ ...grpc.CallOption,
) (*internalpb.HeartbeatResponse, error) {
	return l.s.Heartbeat(ctx, r)
}

func (l localPlacement) Timestamps(
	ctx context.Context, r *internalpb.TimestampsRequest, _ ...grpc.CallOption,
) (*internalpb.TimestampsResponse, error) {
	return l.s.Timestamps(ctx, r)
}

func (l localPlacement) Lookup(
	ctx context.Context, r *internalpb.LookupRequest, _ ...grpc.CallOption,
) (*internalpb.LookupResponse, error) {
	return l.s.Lookup(ctx, r)
}

func (l localPlacement) AllocateIds(
	ctx context.Context, r *internalpb.AllocateIdsRequest, _ ...grpc.CallOption,
) (*internalpb.AllocateIdsResponse, error) {
	return l.s.AllocateIds(ctx, r)
}

func (l localPlacement) ClusterView(
	ctx context.Context, r *internalpb.ClusterViewRequest, _ ...grpc.CallOption,
) (*internalpb.ClusterViewResponse, error) {
	return l.s.ClusterView(ctx, r)
}

// View implements gateway.Cluster.
func (c *placementClient) View(
	ctx context.Context,
) (view *internalpb.ClusterViewResponse, err error) {
	err = c.call(ctx, func(ctx context.Context, p internalpb.PlacementClient) error {
		view, err = p.ClusterView(ctx, &internalpb.ClusterViewRequest{})
		return err
	})
	return view, err
}
