package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vipkv/vipkv/kv/client"
)

const (
	startWithin = 90 * time.Second // for a node to join, or a cluster to be healthy, on a busy machine
	pollEvery   = 100 * time.Millisecond
	// Ports are taken from below the range out of which the kernel draws those of outgoing connections, so that the port
	// of a node that is down stays free.
	portsFrom, portsTo = 12000, 30000
	portDraws          = 1000
)

// Options of a Cluster.
type Options struct {
	// Binary is the path of vipkv. Required.
	Binary string
	// Dir is where all files go; it exists. Required.
	Dir string
	// Nodes is how many there are at the start. Default 3.
	Nodes int
	// Set are tunables of all nodes, KEY=VALUE.
	Set []string
	// Env, when set, returns what is added to a node's environment.
	Env func(node int) []string
	// Site, when set, is asked once for each node where it is to be.
	Site func(node int) (Site, error)
}

// Site is where a node is when that is not loopback and the cluster's directory. Connections to it
// are plaintext.
type Site struct {
	IP   string // that it listens on
	Data string // directory of its data
	// Enter is called in the thread that is to start a process there: one of sandbox.InThread.
	Enter func() error
}

// node is one node's place; nodes count from 1.
type node struct {
	client, peer, http string // addresses
	site               *Site  // nil: here
	process            *Process
}

// Cluster is a running cluster of real processes on this machine. It is for one goroutine; the clients that it gives
// are for any.
type Cluster struct {
	opts   Options
	nodes  []*node
	admin  *client.Client
	known  int              // nodes that admin knows
	old    []*client.Client // to be closed at the end
	tenant map[string]*client.Client
}

// New makes and starts a cluster and waits until it is healthy. After an error there is nothing to close, and the logs
// are in the directory.
func New(ctx context.Context, o Options) (c *Cluster, err error) {
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	c = &Cluster{opts: o, tenant: map[string]*client.Client{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	out, err := exec.CommandContext(ctx, o.Binary, "keyfile", "create", c.Keyfile()).CombinedOutput()
	if err != nil {
		return c, fmt.Errorf("make the keyfile: %w: %s", err, out)
	}
	for n := 1; n <= o.Nodes; n++ {
		if _, err := c.AddNode(ctx); err != nil {
			return c, err
		}
	}
	return c, c.WaitHealthy(ctx, o.Nodes)
}

// Close kills all processes and ends the clients. The files stay.
func (c *Cluster) Close() error {
	var errs []error
	for _, n := range c.nodes {
		if n.process != nil {
			errs = append(errs, n.process.Kill())
		}
	}
	if c.admin != nil {
		errs = append(errs, c.admin.Close())
	}
	for _, cl := range c.old {
		errs = append(errs, cl.Close())
	}
	return errors.Join(errs...)
}

// Keyfile is the path of the cluster's keyfile.
func (c *Cluster) Keyfile() string { return filepath.Join(c.opts.Dir, "keyfile") }

// DataDir is the directory of a node's data.
func (c *Cluster) DataDir(n int) string {
	if s := c.nodes[n-1].site; s != nil {
		return s.Data
	}
	return filepath.Join(c.opts.Dir, fmt.Sprintf("node%d", n))
}

// Log is the path of what a node printed.
func (c *Cluster) Log(n int) string { return filepath.Join(c.opts.Dir, fmt.Sprintf("node%d.log", n)) }

// Len is how many nodes there have been.
func (c *Cluster) Len() int { return len(c.nodes) }

// Endpoint is a node's address for clients.
func (c *Cluster) Endpoint(n int) string { return c.nodes[n-1].client }

// HTTP is a node's address for metrics and health.
func (c *Cluster) HTTP(n int) string { return c.nodes[n-1].http }

// Peer is a node's address for nodes.
func (c *Cluster) Peer(n int) string { return c.nodes[n-1].peer }

// Endpoints are the addresses of all nodes for clients.
func (c *Cluster) Endpoints() (out []string) {
	for _, n := range c.nodes {
		out = append(out, n.client)
	}
	return out
}

// Process is a node's process, or nil before its first start.
func (c *Cluster) Process(n int) *Process { return c.nodes[n-1].process }

// Running tells whether a node's process runs.
func (c *Cluster) Running(n int) bool {
	p := c.nodes[n-1].process
	return p != nil && p.Running()
}

// Retune changes the tunables of nodes that start from now on.
func (c *Cluster) Retune(set ...string) { c.opts.Set = set }

// Args is the command line of a node.
func (c *Cluster) Args(n int) []string {
	at := c.nodes[n-1]
	args := []string{"start", "--data", c.DataDir(n), "--keyfile", c.Keyfile(),
		"--listen", at.client, "--listen-peer", at.peer, "--listen-http", at.http}
	var join []string
	for _, other := range c.nodes[:n-1] {
		join = append(join, other.peer)
	}
	if n == 1 {
		args = append(args, "--admin-credential-out", c.adminFile())
	} else {
		args = append(args, "--join", strings.Join(join, ","))
	}
	if at.site != nil {
		args = append(args, "--insecure-plaintext")
	}
	for _, s := range c.opts.Set {
		args = append(args, "--set", s)
	}
	return args
}

// AdminCredential is the cluster's admin credential.
func (c *Cluster) AdminCredential() (string, error) {
	b, err := os.ReadFile(c.adminFile())
	if err != nil {
		return "", fmt.Errorf("admin credential: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func (c *Cluster) adminFile() string { return filepath.Join(c.opts.Dir, "admin.credential") }

// Start starts a node that does not run.
func (c *Cluster) Start(n int) error {
	if c.Running(n) {
		return fmt.Errorf("node %d runs already", n)
	}
	var env []string
	if c.opts.Env != nil {
		env = c.opts.Env(n)
	}
	start := Start{Binary: c.opts.Binary, Args: c.Args(n), Env: env, Log: c.Log(n)}
	if s := c.nodes[n-1].site; s != nil {
		start.Enter = s.Enter
	}
	p, err := start.Process()
	if err != nil {
		return fmt.Errorf("node %d: %w", n, err)
	}
	c.nodes[n-1].process = p
	return nil
}

// AddNode starts one more node, waits until the cluster counts it as live, and returns its number, which is its id.
func (c *Cluster) AddNode(ctx context.Context) (int, error) {
	at, err := c.place(len(c.nodes) + 1)
	if err != nil {
		return 0, err
	}
	c.nodes = append(c.nodes, at)
	n := len(c.nodes)
	if err := c.Start(n); err != nil {
		return n, err
	}
	if n == 1 {
		if err := c.openAdmin(ctx); err != nil {
			return n, err
		}
	}
	return n, c.wait(ctx, fmt.Sprintf("node %d joins", n), func(s *Status) string {
		if !c.Running(n) {
			return fmt.Sprintf("node %d has ended", n)
		}
		if !s.Live(n) {
			return "it is not live"
		}
		return ""
	})
}

// place finds out where a new node is to be.
func (c *Cluster) place(n int) (*node, error) {
	if c.opts.Site == nil {
		addrs, err := FreeAddresses(3)
		if err != nil {
			return nil, err
		}
		return &node{client: addrs[0], peer: addrs[1], http: addrs[2]}, nil
	}
	s, err := c.opts.Site(n)
	if err != nil {
		return nil, fmt.Errorf("site of node %d: %w", n, err)
	}
	at := func(port int) string { return net.JoinHostPort(s.IP, strconv.Itoa(port)) }
	return &node{
		client: at(portsFrom), peer: at(portsFrom + 1), http: at(portsFrom + 2), site: &s,
	}, nil
}

// Open makes a client of this cluster.
func (c *Cluster) Open(ctx context.Context, credential string) (*client.Client, error) {
	return client.Open(ctx, client.Options{
		Endpoints: c.Endpoints(), Credential: credential, Insecure: c.opts.Site != nil,
	})
}

func (c *Cluster) openAdmin(ctx context.Context) error {
	until := time.Now().Add(startWithin)
	for {
		b, err := os.ReadFile(c.adminFile())
		if key := strings.TrimSpace(string(b)); err == nil && key != "" {
			c.admin, err = c.Open(ctx, key)
			c.known = len(c.nodes)
			return err
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("admin credential: %w", err)
		}
		if !c.Running(1) || time.Now().After(until) {
			return errors.New("node 1 made no cluster")
		}
		if err := pause(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// Kill ends a node by SIGKILL and waits for its end.
func (c *Cluster) Kill(n int) error {
	if err := c.nodes[n-1].process.Kill(); err != nil {
		return fmt.Errorf("kill node %d: %w", n, err)
	}
	return nil
}

// KillAll sends SIGKILL to all nodes, one right after the other, and waits for their ends.
func (c *Cluster) KillAll() error {
	for n := range c.nodes {
		if c.Running(n + 1) {
			if err := c.nodes[n].process.Signal(syscall.SIGKILL); err != nil {
				return err
			}
		}
	}
	var errs []error
	for n := range c.nodes {
		errs = append(errs, c.Kill(n+1))
	}
	return errors.Join(errs...)
}

// Pause stops a node by SIGSTOP: it holds its connections and answers nobody.
func (c *Cluster) Pause(n int) error {
	return c.nodes[n-1].process.Signal(syscall.SIGSTOP)
}

// Resume lets a paused node go on.
func (c *Cluster) Resume(n int) error {
	return c.nodes[n-1].process.Signal(syscall.SIGCONT)
}

// WipeData removes the data of a node that does not run.
func (c *Cluster) WipeData(n int) error {
	if c.Running(n) {
		return fmt.Errorf("node %d runs: its data is not removed", n)
	}
	return os.RemoveAll(c.DataDir(n))
}

// WriteLogs writes the last bytes of all logs, at most size of each.
func (c *Cluster) WriteLogs(w io.Writer, size int64) error {
	for n := 1; n <= len(c.nodes); n++ {
		tail, err := Tail(c.Log(n), size)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "--- node %d\n%s\n", n, tail); err != nil {
			return err
		}
	}
	return nil
}

// Tail returns the last bytes of a file, at most size.
func Tail(file string, size int64) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	return string(b[max(0, int64(len(b))-size):]), nil
}

// FreeAddresses finds n addresses on loopback that nothing listens on now.
func FreeAddresses(n int) (addrs []string, err error) {
	var open []net.Listener
	defer func() {
		for _, l := range open {
			err = errors.Join(err, l.Close())
		}
	}()
	for draws := 0; len(addrs) < n; draws++ {
		if draws == portDraws {
			return nil, errors.New("no free ports")
		}
		a := fmt.Sprintf("127.0.0.1:%d", portsFrom+rand.IntN(portsTo-portsFrom))
		if l, err := net.Listen("tcp", a); err == nil {
			open, addrs = append(open, l), append(addrs, a)
		}
	}
	return addrs, nil
}

// pause waits d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
