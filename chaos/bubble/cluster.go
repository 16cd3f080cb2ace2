package bubble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vipkv/vipkv/encryption"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/kv/node"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/raftstore/engine"
)

const (
	clientPort, peerPort, httpPort = 1, 2, 3
	// clientsAddr is the host that all clients are on.
	clientsAddr = "127.0.1.1"
	dataDir     = "/data"
	startWithin = 10 * time.Minute // of virtual time
	pollEvery   = 100 * time.Millisecond
)

// Options of a Cluster.
type Options struct {
	// Dir is a real directory for the keyfile and the admin credential. Required.
	Dir string
	// Seed is of the network's delays. Everything else is not reproducible anyway.
	Seed uint64
	// Tune changes the nodes' tunables.
	Tune func(*node.Tunables)
	// Endpoints is how many nodes the clients are told of, when some are to be added later. Default: those that there are.
	Endpoints int
	// Plain disks in memory do not know what was synced: a sync costs nothing then. For scenarios without power losses.
	Plain bool
	// WrapFS, when set, gives a node's file system each time that the node starts.
	WrapFS func(n int, fs engine.FS) engine.FS
	// Log takes the nodes' logs. Default: nothing.
	Log io.Writer
}

// Cluster is a few nodes in this process. It is for one goroutine; the clients that it gives are for any.
type Cluster struct {
	Net *Network

	opts    Options
	clients *Host
	members []*member
	ghosts  []*life // of nodes that lost power, until Close
	open    []*client.Client
	admin   *client.Client
}

// member is the place of one node; they count from 1.
type member struct {
	addr  string
	host  *Host // nil after a loss of power
	disk  engine.FS
	alive *life // nil: it does not run
}

// life is one run of a node.
type life struct {
	cancel context.CancelFunc
	done   chan error // of node.Run, capacity 1
}

// New starts a cluster of nodes, the first alone and the others joining it, and waits until it is healthy.
func New(ctx context.Context, nodes int, o Options) (*Cluster, error) {
	if o.Log == nil {
		o.Log = io.Discard
	}
	c := &Cluster{Net: NewNetwork(o.Seed), opts: o}
	c.clients = c.Net.Up(clientsAddr)
	if err := encryption.CreateKeyfile(c.keyfile()); err != nil {
		return nil, err
	}
	for range nodes {
		if _, err := c.Add(); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	if err := c.WaitHealthy(ctx, nodes); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) keyfile() string { return filepath.Join(c.opts.Dir, "keyfile") }

func (c *Cluster) adminFile() string { return filepath.Join(c.opts.Dir, "admin.credential") }

func addrOf(n int) string { return fmt.Sprintf("127.0.0.%d", n) }

// Addr is the host of a node.
func (c *Cluster) Addr(n int) string { return c.members[n-1].addr }

// Clients is the address of the host that all clients are on.
func (c *Cluster) Clients() string { return clientsAddr }

// Len is how many nodes there have been.
func (c *Cluster) Len() int { return len(c.members) }

// Add starts one more node with an empty disk and returns its place.
func (c *Cluster) Add() (int, error) {
	n := len(c.members) + 1
	c.members = append(c.members, &member{addr: addrOf(n), disk: c.emptyDisk()})
	return n, c.Start(n)
}

func (c *Cluster) emptyDisk() engine.FS {
	if c.opts.Plain {
		return engine.MemFS()
	}
	return engine.NewCrashableMemFS()
}

// Start starts a node that does not run, and waits until it serves.
func (c *Cluster) Start(n int) error {
	m := c.members[n-1]
	if m.alive != nil {
		return fmt.Errorf("node %d runs already", n)
	}
	if m.host == nil {
		m.host = c.Net.Up(m.addr)
	}
	ready := make(chan node.Addresses, 1)
	cfg := c.config(n)
	cfg.Ready = func(a node.Addresses) { ready <- a }
	ctx, cancel := context.WithCancel(context.Background())
	l := &life{cancel: cancel, done: make(chan error, 1)}
	go func() { l.done <- node.Run(ctx, cfg) }() // ends by cancel; Stop or Close waits for it
	t := time.NewTimer(startWithin)
	defer t.Stop()
	select {
	case <-ready:
		m.alive = l
		return nil
	case err := <-l.done:
		cancel()
		return fmt.Errorf("node %d: %w", n, err)
	case <-t.C:
		cancel()
		return fmt.Errorf("node %d does not serve after %v: %w", n, startWithin, <-l.done)
	}
}

func (c *Cluster) config(n int) node.Config {
	m := c.members[n-1]
	at := func(port int) string { return fmt.Sprintf("%s:%d", m.addr, port) }
	cfg := node.Config{
		DataDir: dataDir, Keyfile: c.keyfile(), Version: "bubble", Net: m.host, FS: m.disk,
		Listen: at(clientPort), ListenPeer: at(peerPort), ListenHTTP: at(httpPort),
		Logger:   slog.New(slog.NewTextHandler(c.opts.Log, nil)).With("node", n),
		Tunables: node.DefaultTunables(),
	}
	cfg.CacheBytes = 8 << 20
	if c.opts.Tune != nil {
		c.opts.Tune(&cfg.Tunables)
	}
	if c.opts.WrapFS != nil {
		cfg.FS = c.opts.WrapFS(n, m.disk)
	}
	if n == 1 {
		cfg.AdminCredentialOut = c.adminFile()
	}
	for _, other := range c.members {
		if n > 1 && other != m {
			cfg.Join = append(cfg.Join, fmt.Sprintf("%s:%d", other.addr, peerPort))
		}
	}
	return cfg
}

// Stop ends a node as an operator does, and waits for its end.
func (c *Cluster) Stop(n int) error {
	m := c.members[n-1]
	l := m.alive
	m.alive = nil
	l.cancel()
	if err := <-l.done; err != nil {
		return fmt.Errorf("node %d ended with: %w", n, err)
	}
	return nil
}

// PowerLoss takes a node's power: it is off the network at once, and its disk holds what was synced (I1). What is left
// of it ends by itself and reaches nobody.
func (c *Cluster) PowerLoss(n int) {
	m := c.members[n-1]
	disk, ok := m.disk.(*engine.CrashableFS)
	if !ok {
		panic("bubble: a power loss of a plain disk")
	}
	m.host.PowerLoss()
	m.host = nil
	m.disk = disk.CrashClone()
	if m.alive != nil {
		m.alive.cancel()
		c.ghosts = append(c.ghosts, m.alive)
		m.alive = nil
	}
}

// Wipe empties the disk of a node that does not run.
func (c *Cluster) Wipe(n int) { c.members[n-1].disk = c.emptyDisk() }

// Disk is a node's file system.
func (c *Cluster) Disk(n int) engine.FS { return c.members[n-1].disk }

// Running tells whether a node runs.
func (c *Cluster) Running(n int) bool { return c.members[n-1].alive != nil }

// Isolate cuts all links of a node, both ways, and leaves those of clients when they are spared.
func (c *Cluster) Isolate(n int, spareClients bool) {
	for _, other := range c.members {
		if other != c.members[n-1] {
			c.Net.Cut(c.Addr(n), other.addr)
			c.Net.Cut(other.addr, c.Addr(n))
		}
	}
	if !spareClients {
		c.Net.Cut(c.Addr(n), clientsAddr)
		c.Net.Cut(clientsAddr, c.Addr(n))
	}
}

// Close ends all clients and nodes and waits for their ends. Nodes that end with an error are reported.
func (c *Cluster) Close() error {
	var errs []error
	for _, cl := range c.open {
		errs = append(errs, cl.Close())
	}
	c.open = nil
	for n := range c.members {
		if c.Running(n + 1) {
			errs = append(errs, c.Stop(n+1))
		}
	}
	for _, g := range c.ghosts {
		<-g.done // with whatever error: its world is gone
	}
	return errors.Join(errs...)
}

// Open makes a client with a credential that knows all nodes.
func (c *Cluster) Open(credential string) (*client.Client, error) {
	var endpoints []string
	for n := range max(c.opts.Endpoints, len(c.members)) {
		endpoints = append(endpoints, fmt.Sprintf("%s:%d", addrOf(n+1), clientPort))
	}
	cl, err := client.Open(context.Background(), client.Options{
		Endpoints: endpoints, Credential: credential, Dial: c.clients.Dial})
	if err == nil {
		c.open = append(c.open, cl)
	}
	return cl, err
}

// Admin is a client with the admin credential.
func (c *Cluster) Admin(ctx context.Context) (*client.Admin, error) {
	if c.admin != nil {
		return c.admin.Admin(), nil
	}
	var secret []byte
	err := waitFor(ctx, "the admin credential", func() (err error) {
		secret, err = os.ReadFile(c.adminFile())
		return err
	})
	if err != nil {
		return nil, err
	}
	if c.admin, err = c.Open(strings.TrimSpace(string(secret))); err != nil {
		return nil, err
	}
	return c.admin.Admin(), nil
}

// Tenant makes a tenant and returns a client of it.
func (c *Cluster) Tenant(ctx context.Context, name string) (*client.Client, error) {
	a, err := c.Admin(ctx)
	if err != nil {
		return nil, err
	}
	_, credential, err := a.CreateTenant(ctx, name)
	if err != nil {
		return nil, err
	}
	return c.Open(credential)
}

// Status is what the cluster says of itself.
func (c *Cluster) Status(ctx context.Context) (*vipkvpb.StatusResponse, error) {
	a, err := c.Admin(ctx)
	if err != nil {
		return nil, err
	}
	return a.Status(ctx)
}

// WaitHealthy waits until so many nodes are live and each range has a leader and all its replicas.
func (c *Cluster) WaitHealthy(ctx context.Context, live int) error {
	return waitFor(ctx, "a healthy cluster", func() error {
		st, err := c.Status(ctx)
		if err != nil {
			return err
		}
		have := 0
		for _, n := range st.Nodes {
			if n.State == "live" {
				have++
			}
		}
		if have != live || st.Ranges == 0 || st.UnderReplicated > 0 || st.WithoutLeader > 0 {
			return fmt.Errorf("%d of %d nodes live, %v", have, live, st)
		}
		return nil
	})
}

// Ranges lists all ranges.
func (c *Cluster) Ranges(ctx context.Context) ([]*vipkvpb.RangeInfo, error) {
	a, err := c.Admin(ctx)
	if err != nil {
		return nil, err
	}
	ranges, _, err := a.ListRanges(ctx, nil, 0)
	return ranges, err
}

// Leader waits until every range is led and returns the node that leads the last one, where tenants' data is.
func (c *Cluster) Leader(ctx context.Context) (n int, err error) {
	err = waitFor(ctx, "a leader", func() error {
		ranges, err := c.Ranges(ctx)
		if err != nil {
			return err
		}
		if n = int(ranges[len(ranges)-1].LeaderStore); n == 0 || !c.Running(n) {
			return fmt.Errorf("none, or one that does not run: store %d", n)
		}
		return nil
	})
	return n, err
}

// waitFor asks until there is no error, for some minutes of virtual time.
func waitFor(ctx context.Context, what string, ok func() error) error {
	until := time.Now().Add(startWithin)
	for {
		err := ok()
		if err == nil {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s: not after %v: %w", what, startWithin, err)
		}
		if werr := wait(ctx, pollEvery); werr != nil {
			return fmt.Errorf("%s: %w: %w", what, werr, err)
		}
	}
}
