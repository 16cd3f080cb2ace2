package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/raft/v3"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/workload"
	"github.com/vipkv/vipkv/encryption"
	"github.com/vipkv/vipkv/kv/node"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// simTenant owns the keys of workloads that name no tenant. Those that are named have the next ids.
const simTenant proto.TenantID = 7

// clientBase is the node number of the first client.
const clientBase = 100

// cluster is everything in one run.
type cluster struct {
	k         *kernel
	o         *Options
	net       *network
	stores    []*store
	clients   []*simClient
	workloads []workload.Workload
	oracle    *oracle
	truth     *truth
	hand      *hand
	nemesis   *nemesis
	history   []history.Op
	count     counters
	codec     *encryption.Codec
	joined    proto.StoreID // stores up to this one belong to the cluster
	clientIDs int
	complete  bool // the first stores all belong to the cluster
	stopped   bool // clients begin nothing any more
	missing   int  // stores that are to take the place of lost ones
}

// counters say whether a run was worth anything.
type counters struct {
	ok, failed, unknown             int
	crashes, faults                 int
	leaders, splits, changes, moves int
	offers, installs, removed       int
	compared, matched               int
	exits, lost, rotFound           int
	verdicts                        [replica.Unknown + 1]int
}

// number is a counter and what it counts.
type number struct {
	name string
	n    int
}

func (c *counters) named() []number {
	return []number{
		{"operations that succeed", c.ok}, {"operations that fail", c.failed},
		{"operations of unknown outcome", c.unknown},
		{"faults", c.faults}, {"crashes", c.crashes}, {"ends after a failed write", c.exits},
		{"stores lost for good", c.lost}, {"flipped bits found at boot", c.rotFound},
		{"leaders", c.leaders}, {"splits", c.splits}, {"changes of membership", c.changes}, {"moves", c.moves},
		{"range snapshots offered", c.offers}, {"range snapshots installed", c.installs},
		{"replicas removed", c.removed}, {"comparisons of replicas", c.compared},
		{"comparisons of log entries", c.matched},
		{"commands applied", c.verdicts[replica.Applied]},
		{"commands of an earlier term", c.verdicts[replica.NotLeader]},
		{"commands of an earlier epoch", c.verdicts[replica.StaleEpoch]},
		{"commands refused: queue full", c.verdicts[replica.QueueFull]},
		{"commands refused: can never be", c.verdicts[replica.Refused]},
		{"commands of unknown outcome", c.verdicts[replica.Unknown]},
	}
}

func (c *counters) String() string {
	var parts []string
	for _, n := range c.named() {
		parts = append(parts, fmt.Sprintf("%d %s", n.n, n.name))
	}
	return strings.Join(parts, ", ")
}

func newCluster(o *Options, log func(string, ...any)) *cluster {
	c := &cluster{k: &kernel{seed: o.Seed, log: log}, o: o}
	c.net = newNetwork(c.k, o)
	c.oracle = newOracle(c)
	c.truth, c.hand = &truth{c: c, marks: [][]byte{[]byte(bodyMark)}}, newHand(c)
	for i := 1; i <= o.Stores; i++ {
		c.stores = append(c.stores, newStore(c, i))
	}
	c.nemesis = newNemesis(c)
	return c
}

// close ends what runs still.
func (c *cluster) close() {
	for _, s := range c.stores {
		if s.front != nil {
			s.front.proc.kill()
		}
	}
	for _, cl := range c.clients {
		cl.proc.kill()
	}
}

func (c *cluster) store(id proto.StoreID) *store {
	if id < 1 || int(id) > len(c.stores) {
		return nil
	}
	return c.stores[id-1]
}

// bootstrap makes a new cluster of the first store, as a node does, and starts all.
func (c *cluster) bootstrap() (err error) {
	if c.codec, err = encryption.NewCodec(); err != nil {
		return err
	}
	e, err := engine.OpenMem(c.stores[0].disk, engine.Options{})
	if err != nil {
		return err
	}
	system, err := c.domain(proto.SystemTenant)
	if err != nil {
		return err
	}
	if _, err := node.Bootstrap(e, system, nodeInfo(1, 1)); err != nil {
		return err
	}
	if err := e.Close(); err != nil {
		return err
	}
	for _, s := range c.stores {
		s.boot()
	}
	return nil
}

// proposalDelay is the time between evaluating a command and proposing it: long enough, now and then, for the leader
// to change and to change back.
func (c *cluster) proposalDelay(s *store) int64 {
	switch {
	case c.k.now < s.frontStall && s.r.IntN(3) > 0:
		return s.frontStall - c.k.now + between(s.r, 600*ms, 2*sec)
	case chance(s.r, c.o.DelayedProposals):
		return between(s.r, 100*ms, 3*sec)
	}
	return tail(s.r, 0, 500*us)
}

func (c *cluster) raftLog(id proto.StoreID) raft.Logger { return &raftLogger{c.k, int(id)} }

// raftLogger keeps raft quiet and turns its panics into the end of the run.
type raftLogger struct {
	k     *kernel
	store int
}

func (l *raftLogger) Debug(...any)            {}
func (l *raftLogger) Debugf(string, ...any)   {}
func (l *raftLogger) Info(...any)             {}
func (l *raftLogger) Infof(string, ...any)    {}
func (l *raftLogger) Warning(...any)          {}
func (l *raftLogger) Warningf(string, ...any) {}
func (l *raftLogger) Error(v ...any)          { l.k.note("store %d raft: %s", l.store, fmt.Sprint(v...)) }
func (l *raftLogger) Errorf(f string, v ...any) {
	l.k.note("store %d raft: %s", l.store, fmt.Sprintf(f, v...))
}
func (l *raftLogger) Fatal(v ...any)            { panic("raft: " + fmt.Sprint(v...)) }
func (l *raftLogger) Fatalf(f string, v ...any) { panic("raft: " + fmt.Sprintf(f, v...)) }
func (l *raftLogger) Panic(v ...any)            { panic("raft: " + fmt.Sprint(v...)) }
func (l *raftLogger) Panicf(f string, v ...any) { panic("raft: " + fmt.Sprintf(f, v...)) }

// leaders lists, for each range, the status of the replica that leads in the newest term.
func (c *cluster) leaders() []leaderStatus {
	best := map[proto.RangeID]leaderStatus{}
	for _, s := range c.stores {
		if !s.up || s.paused {
			continue
		}
		for _, id := range s.ranges() {
			st := s.status[id]
			if st.Leads && st.Descriptor != nil && (best[id].store == nil || best[id].Term < st.Term) {
				best[id] = leaderStatus{st, s}
			}
		}
	}
	var out []leaderStatus
	for _, id := range slices.Sorted(maps.Keys(best)) {
		out = append(out, best[id])
	}
	return out
}

type leaderStatus struct {
	*replica.Status
	store *store
}
