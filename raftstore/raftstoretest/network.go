package raftstoretest

import (
	"context"
	"errors"
	"sync"

	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// queueMax is how many messages wait for one store; more are dropped.
const queueMax = 8192

var errCut = errors.New("the network is cut")

// Network carries messages between the stores of a cluster. Links are one-way.
type Network struct {
	mu     sync.Mutex
	cut    map[link]bool
	filter func(*internalpb.RaftMessage) bool // false: drop
	queues map[proto.StoreID]chan []byte
}

type link struct{ from, to proto.StoreID }

func newNetwork() *Network {
	return &Network{cut: map[link]bool{}, queues: map[proto.StoreID]chan []byte{}}
}

// Cut cuts or mends the way from one store to another.
func (n *Network) Cut(from, to proto.StoreID, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[link{from, to}] = cut
}

// Isolate cuts or mends every way to and from a store.
func (n *Network) Isolate(id proto.StoreID, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for other := range n.queues {
		n.cut[link{id, other}], n.cut[link{other, id}] = cut, cut
	}
}

// Filter drops the messages for which f is false; nil ends that.
func (n *Network) Filter(f func(*internalpb.RaftMessage) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.filter = f
}

func (n *Network) open(from, to proto.StoreID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.cut[link{from, to}]
}

func (n *Network) passes(m *internalpb.RaftMessage) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.cut[link{proto.StoreID(m.FromStore), proto.StoreID(m.ToStore)}] && (n.filter == nil || n.filter(m))
}

// endpoint is one store's raftstore.Transport.
type endpoint struct {
	c    *Cluster
	from proto.StoreID
}

// Send implements raftstore.Transport.
func (e *endpoint) Send(m *internalpb.RaftMessage) {
	q := e.c.Net.queues[proto.StoreID(m.ToStore)]
	if q == nil || !e.c.Net.passes(m) {
		return
	}
	b, err := gproto.Marshal(m)
	if err != nil {
		panic(err)
	}
	select {
	case q <- b:
	default:
	}
}

// Snapshot implements raftstore.Transport.
func (e *endpoint) Snapshot(ctx context.Context, to proto.StoreID) (internalpb.Raft_SnapshotClient, error) {
	if !e.c.Net.open(e.from, to) {
		return nil, errCut
	}
	conn := e.c.Node(to).dial()
	if conn == nil {
		return nil, errors.New("the store is down")
	}
	s, err := internalpb.NewRaftClient(conn).Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return &cuttableStream{s, e.c.Net, e.from, to}, nil
}

// cuttableStream fails once the network is cut.
type cuttableStream struct {
	internalpb.Raft_SnapshotClient
	net      *Network
	from, to proto.StoreID
}

func (s *cuttableStream) Send(c *internalpb.SnapshotChunk) error {
	if !s.net.open(s.from, s.to) {
		return errCut
	}
	return s.Raft_SnapshotClient.Send(c)
}

func (s *cuttableStream) Recv() (*internalpb.SnapshotResponse, error) {
	r, err := s.Raft_SnapshotClient.Recv()
	if err == nil && !s.net.open(s.to, s.from) {
		return nil, errCut
	}
	return r, err
}

// deliver hands queued messages to a store, in order.
func (c *Cluster) deliver(ctx context.Context, id proto.StoreID, q chan []byte) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-q:
			m := &internalpb.RaftMessage{}
			if err := gproto.Unmarshal(b, m); err != nil {
				panic(err)
			}
			if !c.Net.open(proto.StoreID(m.FromStore), id) { // it was on its way when the network was cut
				continue
			}
			if s := c.Node(id).Store(); s != nil {
				s.Step([]*internalpb.RaftMessage{m})
			}
		}
	}
}
