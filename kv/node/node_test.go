package node_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vipkv/vipkv/encryption"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/kv/node"
)

// cluster is a few nodes in this process, with real listeners on loopback and real files.
type cluster struct {
	t     *testing.T
	dir   string // of the stores; the keyfile lies beside it
	home  string
	nodes []*testNode
	admin *client.Client
}

type testNode struct {
	addrs  node.Addresses // of its first start: later ones use the same ports
	cancel context.CancelFunc
	done   chan error
}

// newCluster starts n nodes and returns when they are one cluster.
func newCluster(t *testing.T, n int) *cluster {
	t.Helper()
	home := t.TempDir()
	c := &cluster{t: t, home: home, dir: filepath.Join(home, "data")}
	if err := encryption.CreateKeyfile(filepath.Join(home, "keyfile")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stopAll)
	for i := 1; i <= n; i++ {
		c.start(i)
	}
	var secret []byte
	c.wait("the admin credential", func() (err error) {
		secret, err = os.ReadFile(filepath.Join(home, "admin.credential"))
		return err
	})
	c.admin = c.open(strings.TrimSpace(string(secret)))
	c.waitReplicated()
	return c
}

func (c *cluster) data(i int) string { return filepath.Join(c.dir, fmt.Sprint("node", i+1)) }

// start starts node i, counted from 1, for the first time or again.
func (c *cluster) start(i int) {
	c.t.Helper()
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	cfg := node.Config{
		DataDir: c.data(i - 1), Keyfile: filepath.Join(c.home, "keyfile"), Version: "test",
		Listen: "127.0.0.1:0", ListenPeer: "127.0.0.1:0", ListenHTTP: "127.0.0.1:0",
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("node", i),
		Tunables: node.DefaultTunables(),
	}
	ready := make(chan node.Addresses, 1)
	cfg.Ready = func(a node.Addresses) { ready <- a }
	switch {
	case i <= len(c.nodes):
		old := c.nodes[i-1].addrs
		cfg.Listen, cfg.ListenPeer, cfg.ListenHTTP = old.Client, old.Peer, old.HTTP
	case i > 1:
		cfg.Join = []string{c.nodes[0].addrs.Peer}
	}
	if i == 1 {
		cfg.AdminCredentialOut = filepath.Join(c.home, "admin.credential")
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &testNode{cancel: cancel, done: make(chan error, 1)}
	go func() { n.done <- node.Run(ctx, cfg) }()
	select {
	case n.addrs = <-ready:
	case err := <-n.done:
		c.t.Fatalf("node %d: %v", i, err)
	case <-time.After(time.Minute):
		c.t.Fatalf("node %d is not ready", i)
	}
	if i <= len(c.nodes) {
		c.nodes[i-1] = n
	} else {
		c.nodes = append(c.nodes, n)
	}
}

// stopAll stops all nodes that run.
func (c *cluster) stopAll() {
	for i, n := range c.nodes {
		if n.cancel == nil {
			continue
		}
		n.cancel()
		n.cancel = nil
		if err := <-n.done; err != nil {
			c.t.Errorf("node %d ended with: %v", i+1, err)
		}
	}
}

func (c *cluster) endpoints() (out []string) {
	for _, n := range c.nodes {
		out = append(out, n.addrs.Client)
	}
	return out
}

func (c *cluster) open(credential string) *client.Client {
	c.t.Helper()
	cl, err := client.Open(context.Background(), client.Options{
		Endpoints: c.endpoints(), Credential: credential, Timeout: 30 * time.Second})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := cl.Close(); err != nil {
			c.t.Error(err)
		}
	})
	return cl
}

// tenant makes a tenant and returns a client with its credential.
func (c *cluster) tenant(name string) *client.Client {
	c.t.Helper()
	_, credential, err := c.admin.Admin().CreateTenant(context.Background(), name)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.open(credential)
}

func (c *cluster) tenantID(name string) uint32 {
	c.t.Helper()
	t, err := c.admin.Admin().GetTenant(context.Background(), name)
	if err != nil {
		c.t.Fatal(err)
	}
	return t.Id
}

func (c *cluster) wait(what string, ok func() error) {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}

// waitReplicated waits until every node is live and every range has the replicas it wants.
func (c *cluster) waitReplicated() {
	c.t.Helper()
	c.wait("replicas", func() error {
		st, err := c.admin.Admin().Status(context.Background())
		if err != nil {
			return err
		}
		live := 0
		for _, n := range st.Nodes {
			if n.State == "live" {
				live++
			}
		}
		if live != len(c.nodes) || st.UnderReplicated > 0 || st.WithoutLeader > 0 {
			return fmt.Errorf("%v", st)
		}
		return nil
	})
}

// Three nodes become one cluster by themselves; what was written survives that all of them stop.
func TestThreeNodes(t *testing.T) {
	c := newCluster(t, 3)
	ctx := context.Background()
	acme := c.tenant("acme")
	if _, err := acme.Put(ctx, []byte("k"), []byte("v"), client.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	c.stopAll()
	for i := range 3 {
		c.start(i + 1)
	}
	c.waitReplicated()
	got, err := acme.Get(ctx, []byte("k"))
	if err != nil || string(got.Value) != "v" {
		t.Fatalf("get: %v %v", got, err)
	}
}

// The package example of the SDK is true: it runs as it is on a real cluster.
func TestClientExample(t *testing.T) {
	c := newCluster(t, 3)
	_, credential, err := c.admin.Admin().CreateTenant(context.Background(), "example")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-count=1", "-run", "TestExampleUsage", "../client")
	cmd.Env = append(os.Environ(), "VIPKV_ENDPOINTS="+strings.Join(c.endpoints(), ","), "VIPKV_CREDENTIAL="+credential)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// A write that was carried out and whose answer was lost is answered from its record when it is
// sent again with the same request id, through another node, after the leader has gone.
func TestRetryThroughAnotherNode(t *testing.T) {
	c := newCluster(t, 3)
	ctx := context.Background()
	acme := c.tenant("acme")
	id, appendID := client.NewRequestID(), client.NewRequestID()
	first, err := acme.Put(ctx, []byte("k"), []byte("v"), client.PutOptions{IfAbsent: true, RequestID: &id})
	if err != nil {
		t.Fatal(err)
	}
	records := []client.Record{{ClientID: "m1", Body: []byte("hello")}}
	appended, err := acme.Append(ctx, "talk", records, client.AppendOptions{RequestID: &appendID})
	if err != nil {
		t.Fatal(err)
	}
	ranges, _, err := c.admin.Admin().ListRanges(ctx, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	leader := int(ranges[len(ranges)-1].LeaderStore) // stores are numbered as nodes are
	c.nodes[leader-1].cancel()
	if err := <-c.nodes[leader-1].done; err != nil {
		t.Fatal(err)
	}
	c.nodes[leader-1].cancel = nil
	again, err := acme.Put(ctx, []byte("k"), []byte("v"), client.PutOptions{IfAbsent: true, RequestID: &id})
	if err != nil || !again.Duplicate || again.Version != first.Version {
		t.Fatalf("second put: %+v, %v; the first was %+v", again, err, first)
	}
	second, err := acme.Append(ctx, "talk", records, client.AppendOptions{RequestID: &appendID})
	if err != nil || !second.Duplicate || second.FirstSeq != appended.FirstSeq {
		t.Fatalf("second append: %+v, %v; the first was %+v", second, err, appended)
	}
	third, err := acme.Append(ctx, "talk", records, client.AppendOptions{}) // another request, the same client id
	if err != nil || !third.Duplicate || third.FirstSeq != appended.FirstSeq {
		t.Fatalf("append with the same client id: %+v, %v", third, err)
	}
	page, err := acme.Latest(ctx, "talk", 10)
	if err != nil || len(page) != 1 {
		t.Fatalf("the stream holds %v, %v", page, err)
	}
}
