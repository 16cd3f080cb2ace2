package node

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/engine"
)

// peerSecretHeader carries the secret by which nodes of one cluster know each other until they have
// certificates.
const peerSecretHeader = "vipkv-peer-secret"

// peerMessageBytesMax bounds one message between nodes.
const peerMessageBytesMax = 64 << 20

// peers knows where the cluster's nodes are and holds one connection to each. What it knows is kept
// in the store, so that nodes that all restart at once find each other without the placement
// driver.
type peers struct {
	engine engine.Engine
	secret string
	net    Network // nil: grpc's own way over TCP
	// connect returns the connection to an address; dial, but in a simulation.
	connect func(addr string) (grpc.ClientConnInterface, error)

	mu     sync.Mutex
	book   *internalpb.HeartbeatResponse // nodes and node_of_store
	nodes  map[uint64]*internalpb.NodeInfo
	stores map[proto.StoreID]uint64
	conns  map[string]*grpc.ClientConn
	closed bool
}

// errPeersClosed: the node stops.
var errPeersClosed = errors.New("the connections to other nodes are closed")

func peersKey() []byte { return keys.Store("peers") }

func newPeers(e engine.Engine, secret []byte) (*peers, error) {
	p := &peers{engine: e, secret: base64.RawStdEncoding.EncodeToString(secret), conns: map[string]*grpc.ClientConn{},
		nodes: map[uint64]*internalpb.NodeInfo{}, stores: map[proto.StoreID]uint64{}}
	p.connect = func(addr string) (grpc.ClientConnInterface, error) { return p.dial(addr) }
	v, err := e.Get(peersKey())
	if errors.Is(err, storage.ErrNotFound) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the address book: %w", err)
	}
	book := &internalpb.HeartbeatResponse{}
	if err := gproto.Unmarshal(v, book); err != nil {
		return nil, fmt.Errorf("read the address book: %w", err)
	}
	p.setLocked(book)
	return p, nil
}

func (p *peers) setLocked(book *internalpb.HeartbeatResponse) {
	p.book = book
	clear(p.nodes)
	clear(p.stores)
	for _, n := range book.Nodes {
		p.nodes[n.NodeId] = n
	}
	for i := 0; i+1 < len(book.NodeOfStore); i += 2 {
		p.stores[proto.StoreID(book.NodeOfStore[i])] = book.NodeOfStore[i+1]
	}
}

// update takes what the placement driver says. An empty answer changes nothing.
func (p *peers) update(nodes []*internalpb.NodeInfo, nodeOfStore []uint64) error {
	if len(nodes) == 0 {
		return nil
	}
	book := &internalpb.HeartbeatResponse{Nodes: nodes, NodeOfStore: nodeOfStore}
	p.mu.Lock()
	same := p.book != nil && gproto.Equal(p.book, book)
	if !same {
		p.setLocked(book)
	}
	p.mu.Unlock()
	if same {
		return nil
	}
	v, err := gproto.Marshal(book)
	if err != nil {
		return fmt.Errorf("encode the address book: %w", err)
	}
	var b storage.Batch
	b.Set(peersKey(), v)
	if err := p.engine.Commit(&b, false); err != nil {
		return fmt.Errorf("keep the address book: %w", err)
	}
	return nil
}

func (p *peers) nodeOf(store proto.StoreID) *internalpb.NodeInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nodes[p.stores[store]]
}

// addresses lists the peer addresses of all known nodes, by node id.
func (p *peers) addresses() (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := make([]uint64, 0, len(p.nodes))
	for id := range p.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		out = append(out, p.nodes[id].PeerAddress)
	}
	return out
}

func (p *peers) dialStore(store proto.StoreID) (grpc.ClientConnInterface, error) {
	n := p.nodeOf(store)
	if n == nil {
		return nil, fmt.Errorf("the address of store %d is not known", store)
	}
	return p.connect(n.PeerAddress)
}

// dial returns the connection to a peer address. Connections are made lazily and live until close.
func (p *peers) dial(addr string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.conns[addr]; c != nil {
		return c, nil
	}
	if p.closed { // a handler that outlived its server would leave a connection behind
		return nil, errPeersClosed
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(peerCredentials(p.secret)),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second, Backoff: backoff.Config{
			BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 500 * time.Millisecond}}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second}),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(peerMessageBytesMax), grpc.MaxCallSendMsgSize(peerMessageBytesMax)),
		grpc.WithInitialWindowSize(1 << 20), grpc.WithInitialConnWindowSize(4 << 20),
	}
	if p.net != nil {
		options = append(options, grpc.WithContextDialer(p.net.Dial))
	}
	c, err := grpc.NewClient("passthrough:///"+addr, options...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	p.conns[addr] = c
	return c, nil
}

func (p *peers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.conns {
		_ = c.Close() // only frees it
	}
	clear(p.conns)
}

type peerCredentials string

func (c peerCredentials) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{peerSecretHeader: string(c)}, nil
}

func (peerCredentials) RequireTransportSecurity() bool { return false }

// checkPeer lets only nodes of this cluster in.
func (p *peers) checkPeer(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	got := md.Get(peerSecretHeader)
	if len(got) != 1 || subtle.ConstantTimeCompare([]byte(got[0]), []byte(p.secret)) != 1 {
		return status.Error(codes.Unauthenticated,
			"not a node of this cluster: every node must be started with the same keyfile")
	}
	return nil
}

func (p *peers) unaryInterceptor(
	ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler,
) (any, error) {
	if err := p.checkPeer(ctx); err != nil {
		return nil, err
	}
	return h(ctx, req)
}

func (p *peers) streamInterceptor(
	srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler,
) error {
	if err := p.checkPeer(ss.Context()); err != nil {
		return err
	}
	return h(srv, ss)
}
