package node

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/vipkv/vipkv/kv/gateway"
	"github.com/vipkv/vipkv/placement"
	"github.com/vipkv/vipkv/placement/tso"
	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/proto/wait"
	"github.com/vipkv/vipkv/raftstore"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/txn"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// MemberConfig of a Member.
type MemberConfig struct {
	// Engine keeps the address book.
	Engine engine.Engine
	// Address is this node's peer address, Seeds those of a cluster to join.
	Address string
	Seeds   []string
	// Connect returns the connection to a peer address. It does not wait.
	Connect func(addr string) (grpc.ClientConnInterface, error)
	Wait    wait.Scheduler
	// NowMs is the wall clock, EvenMs one that only runs evenly, both in milliseconds.
	NowMs, EvenMs func() int64
	// Attempt bounds one attempt of the router. 0: its default.
	Attempt time.Duration
	// Jitter draws the pauses of the router.
	Jitter func(d time.Duration) time.Duration
	// Draw fills b with random bytes from a cryptographic source.
	Draw func(b []byte)
	// SealerFor is that of txn.Config.
	SealerFor func(ctx context.Context, t proto.TenantID) (mvcc.Sealer, error)
	// Oracle and Placement are the driver's tunables; Member fills what it knows itself.
	Oracle    tso.Config
	Placement placement.Config
	// HeartbeatInterval is how often the node reports; OrphanTicks without a leader let a replica ask whether it still
	// belongs.
	HeartbeatInterval time.Duration
	OrphanTicks       int
	Logger            *slog.Logger
	// Fetch, unless nil, stands around the way to the oracle.
	Fetch func(tso.Fetch) tso.Fetch
}

// Member is how a node takes part in a cluster: it carries out commands on the ranges that it leads, routes those of
// others, takes timestamps, reports to the placement driver and is it while it leads the system range. Ports, disk and
// the keys of tenants are its caller's: a Node, or the simulator.
type Member struct {
	cfg    MemberConfig
	peers  *peers
	client *placementClient

	// From Assemble on:
	calls    *raftstore.Calls
	executor *txn.Executor
	batcher  *tso.Batcher
	ranges   *rangesServer
	server   *placementServer
	router   *gateway.Router
	reporter *reporter
	reach    *reach
}

// OpenMember returns a member that can only ask others: to join, and for ids of ranges.
func OpenMember(cfg MemberConfig) (*Member, error) {
	p, err := newPeers(cfg.Engine, nil)
	if err != nil {
		return nil, err
	}
	p.connect = cfg.Connect
	return newMember(cfg, p), nil
}

func newMember(cfg MemberConfig, p *peers) *Member {
	cfg.Wait = wait.Or(cfg.Wait)
	return &Member{cfg: cfg, peers: p,
		client: &placementClient{peers: p, addr: cfg.Address, seeds: cfg.Seeds, wait: cfg.Wait}}
}

// Join asks a running cluster for an identity.
func (m *Member) Join(
	ctx context.Context, self *internalpb.NodeInfo,
) (resp *internalpb.JoinResponse, err error) {
	err = m.client.call(ctx, func(ctx context.Context, p internalpb.PlacementClient) (err error) {
		resp, err = p.Join(ctx, &internalpb.JoinRequest{Node: self})
		return err
	})
	return resp, err
}

// AllocateRange returns a range id that nobody else gets.
func (m *Member) AllocateRange(ctx context.Context) (proto.RangeID, error) {
	return m.client.allocateRange(ctx)
}

// Assemble joins the parts over a store's calls. Nothing runs yet. boot counts the starts of the store.
func (m *Member) Assemble(
	calls *raftstore.Calls, id engine.Identity, self *internalpb.NodeInfo, boot uint64,
) (err error) {
	m.calls = calls
	bc := tso.DefaultBatcherConfig()
	bc.Wait = m.cfg.Wait
	fetch := tso.Fetch(m.client.timestamps)
	if m.cfg.Fetch != nil {
		fetch = m.cfg.Fetch(fetch)
	}
	if m.batcher, err = tso.NewBatcher(bc, fetch); err != nil {
		return err
	}
	ec := txn.DefaultConfig()
	ec.Engine, ec.Oracle, ec.SealerFor, ec.Draw = replication{calls}, oracle{m.batcher}, m.cfg.SealerFor, m.cfg.Draw
	ec.Wait = m.cfg.Wait
	m.executor = txn.NewExecutor(ec)
	m.ranges = &rangesServer{store: calls, executor: m.executor}
	if err := m.openPlacement(id); err != nil {
		return err
	}
	rc := gateway.DefaultRouterConfig()
	m.reach = &reach{self: id.StoreID, executor: m.executor, ranges: m.ranges, peers: m.peers,
		placement: m.client}
	rc.Ranges = m.reach
	rc.Wait, rc.Jitter = m.cfg.Wait, m.cfg.Jitter
	if m.cfg.Attempt > 0 {
		rc.Attempt = m.cfg.Attempt
	}
	m.router = gateway.NewRouter(rc)
	m.reporter = &reporter{store: calls, engine: m.cfg.Engine, ranges: m.ranges, client: m.client, peers: m.peers,
		interval: m.cfg.HeartbeatInterval, orphan: m.cfg.OrphanTicks, self: self, log: m.cfg.Logger,
		wait: m.cfg.Wait, nowMs: m.cfg.EvenMs, running: map[proto.RangeID]bool{},
		ended: make(chan struct{}, 1), wake: make(chan struct{}, 1), announced: make(chan struct{}, 1),
		info: &internalpb.StoreInfo{StoreId: uint64(id.StoreID), NodeId: uint64(id.NodeID), BootEpoch: boot}}
	return nil
}

func (m *Member) openPlacement(id engine.Identity) (err error) {
	system := &systemRange{executor: m.executor, store: m.calls}
	m.server = &placementServer{store: m.calls, system: system, peers: m.peers, log: m.cfg.Logger,
		wait: m.cfg.Wait, nowMs: m.cfg.EvenMs}
	oc := m.cfg.Oracle
	oc.NowMs, oc.Logger, oc.Wait = m.cfg.NowMs, m.cfg.Logger, m.cfg.Wait
	oc.Leading = func(term uint64) bool { return m.server.leading() == term }
	if m.server.oracle, err = tso.New(oc, oracleState{system}); err != nil {
		return err
	}
	pc := m.cfg.Placement
	pc.NodeID, pc.ClusterID, pc.Logger, pc.Wait = id.NodeID, id.ClusterID[:], m.cfg.Logger, m.cfg.Wait
	pc.NowMs = m.cfg.EvenMs
	if m.server.driver, err = placement.New(pc, driverState{system}); err != nil {
		return err
	}
	m.client.self = m.server
	return nil
}

// Loops are what must run while the member lives; each returns nil when its context ends.
func (m *Member) Loops() []func(context.Context) error {
	return []func(context.Context) error{m.batcher.Run, m.server.oracle.Run, m.server.driver.Run,
		m.server.runLeadership, m.reporter.run}
}

// Register adds the services for other nodes to a server.
func (m *Member) Register(s grpc.ServiceRegistrar) {
	internalpb.RegisterRangesServer(s, m.ranges)
	internalpb.RegisterPlacementServer(s, m.server)
}

// Router sends commands to ranges, wherever they are.
func (m *Member) Router() *gateway.Router { return m.router }

// Ranges runs commands, and steps of operators, on the ranges that the store leads.
func (m *Member) Ranges() internalpb.RangesServer { return m.ranges }

// Driver and Oracle are the placement driver's and the timestamp oracle's parts on this node, active or not.
func (m *Member) Driver() *placement.Driver { return m.server.driver }

// Oracle is the timestamp oracle's part on this node.
func (m *Member) Oracle() *tso.Oracle { return m.server.oracle }

// Retire tells the driver that the node stops: it sends no leaders here any more. It returns when the driver has heard,
// or after a moment.
func (m *Member) Retire(ctx context.Context) { m.reporter.retire(ctx) }

// ready: the node does not stop, and the placement driver has answered lately.
func (m *Member) ready() error {
	if m.reporter.retiring.Load() {
		return txn.ErrStopping
	}
	if s := m.reporter.silence(); s > 4*m.cfg.HeartbeatInterval+2*time.Second {
		return fmt.Errorf("the placement driver has not answered for %s", s.Round(time.Second))
	}
	return nil
}
