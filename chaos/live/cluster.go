package live

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vipkv/vipkv/kv/client"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// Cluster says where a cluster is and how to administrate it.
type Cluster struct {
	Endpoints       []string // addresses of nodes, one is enough
	AdminCredential string
	Insecure        bool // allow plaintext connections off loopback
}

// Node is one node of the cluster, as drivers and templates see it.
type Node struct {
	ID            uint64
	Store         uint64
	Host          string // of ClientAddress
	ClientAddress string
	PeerAddress   string
	HTTPAddress   string
	Locality      map[string]string
	// Vars are what the plan says of this node, for templates.
	Vars map[string]string

	live bool
}

func (n Node) String() string { return fmt.Sprintf("node %d", n.ID) }

// admin is the administrator's calls that a run makes.
type admin interface {
	Status(ctx context.Context) (*vipkvpb.StatusResponse, error)
	ListRanges(ctx context.Context, after []byte, limit int) ([]*vipkvpb.RangeInfo, []byte, error)
	TransferLeader(ctx context.Context, rangeID, store uint64) error
	SplitRange(ctx context.Context, key []byte) ([]byte, error)
	GetTenant(ctx context.Context, name string) (*vipkvpb.Tenant, error)
	CreateTenant(ctx context.Context, name string) (*vipkvpb.Tenant, string, error)
}

// view is the cluster at one moment, as it says itself. It may be as old as a node's last report.
type view struct {
	cluster   string // id
	version   string
	nodes     []Node
	ranges    []*vipkvpb.RangeInfo // in key order
	placement uint64               // node
	status    *vipkvpb.StatusResponse
}

func look(ctx context.Context, a admin, vars map[uint64]map[string]string) (*view, error) {
	s, err := a.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("status of the cluster: %w", err)
	}
	v := &view{cluster: s.ClusterId, version: s.Version, placement: s.PlacementLeaderNode, status: s}
	for _, n := range s.Nodes {
		host, _, _ := strings.Cut(n.ClientAddress, ":")
		if i := strings.LastIndexByte(n.ClientAddress, ':'); i >= 0 {
			host = strings.Trim(n.ClientAddress[:i], "[]")
		}
		v.nodes = append(v.nodes, Node{ID: n.Id, Store: n.StoreId, Host: host, Locality: n.Locality,
			ClientAddress: n.ClientAddress, PeerAddress: n.PeerAddress, HTTPAddress: n.HttpAddress,
			Vars: vars[n.Id], live: n.State == "live"})
	}
	slices.SortFunc(v.nodes, func(a, b Node) int { return int(a.ID) - int(b.ID) })
	var after []byte
	for {
		page, next, err := a.ListRanges(ctx, after, 0)
		if err != nil {
			return nil, fmt.Errorf("list ranges: %w", err)
		}
		v.ranges = append(v.ranges, page...)
		if len(next) == 0 {
			return v, nil
		}
		after = next
	}
}

func (v *view) node(id uint64) (Node, bool) {
	i := slices.IndexFunc(v.nodes, func(n Node) bool { return n.ID == id })
	if i < 0 {
		return Node{}, false
	}
	return v.nodes[i], true
}

func (v *view) nodeOfStore(store uint64) (Node, bool) {
	i := slices.IndexFunc(v.nodes, func(n Node) bool { return n.Store == store })
	if i < 0 || store == 0 {
		return Node{}, false
	}
	return v.nodes[i], true
}

// unhealthy says what a healthy cluster would have more; empty: nothing.
func (v *view) unhealthy() string {
	for _, n := range v.nodes {
		if !n.live {
			return fmt.Sprintf("%v is not live", n)
		}
	}
	switch s := v.status; {
	case len(v.ranges) == 0:
		return "it has no ranges"
	case s.WithoutLeader > 0:
		return fmt.Sprintf("%d ranges have no leader", s.WithoutLeader)
	case s.UnderReplicated > 0:
		return fmt.Sprintf("%d ranges have too few replicas", s.UnderReplicated)
	case s.PlacementLeaderNode == 0:
		return "the placement driver is on no node"
	}
	return ""
}

// waitHealthy waits until the cluster says that it is healthy and every node listens.
func waitHealthy(ctx context.Context, a admin, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	missing := "no answer"
	for {
		v, err := look(ctx, a, nil)
		if err != nil {
			missing = err.Error()
		} else if missing = v.unhealthy(); missing == "" {
			missing = notListening(ctx, v.nodes)
		}
		if missing == "" {
			return nil
		}
		if pause(ctx, 250*time.Millisecond) != nil {
			return fmt.Errorf("the cluster is not healthy after %v: %s", limit, missing)
		}
	}
}

func notListening(ctx context.Context, nodes []Node) string {
	for _, n := range nodes {
		if !listens(ctx, n.ClientAddress) {
			return fmt.Sprintf("%v does not listen at %s", n, n.ClientAddress)
		}
	}
	return ""
}

// dial opens a client.
func (c Cluster) dial(ctx context.Context, credential string, timeout time.Duration) (
	*client.Client, error,
) {
	return client.Open(ctx, client.Options{Endpoints: c.Endpoints, Credential: credential,
		Insecure: c.Insecure, Timeout: timeout})
}

// answers tells whether a node serves: a call that goes to this node alone.
func (c Cluster) answers(ctx context.Context, n Node) bool {
	c.Endpoints = []string{n.ClientAddress}
	cl, err := c.dial(ctx, c.AdminCredential, answerWithin)
	if err != nil {
		return false
	}
	defer cl.Close()
	_, err = cl.Admin().Status(ctx)
	return err == nil
}

// answerWithin is how long a node may take to show that it serves.
const answerWithin = 1500 * time.Millisecond
