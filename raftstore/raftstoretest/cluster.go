package raftstoretest

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// Dir is where a store lies on its file system.
const Dir = "/store"

// UserStart is the first key of range 2; range 1 has all before it.
var UserStart = []byte{0, 0, 0, 1}

// Options of a Cluster.
type Options struct {
	Stores int
	// Mem: the in-memory engine, otherwise Pebble on a crashable file system.
	Mem bool
	// Engine changes an engine's options before it is opened.
	Engine func(*engine.Options)
	// Config changes a store's config before it is opened.
	Config func(*raftstore.Config)
	// WrapFS wraps a store's file system each time the store starts.
	WrapFS func(id proto.StoreID, disk *engine.CrashableFS) engine.FS
	// Disks, when not nil, are what the stores start from, instead of a new cluster.
	Disks []*engine.CrashableFS
}

// Cluster is a set of stores.
type Cluster struct {
	T   testing.TB
	Net *Network

	opts  Options
	nodes []*Node // store i+1; immutable
	ids   atomic.Uint64
	wg    sync.WaitGroup

	acks struct { // held for reading while an acknowledgement is noted, for writing during a crash
		sync.RWMutex
		crashes int
	}
}

// Node is one store, running or not.
type Node struct {
	ID proto.StoreID
	c  *Cluster

	mu      sync.Mutex
	disk    *engine.CrashableFS
	memDisk *engine.MemDisk
	engine  engine.Engine
	store   *raftstore.Store
	conn    *grpc.ClientConn
	server  *grpc.Server
	cancel  context.CancelFunc
	done    chan error // capacity 1
	fatal   []error
}

// New makes a cluster: store 1 has ranges 1 and 2, alone. All stores run.
func New(t testing.TB, o Options) *Cluster {
	c := &Cluster{T: t, Net: newNetwork(), opts: o}
	c.ids.Store(uint64(proto.FirstUserRange))
	ctx, cancel := context.WithCancel(context.Background())
	for i := range o.Stores {
		n := &Node{ID: proto.StoreID(i + 1), c: c, disk: engine.NewCrashableMemFS(), memDisk: engine.NewMemDisk()}
		if o.Disks != nil {
			n.disk = o.Disks[i]
		}
		c.nodes = append(c.nodes, n)
		c.Net.queues[n.ID] = make(chan []byte, queueMax)
	}
	for id, q := range c.Net.queues {
		c.wg.Add(1)
		go func() { defer c.wg.Done(); c.deliver(ctx, id, q) }()
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			_ = n.Stop() // a test that cares has stopped it
		}
		cancel()
		c.wg.Wait()
	})
	if o.Disks == nil {
		c.bootstrap()
	}
	for _, n := range c.nodes {
		n.Start()
	}
	return c
}

// Descriptors are those of ranges 1 and 2 at the beginning.
func Descriptors() []*internalpb.Descriptor {
	one := func(id proto.RangeID, start, end []byte) *internalpb.Descriptor {
		return &internalpb.Descriptor{
			RangeId: uint64(id), Start: start, End: end, Epoch: &internalpb.Epoch{Version: 1, Conf: 1},
			Replicas: []*internalpb.Replica{{StoreId: 1, ReplicaId: 1}}, NextReplicaId: 2,
		}
	}
	return []*internalpb.Descriptor{
		one(proto.SystemRange, nil, UserStart), one(proto.FirstUserRange, UserStart, nil),
	}
}

func (c *Cluster) bootstrap() {
	n := c.nodes[0]
	e, _, err := n.openEngine()
	if err != nil {
		c.T.Fatal(err)
	}
	var b storage.Batch
	for _, d := range Descriptors() {
		if err := replica.Bootstrap(&b, d, 0); err != nil {
			c.T.Fatal(err)
		}
	}
	if err := e.Commit(&b, true); err != nil {
		c.T.Fatal(err)
	}
	if err := e.Close(); err != nil {
		c.T.Fatal(err)
	}
}

// EngineOptions are small, so that files are flushed and compacted often.
func EngineOptions(fs engine.FS) engine.Options {
	return engine.Options{FS: fs, CacheBytes: 1 << 20, MemTableBytes: 256 << 10}
}

func (n *Node) openEngine() (engine.Engine, engine.FS, error) {
	var fs engine.FS = n.disk
	if n.c.opts.WrapFS != nil {
		fs = n.c.opts.WrapFS(n.ID, n.disk)
	}
	if n.c.opts.Mem {
		e, err := engine.OpenMem(n.memDisk, EngineOptions(fs))
		return e, fs, err
	}
	o := EngineOptions(fs)
	if n.c.opts.Engine != nil {
		n.c.opts.Engine(&o)
	}
	e, err := engine.OpenPebble(Dir, o)
	return e, fs, err
}

// Config is the test's config of a store: quick ticks, everything else small.
func Config(id proto.StoreID, e engine.Engine, fs engine.FS) raftstore.Config {
	cfg := raftstore.DefaultConfig()
	cfg.Store, cfg.Engine, cfg.FS, cfg.SnapshotDir = id, e, fs, "/incoming"
	cfg.TickInterval = 20 * time.Millisecond
	cfg.SplitInterval = 50 * time.Millisecond
	cfg.SplitBytes = 0
	cfg.SnapshotTableBytes = 1 << 16
	return cfg
}

// Start opens the store and runs it.
func (n *Node) Start() {
	n.c.T.Helper()
	if err := n.TryStart(); err != nil {
		n.c.T.Fatalf("start store %d: %v", n.ID, err)
	}
}

// TryStart opens the store and runs it.
func (n *Node) TryStart() error {
	e, fs, err := n.openEngine()
	if err != nil {
		return err
	}
	cfg := Config(n.ID, e, fs)
	cfg.Transport = &endpoint{n.c, n.ID}
	cfg.AllocateRange = func(context.Context) (proto.RangeID, error) { return proto.RangeID(n.c.ids.Add(1)), nil }
	cfg.OnFatal = func(err error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.fatal = append(n.fatal, err)
	}
	if n.c.opts.Config != nil {
		n.c.opts.Config(&cfg)
	}
	s, err := raftstore.Open(cfg)
	if err != nil {
		_ = e.Close()
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }() // ended by Stop
	n.mu.Lock()
	defer n.mu.Unlock()
	n.engine, n.store, n.cancel, n.done = e, s, cancel, done
	return n.serveLocked(s)
}

// serveLocked takes range snapshots from other stores.
func (n *Node) serveLocked(s *raftstore.Store) error {
	l := bufconn.Listen(1 << 20)
	n.server = grpc.NewServer()
	internalpb.RegisterRaftServer(n.server, &raftServer{store: s})
	server := n.server
	go func() { _ = server.Serve(l) }() // ended by Stop, which closes the server
	var err error
	n.conn, err = grpc.NewClient("passthrough:///store", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	return err
}

type raftServer struct {
	internalpb.UnimplementedRaftServer
	store *raftstore.Store
}

func (r *raftServer) Snapshot(stream internalpb.Raft_SnapshotServer) error {
	return r.store.ReceiveSnapshot(stream)
}

// Stop ends the store in order, if it runs, and returns what Run returned.
func (n *Node) Stop() error {
	n.mu.Lock()
	if n.store == nil {
		n.mu.Unlock()
		return nil
	}
	e, cancel, done, server, conn := n.engine, n.cancel, n.done, n.server, n.conn
	n.store, n.engine, n.conn = nil, nil, nil
	n.mu.Unlock()
	cancel()
	err := <-done
	_ = conn.Close()
	server.Stop()
	_ = e.Close() // a failed engine says so again
	return err
}

// Store is the running store, or nil.
func (n *Node) Store() *raftstore.Store {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.store
}

// Engine is the engine of the running store, or nil.
func (n *Node) Engine() engine.Engine {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.engine
}

// Disk is the store's file system.
func (n *Node) Disk() *engine.CrashableFS {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.disk
}

// SetDisk gives a store that does not run another file system.
func (n *Node) SetDisk(d *engine.CrashableFS) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.disk = d
}

// Fatal is what OnFatal was called with.
func (n *Node) Fatal() []error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]error(nil), n.fatal...)
}

func (n *Node) dial() *grpc.ClientConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conn
}

// Node is store id.
func (c *Cluster) Node(id proto.StoreID) *Node { return c.nodes[id-1] }

// Nodes are all stores.
func (c *Cluster) Nodes() []*Node { return c.nodes }

// Crash cuts the power of stores at about the same moment and leaves them down, with the disks that this leaves. What
// was acknowledged before is on those disks, or on enough of the others.
func (c *Cluster) Crash(ids ...proto.StoreID) {
	c.acks.Lock()
	for _, id := range ids {
		c.Net.Isolate(id, true)
	}
	disks := make([]*engine.CrashableFS, len(ids))
	for i, id := range ids {
		disks[i] = c.Node(id).Disk().CrashClone()
		if c.opts.Mem {
			c.Node(id).memDisk.Crash(0)
		}
	}
	c.acks.crashes++
	c.acks.Unlock()
	for i, id := range ids {
		_ = c.Node(id).Stop() // what a store without power says does not count
		c.Node(id).SetDisk(disks[i])
	}
	for _, id := range ids {
		c.Net.Isolate(id, false)
	}
}

// Wait polls until ok, or fails the test.
func (c *Cluster) Wait(what string, ok func() bool) {
	c.T.Helper()
	Wait(c.T, what, ok)
}

// waitMax is how long Wait waits.
const waitMax = 30 * time.Second

// Wait polls until ok, or fails the test.
func Wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(waitMax)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long: %s", what)
		}
		<-tick.C
	}
}

// WaitNil polls until f returns nil, or fails the test with the last error.
func (c *Cluster) WaitNil(what string, f func() error) {
	c.T.Helper()
	deadline := time.Now().Add(waitMax)
	Wait(c.T, what, func() bool {
		err := f()
		if err != nil && time.Now().After(deadline.Add(-time.Second)) {
			c.T.Fatalf("%s: %v", what, err)
		}
		return err == nil
	})
}
