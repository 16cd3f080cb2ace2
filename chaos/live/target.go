package live

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/vipkv/vipkv/chaos/nemesis"
	"github.com/vipkv/vipkv/proto"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// choose draws the nodes that a fault hits now. tenant is the run's.
func (v *view) choose(t nemesis.Target, tenant proto.TenantID, r *rand.Rand) ([]Node, error) {
	if len(v.nodes) == 0 {
		return nil, errors.New("the cluster names no nodes")
	}
	switch t.Kind {
	case nemesis.One:
		return []Node{v.nodes[r.IntN(len(v.nodes))]}, nil
	case nemesis.Minority:
		some := slices.Clone(v.nodes)
		r.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		return some[:min(v.spare(), len(some))], nil
	case nemesis.All:
		return v.nodes, nil
	case nemesis.Numbered:
		if n, ok := v.node(t.Node); ok {
			return []Node{n}, nil
		}
		return nil, fmt.Errorf("there is no node %d", t.Node)
	case nemesis.Placement:
		if n, ok := v.node(v.placement); ok {
			return []Node{n}, nil
		}
		return nil, errors.New("the placement driver is on no node")
	case nemesis.Leader:
		n, err := v.leader(t.Key, tenant)
		return []Node{n}, err
	}
	return nil, fmt.Errorf("target %s is not of nodes", t)
}

// leader is the node that leads the range of a key, or most of the tenant's ranges.
func (v *view) leader(key string, tenant proto.TenantID) (Node, error) {
	leads := map[uint64]int{}
	for _, r := range v.rangesOf(tenant) {
		at := mvcc.PlainKey(tenant, []byte(key))
		inside := bytes.Compare(r.Start, at) <= 0 && (len(r.End) == 0 || bytes.Compare(at, r.End) < 0)
		if key == "" || inside {
			leads[r.LeaderStore]++
		}
	}
	delete(leads, 0)
	best, found := Node{}, false
	for _, n := range v.nodes {
		if count := leads[n.Store]; count > 0 && (!found || count > leads[best.Store]) {
			best, found = n, true
		}
	}
	if !found {
		return best, errors.New("no leader is known")
	}
	return best, nil
}

// rangesOf are the ranges that hold something of a tenant.
func (v *view) rangesOf(tenant proto.TenantID) (out []*vipkvpb.RangeInfo) {
	for _, r := range v.ranges {
		if _, _, ok := mvcc.ClipSpan(tenant, r.Start, r.End); ok {
			out = append(out, r)
		}
	}
	return out
}
