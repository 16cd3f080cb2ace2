package transport_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/transport"
)

// peer is a node that notes what it gets.
type peer struct {
	internalpb.UnimplementedRaftServer
	gate   sync.Mutex // held: it reads nothing
	rounds int

	mu  sync.Mutex
	got []uint64 // range ids
}

func (p *peer) Messages(s internalpb.Raft_MessagesServer) error {
	for {
		p.gate.Lock()
		p.rounds++
		p.gate.Unlock()
		b, err := s.Recv()
		if err != nil {
			return err
		}
		p.mu.Lock()
		for _, m := range b.Messages {
			p.got = append(p.got, m.RangeId)
		}
		p.mu.Unlock()
	}
}

func (p *peer) Snapshot(s internalpb.Raft_SnapshotServer) error {
	if _, err := s.Recv(); err != nil {
		return err
	}
	return s.Send(&internalpb.SnapshotResponse{Reason: "no"})
}

func (p *peer) seen() []uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]uint64(nil), p.got...)
}

// serve starts a peer on an address; the function that it returns stops it.
func serve(t *testing.T, p *peer, address string) (string, func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	internalpb.RegisterRaftServer(s, p)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	stop := sync.OnceFunc(func() { s.Stop(); <-done })
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

func dialer(t *testing.T, address string) func(proto.StoreID) (grpc.ClientConnInterface, error) {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return func(id proto.StoreID) (grpc.ClientConnInterface, error) {
		if id != 2 {
			return nil, errors.New("unknown store")
		}
		return conn, nil
	}
}

func run(t *testing.T, cfg transport.Config) *transport.Transport {
	t.Helper()
	tr := transport.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return tr
}

func message(id uint64, size int) *internalpb.RaftMessage {
	return &internalpb.RaftMessage{RangeId: id, ToStore: 2, Message: make([]byte, size)}
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long: %s", what)
		}
		<-tick.C
	}
}

// Messages arrive in the order in which they were sent, also those from before Run.
func TestOrder(t *testing.T) {
	p := &peer{}
	address, _ := serve(t, p, "127.0.0.1:0")
	cfg := transport.DefaultConfig()
	cfg.Dial, cfg.BatchBytes = dialer(t, address), 1000
	tr := transport.New(cfg)
	tr.Send(message(1, 10))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	const n = 3000
	for i := uint64(2); i <= n; i++ {
		tr.Send(message(i, 100))
	}
	tr.Send(&internalpb.RaftMessage{RangeId: 99, ToStore: 3}) // nobody knows that store
	wait(t, "all messages", func() bool { return len(p.seen()) == n })
	for i, id := range p.seen() {
		if id != uint64(i+1) {
			t.Fatalf("message %d came at place %d", id, i)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A peer that restarts gets what is sent after it is back; nobody has to do anything.
func TestReconnect(t *testing.T) {
	p := &peer{}
	address, stop := serve(t, p, "127.0.0.1:0")
	cfg := transport.DefaultConfig()
	cfg.Dial, cfg.RetryInterval = dialer(t, address), 5*time.Millisecond
	tr := run(t, cfg)
	tr.Send(message(1, 10))
	wait(t, "the first message", func() bool { return len(p.seen()) == 1 })
	for round := uint64(2); round < 5; round++ {
		stop()
		tr.Send(message(1000+round, 10)) // may be lost
		p = &peer{}
		_, stop = serve(t, p, address)
		wait(t, "a message after the restart", func() bool {
			tr.Send(message(round, 10))
			return len(p.seen()) > 0
		})
	}
}

// A peer that does not read costs bounded memory and no time: what finds no room is dropped, and others go on.
func TestDropsWhenFull(t *testing.T) {
	for _, c := range []struct {
		name        string
		queue, size int
		bytes       int64
	}{
		{"messages", 64, 1 << 16, 1 << 40},
		{"bytes", 1 << 16, 1 << 16, 1 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &peer{}
			p.gate.Lock()
			open := sync.OnceFunc(p.gate.Unlock)
			defer open()
			address, _ := serve(t, p, "127.0.0.1:0")
			cfg := transport.DefaultConfig()
			cfg.Dial, cfg.QueueMessages, cfg.QueueBytes, cfg.BatchBytes = dialer(t, address), c.queue, c.bytes, 1<<16
			tr := run(t, cfg)
			const n = 500
			for i := uint64(1); i <= n; i++ {
				tr.Send(message(i, c.size))
			}
			wait(t, "messages are dropped", func() bool {
				tr.Send(message(n+1, c.size))
				return tr.Dropped() > 0
			})
			open()
			wait(t, "what was queued arrives, and what is sent now", func() bool {
				tr.Send(message(n+2, c.size))
				seen := p.seen()
				return len(seen) > 0 && seen[len(seen)-1] == n+2
			})
			last := uint64(0)
			for _, id := range p.seen() {
				if id < last {
					t.Fatalf("%d came after %d", id, last)
				}
				last = id
			}
		})
	}
}

// Run ends although a peer does not read; later messages go nowhere.
func TestRunEnds(t *testing.T) {
	p := &peer{}
	p.gate.Lock()
	defer p.gate.Unlock()
	address, _ := serve(t, p, "127.0.0.1:0")
	cfg := transport.DefaultConfig()
	cfg.Dial = dialer(t, address)
	tr := transport.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	for i := range uint64(200) {
		tr.Send(message(i, 1<<16))
	}
	cancel()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("run did not end")
	}
	for i := range uint64(10_000) {
		tr.Send(message(i, 1<<10))
	}
	if tr.Dropped() == 0 {
		t.Fatal("messages are kept for nobody")
	}
}

// A stream for a range snapshot reaches the peer; one to an unknown store is an error.
func TestSnapshotStream(t *testing.T) {
	address, _ := serve(t, &peer{}, "127.0.0.1:0")
	cfg := transport.DefaultConfig()
	cfg.Dial = dialer(t, address)
	tr := transport.New(cfg)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := tr.Snapshot(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&internalpb.SnapshotChunk{}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Recv(); err != nil || r.Reason != "no" {
		t.Fatalf("%v, %v", r, err)
	}
	if _, err := tr.Snapshot(ctx, 3); err == nil {
		t.Fatal("a stream to nowhere")
	}
}
