package live

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/vipkv/vipkv/chaos/nemesis"
	"github.com/vipkv/vipkv/proto"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// cluster is a view of n nodes, all live, each with the store of its number plus ten.
func cluster(n int, ranges ...*vipkvpb.RangeInfo) *view {
	v := &view{status: &vipkvpb.StatusResponse{}, ranges: ranges, placement: 1}
	for id := uint64(1); id <= uint64(n); id++ {
		v.nodes = append(v.nodes, Node{ID: id, Store: id + 10, live: true})
	}
	return v
}

// held is a range led by the first of the nodes; "2-" is a replica on node 2 that is not live, "2l" a learner, "2i"
// one that comes and "2o" one that goes.
func held(on ...string) *vipkvpb.RangeInfo {
	r := &vipkvpb.RangeInfo{Id: 7, LeaderStore: uint64(on[0][0]-'0') + 10}
	for _, s := range on {
		p := &vipkvpb.ReplicaInfo{StoreId: uint64(s[0]-'0') + 10, Role: "voter", Live: !strings.HasSuffix(s, "-")}
		switch s[len(s)-1] {
		case 'l':
			p.Role = "learner"
		case 'i':
			p.Role = "incoming"
		case 'o':
			p.Role = "outgoing"
		}
		r.Replicas = append(r.Replicas, p)
	}
	return r
}

func TestBlastRadius(t *testing.T) {
	leaderless := held("1", "2", "3")
	leaderless.LeaderStore = 0
	for name, c := range map[string]struct {
		v     *view
		away  []uint64
		loses bool
	}{
		"one of three":                  {cluster(3, held("1", "2", "3")), []uint64{1}, false},
		"two of three":                  {cluster(3, held("1", "2", "3")), []uint64{1, 3}, true},
		"two of five":                   {cluster(5, held("1", "2", "3", "4", "5")), []uint64{1, 3}, false},
		"the only one":                  {cluster(1, held("1")), []uint64{1}, true},
		"one of two":                    {cluster(2, held("1", "2")), []uint64{2}, true},
		"one that has nothing":          {cluster(4, held("1", "2", "3")), []uint64{4}, false},
		"a learner is no voter":         {cluster(3, held("1", "2", "3l")), []uint64{2}, true},
		"a learner may go":              {cluster(4, held("1", "2", "3", "4l")), []uint64{4}, false},
		"one is behind already":         {cluster(3, held("1", "2-", "3")), []uint64{3}, true},
		"one is behind and goes":        {cluster(3, held("1", "2-", "3")), []uint64{2}, false},
		"any range counts":              {cluster(5, held("1", "2", "3"), held("3", "4", "5")), []uint64{4, 5}, true},
		"the new half":                  {cluster(4, held("1", "2", "3o", "4i")), []uint64{4}, false},
		"a half of two":                 {cluster(5, held("1", "2", "3", "4i", "5i")), []uint64{4, 5}, false},
		"the new half loses its quorum": {cluster(5, held("1", "2o", "3o", "4i", "5i")), []uint64{4, 5}, true},
		"the old half loses its quorum": {cluster(5, held("1", "2o", "3o", "4i", "5i")), []uint64{2, 3}, true},
		"no leader is known":            {cluster(3, leaderless), nil, true},
		"a store that nobody knows":     {cluster(2, held("1", "2", "9")), []uint64{2}, true},
	} {
		away := map[uint64]bool{}
		for _, id := range c.away {
			away[id] = true
		}
		if got := c.v.losesQuorum(away); (got != "") != c.loses {
			t.Errorf("%s: %q", name, got)
		}
	}
	// What will pass is told from what will not.
	silent := cluster(3, held("1", "2-", "3-"))
	if silent.losesQuorum(map[uint64]bool{1: true}) == "" || silent.neverSafe(map[uint64]bool{1: true}) ||
		!silent.neverSafe(map[uint64]bool{1: true, 2: true}) {
		t.Error("a leader that has not heard of its followers lately is no lost quorum for ever")
	}
	v := cluster(3, held("1", "2", "3"))
	v.nodes[1].live = false
	if v.losesQuorum(map[uint64]bool{3: true}) == "" {
		t.Error("one is down and another goes: no quorum is lost")
	}
}

func TestChoose(t *testing.T) {
	const tenant = proto.TenantID(5)
	at := func(key string) []byte { return mvcc.PlainKey(tenant, []byte(key)) }
	first, second := held("2", "1", "3"), held("3", "1", "2")
	first.Start, first.End, second.Start, second.End = nil, at("m"), at("m"), at("x")
	foreign := held("1", "2", "3")
	foreign.Start = mvcc.PlainKey(tenant+1, []byte("a"))
	rest := held("3", "1", "2")
	rest.Start, rest.End = at("x"), foreign.Start
	v := cluster(3, first, second, rest, foreign)
	for target, want := range map[string][]uint64{
		"leader": {3}, "leader:a": {2}, "leader:m": {3}, "placement": {1}, "all": {1, 2, 3}, "node:2": {2},
	} {
		parsed, err := nemesis.ParseTarget(target)
		if err != nil {
			t.Fatal(err)
		}
		nodes, err := v.choose(parsed, tenant, rand.New(rand.NewPCG(1, 1)))
		if err != nil || len(nodes) != len(want) {
			t.Fatalf("%s: %v %v", target, nodes, err)
		}
		for i := range nodes {
			if nodes[i].ID != want[i] {
				t.Errorf("%s is %v, want %v", target, nodes, want)
			}
		}
	}
	five := cluster(5, held("1", "2", "3", "4", "5"))
	for kind, want := range map[nemesis.Kind]int{nemesis.One: 1, nemesis.Minority: 2} {
		nodes, err := five.choose(nemesis.Target{Kind: kind}, tenant, rand.New(rand.NewPCG(1, 1)))
		if err != nil || len(nodes) != want {
			t.Errorf("%s: %v %v", kind, nodes, err)
		}
	}
	if _, err := v.choose(nemesis.Target{Kind: nemesis.Numbered, Node: 9}, tenant, nil); err == nil {
		t.Error("there is no node 9")
	}
	if got := len(v.rangesOf(tenant)); got != 3 {
		t.Errorf("%d ranges are the tenant's", got)
	}
}
