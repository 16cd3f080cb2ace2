package transport

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// Config of a Transport.
type Config struct {
	// Dial returns the connection to a store's node. It does not block; the connection is the dialer's.
	Dial func(proto.StoreID) (grpc.ClientConnInterface, error)
	// QueueMessages and QueueBytes bound what waits for one peer. Default 4,096 and 64 MiB.
	QueueMessages int
	QueueBytes    int64
	// BatchBytes is about how much goes into one message on the stream. Default 1 MiB.
	BatchBytes int64
	// RetryInterval is the pause after a stream broke. Default 100 ms.
	RetryInterval time.Duration
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{QueueMessages: 4096, QueueBytes: 64 << 20, BatchBytes: 1 << 20, RetryInterval: 100 * time.Millisecond}
}

// Transport implements raftstore.Transport.
type Transport struct {
	cfg Config

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before
	peers   map[proto.StoreID]*peer
	wg      sync.WaitGroup
	dropped atomic.Uint64
}

type peer struct {
	t     *Transport
	id    proto.StoreID
	queue chan *internalpb.RaftMessage
	bytes atomic.Int64
}

// New returns a transport; messages are queued until Run.
func New(cfg Config) *Transport {
	return &Transport{cfg: cfg, peers: map[proto.StoreID]*peer{}}
}

// Run sends until ctx ends.
func (t *Transport) Run(ctx context.Context) error {
	t.mu.Lock()
	t.ctx = ctx
	for _, p := range t.peers {
		t.start(p)
	}
	t.mu.Unlock()
	<-ctx.Done()
	t.wg.Wait()
	return nil
}

// start runs a peer's goroutine; mu is held.
func (t *Transport) start(p *peer) {
	ctx := t.ctx
	t.wg.Add(1)
	go func() { // ends with Run's context, which waits for it
		defer t.wg.Done()
		p.run(ctx)
	}()
}

// Send implements raftstore.Transport.
func (t *Transport) Send(m *internalpb.RaftMessage) {
	p := t.peer(proto.StoreID(m.ToStore))
	if p == nil {
		return
	}
	size := int64(len(m.Message) + 64)
	if p.bytes.Add(size) > t.cfg.QueueBytes {
		p.bytes.Add(-size)
		t.dropped.Add(1)
		return
	}
	select {
	case p.queue <- m:
	default:
		p.bytes.Add(-size)
		t.dropped.Add(1)
	}
}

// Dropped counts messages that found no room.
func (t *Transport) Dropped() uint64 { return t.dropped.Load() }

func (t *Transport) peer(id proto.StoreID) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[id]
	if p == nil && (t.ctx == nil || t.ctx.Err() == nil) {
		p = &peer{t: t, id: id, queue: make(chan *internalpb.RaftMessage, t.cfg.QueueMessages)}
		t.peers[id] = p
		if t.ctx != nil {
			t.start(p)
		}
	}
	return p
}

// run keeps a stream to the peer and sends what is queued.
func (p *peer) run(ctx context.Context) {
	for ctx.Err() == nil {
		p.stream(ctx)
		p.drain()
		timer := time.NewTimer(p.t.cfg.RetryInterval)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// drain drops what is queued: it is old by the time a broken stream is back, and raft sends anew.
func (p *peer) drain() {
	for {
		select {
		case m := <-p.queue:
			p.bytes.Add(-int64(len(m.Message) + 64))
			p.t.dropped.Add(1)
		default:
			return
		}
	}
}

// stream sends until the stream breaks.
func (p *peer) stream(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := p.t.cfg.Dial(p.id)
	if err != nil {
		return
	}
	s, err := internalpb.NewRaftClient(conn).Messages(ctx)
	if err != nil {
		return
	}
	for {
		select {
		case <-s.Context().Done():
			return
		case m := <-p.queue:
			if err := s.Send(p.batch(m)); err != nil {
				return
			}
		}
	}
}

func (p *peer) batch(m *internalpb.RaftMessage) *internalpb.RaftBatch {
	b := &internalpb.RaftBatch{}
	size := int64(0)
	for {
		n := int64(len(m.Message) + 64)
		p.bytes.Add(-n)
		size += n
		b.Messages = append(b.Messages, m)
		if size >= p.t.cfg.BatchBytes {
			return b
		}
		select {
		case m = <-p.queue:
		default:
			return b
		}
	}
}

// Snapshot implements raftstore.Transport.
func (t *Transport) Snapshot(ctx context.Context, to proto.StoreID) (internalpb.Raft_SnapshotClient, error) {
	conn, err := t.cfg.Dial(to)
	if err != nil {
		return nil, fmt.Errorf("reach store %d: %w", to, err)
	}
	s, err := internalpb.NewRaftClient(conn).Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a snapshot stream to store %d: %w", to, err)
	}
	return s, nil
}
