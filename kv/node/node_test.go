package node_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vipkv/vipkv/encryption"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/kv/node"
)

// testNode is a node in this process.
type testNode struct {
	addrs  node.Addresses
	cancel context.CancelFunc
	done   chan error
}

func (n *testNode) stop(t *testing.T) {
	t.Helper()
	n.cancel()
	if err := <-n.done; err != nil {
		t.Errorf("node ended with: %v", err)
	}
}

func startNode(t *testing.T, dir string, i int, join ...string) *testNode {
	t.Helper()
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	n := &testNode{done: make(chan error, 1)}
	ready := make(chan node.Addresses, 1)
	cfg := node.Config{
		DataDir: filepath.Join(dir, fmt.Sprint("node", i)), Keyfile: filepath.Join(dir, "keyfile"),
		Listen: "127.0.0.1:0", ListenPeer: "127.0.0.1:0", ListenHTTP: "127.0.0.1:0", Join: join, Version: "test",
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("node", i),
		Ready:    func(a node.Addresses) { ready <- a },
		Tunables: node.DefaultTunables(),
	}
	if i == 1 {
		cfg.AdminCredentialOut = filepath.Join(dir, "admin.credential")
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() { n.done <- node.Run(ctx, cfg) }()
	select {
	case n.addrs = <-ready:
	case err := <-n.done:
		t.Fatalf("node %d: %v", i, err)
	case <-time.After(20 * time.Second):
		t.Fatalf("node %d is not ready", i)
	}
	return n
}

func wait(t *testing.T, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}

func TestThreeNodes(t *testing.T) {
	dir := t.TempDir()
	if err := encryption.CreateKeyfile(filepath.Join(dir, "keyfile")); err != nil {
		t.Fatal(err)
	}
	n1 := startNode(t, dir, 1)
	n2 := startNode(t, dir, 2, n1.addrs.Peer)
	n3 := startNode(t, dir, 3, n1.addrs.Peer)
	defer func() { n1.stop(t); n2.stop(t); n3.stop(t) }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var secret []byte
	wait(t, "admin credential", func() (err error) {
		secret, err = os.ReadFile(filepath.Join(dir, "admin.credential"))
		return err
	})
	endpoints := []string{n1.addrs.Client, n2.addrs.Client, n3.addrs.Client}
	admin, err := client.Open(ctx, client.Options{Endpoints: endpoints, Credential: strings.TrimSpace(string(secret))})
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	wait(t, "three replicas", func() error {
		st, err := admin.Admin().Status(ctx)
		if err != nil {
			return err
		}
		if len(st.Nodes) != 3 || st.UnderReplicated > 0 || st.WithoutLeader > 0 {
			return fmt.Errorf("%v", st)
		}
		return nil
	})
	_, cred, err := admin.Admin().CreateTenant(ctx, "acme")
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Open(ctx, client.Options{Endpoints: endpoints, Credential: cred})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Put(ctx, []byte("k"), []byte("v"), client.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := c.Get(ctx, []byte("k"))
	if err != nil || string(got.Value) != "v" {
		t.Fatalf("get: %v %v", got, err)
	}
}
