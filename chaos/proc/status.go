package proc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vipkv/vipkv/kv/client"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// Status is what the cluster says of itself.
type Status struct {
	*vipkvpb.StatusResponse
}

// Live tells whether the cluster counts a node as live.
func (s *Status) Live(n int) bool {
	for _, at := range s.Nodes {
		if at.Id == uint64(n) {
			return at.State == "live"
		}
	}
	return false
}

// missing says what a healthy cluster of so many live nodes would have more; empty: nothing.
func (s *Status) missing(live int) string {
	have := 0
	for _, n := range s.Nodes {
		if n.State == "live" {
			have++
		}
	}
	switch {
	case have < live:
		return fmt.Sprintf("%d of %d nodes live", have, live)
	case s.Ranges == 0:
		return "no ranges"
	case s.WithoutLeader > 0:
		return fmt.Sprintf("%d ranges without a leader", s.WithoutLeader)
	case s.UnderReplicated > 0:
		return fmt.Sprintf("%d ranges under-replicated", s.UnderReplicated)
	}
	return ""
}

// Admin is a client with the admin credential that knows all nodes.
func (c *Cluster) Admin(ctx context.Context) (*client.Admin, error) {
	b, err := c.adminClient(ctx)
	if err != nil {
		return nil, err
	}
	return b.Admin(), nil
}

// adminClient opens the client anew when there are nodes that it does not know.
func (c *Cluster) adminClient(ctx context.Context) (*client.Client, error) {
	if c.admin == nil {
		return nil, errors.New("the cluster has no admin credential yet")
	}
	if c.known == len(c.nodes) {
		return c.admin, nil
	}
	key, err := c.AdminCredential()
	if err != nil {
		return nil, err
	}
	fresh, err := c.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	c.old = append(c.old, c.admin) // tenants' clients may be using its connections
	c.admin, c.known = fresh, len(c.nodes)
	return fresh, nil
}

// Status asks the cluster for its state, once, for at most two seconds.
func (c *Cluster) Status(ctx context.Context) (*Status, error) {
	a, err := c.Admin(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := a.Status(ctx)
	if err != nil {
		return nil, err
	}
	return &Status{s}, nil
}

// WaitHealthy waits until so many nodes are live, all that run listen, and all ranges have a leader and all their
// replicas. What the cluster says may be as old as a node's last report: of a node that was away for less than that it
// may say what was before.
func (c *Cluster) WaitHealthy(ctx context.Context, live int) error {
	return c.wait(ctx, "the cluster becomes healthy", func(s *Status) string {
		if m := s.missing(live); m != "" {
			return m
		}
		for n := range c.nodes {
			if c.Running(n+1) && !listens(c.Endpoint(n+1)) {
				return fmt.Sprintf("node %d does not listen", n+1)
			}
		}
		return ""
	})
}

func listens(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	return err == nil && conn.Close() == nil
}

// wait asks for the status until missing says that nothing is missing.
func (c *Cluster) wait(ctx context.Context, what string, missing func(*Status) string) error {
	return WaitFor(ctx, startWithin, what, func() (string, error) {
		s, err := c.Status(ctx)
		if err != nil {
			return "no answer: " + err.Error(), nil
		}
		return missing(s), nil
	})
}

// WaitFor asks until nothing is missing, for at most limit. An error of the question ends it.
func WaitFor(ctx context.Context, limit time.Duration, what string, missing func() (string, error)) error {
	until := time.Now().Add(limit)
	for {
		m, err := missing()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if m == "" {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s: not after %v: %s", what, limit, m)
		}
		if err := pause(ctx, pollEvery); err != nil {
			return fmt.Errorf("%s: %w: %s", what, err, m)
		}
	}
}

// Ranges lists all ranges.
func (c *Cluster) Ranges(ctx context.Context) (out []*vipkvpb.RangeInfo, err error) {
	a, err := c.Admin(ctx)
	if err != nil {
		return nil, err
	}
	var after []byte
	for {
		page, next, err := a.ListRanges(ctx, after, 0)
		if err != nil {
			return nil, err
		}
		out = append(out, page...)
		if len(next) == 0 {
			return out, nil
		}
		after = next
	}
}

// Leaders counts the ranges that each node leads, by its number.
func Leaders(ranges []*vipkvpb.RangeInfo) map[int]int {
	out := map[int]int{}
	for _, r := range ranges {
		if r.LeaderStore != 0 {
			out[int(r.LeaderStore)]++
		}
	}
	return out
}

// MostLeaders is the node that leads most ranges; of several the lowest. 0: none is led.
func MostLeaders(ranges []*vipkvpb.RangeInfo) int {
	best := 0
	for n, count := range Leaders(ranges) {
		if best == 0 || count > Leaders(ranges)[best] || count == Leaders(ranges)[best] && n < best {
			best = n
		}
	}
	return best
}

// Terms sums the terms of all ranges: it grows with each election.
func Terms(ranges []*vipkvpb.RangeInfo) (sum uint64) {
	for _, r := range ranges {
		sum += r.Term
	}
	return sum
}

// Tenant returns a client of a tenant, which is made when it is not there.
func (c *Cluster) Tenant(ctx context.Context, name string) (*client.Client, error) {
	if cl := c.tenant[name]; cl != nil {
		return cl, nil
	}
	key, err := c.NewTenant(ctx, name)
	if err != nil {
		return nil, err
	}
	cl, err := c.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	c.tenant[name], c.old = cl, append(c.old, cl)
	return cl, nil
}

// NewTenant makes a tenant and returns its credential.
func (c *Cluster) NewTenant(ctx context.Context, name string) (string, error) {
	a, err := c.Admin(ctx)
	if err != nil {
		return "", err
	}
	_, key, err := a.CreateTenant(ctx, name)
	if err != nil {
		return "", fmt.Errorf("make tenant %s: %w", name, err)
	}
	return key, nil
}

// reportsWithin is how old what the cluster says of its ranges may be.
const reportsWithin = 2 * time.Second

// WaitCaughtUp waits until every replica has on its disk what the leader of its range had there at the
// call.
func (c *Cluster) WaitCaughtUp(ctx context.Context) error {
	if err := pause(ctx, reportsWithin); err != nil {
		return err
	}
	goal := map[uint64]uint64{}
	return WaitFor(ctx, time.Minute, "all replicas catch up", func() (string, error) {
		ranges, err := c.Ranges(ctx)
		if err != nil {
			return err.Error(), nil
		}
		for _, r := range ranges {
			if m := behind(r, goal); m != "" {
				return m, nil
			}
		}
		return "", nil
	})
}

// behind says which replica of a range has not reached the goal; empty: none. The first look sets
// the range's goal.
func behind(r *vipkvpb.RangeInfo, goal map[uint64]uint64) string {
	if _, seen := goal[r.Id]; !seen {
		for _, p := range r.Replicas {
			goal[r.Id] = max(goal[r.Id], p.Match)
		}
	}
	for _, p := range r.Replicas {
		if p.Match < goal[r.Id] || !p.Live {
			return fmt.Sprintf("range %d on store %d is at %d of %d, live %v", r.Id, p.StoreId, p.Match,
				goal[r.Id], p.Live)
		}
	}
	return ""
}

// WaitReplaced waits until all ranges have three live voters, none of them on the lost node.
func (c *Cluster) WaitReplaced(ctx context.Context, lost int, limit time.Duration) error {
	return WaitFor(ctx, limit, "all ranges have three live voters", func() (string, error) {
		ranges, err := c.Ranges(ctx)
		if err != nil {
			return err.Error(), nil
		}
		for _, r := range ranges {
			voters := 0
			for _, p := range r.Replicas {
				if p.StoreId == uint64(lost) {
					return fmt.Sprintf("range %d still counts on the lost store: %s", r.Id, r.Note), nil
				}
				if p.Role == "voter" && p.Live {
					voters++
				}
			}
			if voters != 3 {
				return fmt.Sprintf("range %d has %d live voters: %s", r.Id, voters, r.Note), nil
			}
		}
		return "", nil
	})
}
