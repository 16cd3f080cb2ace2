package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/vipkv/vipkv/encryption"
	"github.com/vipkv/vipkv/kv/gateway"
	"github.com/vipkv/vipkv/kv/tenant"
	"github.com/vipkv/vipkv/placement"
	"github.com/vipkv/vipkv/placement/tso"
	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/raftstore"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/transport"
	"github.com/vipkv/vipkv/txn/mvcc"
)

const (
	codeUnavailable = codes.Unavailable
	// clientMessageMax is what is read of a request at all; what is over gateway.RequestBytesMax gets a typed error.
	clientMessageMax = 2 * gateway.RequestBytesMax
	handshakeTimeout = 10 * time.Second
	// handOverTimeout bounds how long a node that stops tries to give its leaders away, drainTimeout how long it then
	// waits for requests in progress.
	handOverTimeout = 3 * time.Second
	drainTimeout    = 5 * time.Second
)

// Node is one process of a cluster.
type Node struct {
	cfg Config
	log *slog.Logger
	reg *prometheus.Registry

	clientL, peerL, httpL net.Listener
	keyfile               *encryption.Keyfile
	system                *encryption.Domain
	engine                engine.Engine
	id                    engine.Identity
	fatal                 chan error // capacity 1

	peers     *peers
	transport *transport.Transport
	store     *raftstore.Store
	member    *Member
	keys      *sealers
	keyring   *encryption.Keyring
	registry  *tenant.Registry
	gateway   *gateway.Gateway
	admin     *gateway.Admin
}

// Run starts a node and serves until ctx ends (nil) or it can not go on.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	n := &Node{cfg: cfg, log: cfg.Logger, reg: prometheus.NewRegistry(), fatal: make(chan error, 1)}
	n.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer n.close()
	if err := n.open(); err != nil {
		return err
	}
	if err := n.identify(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // stopped while it waited for the cluster
		}
		return err
	}
	if err := n.assemble(); err != nil {
		return err
	}
	return n.serve(ctx)
}

// open takes the ports, the keys and the store, in this order: nothing on disk is touched before
// what can fail without it has not failed.
func (n *Node) open() (err error) {
	listen := func(addr string) net.Listener {
		if err != nil {
			return nil
		}
		var l net.Listener
		if n.cfg.Net != nil {
			l, err = n.cfg.Net.Listen(addr)
		} else {
			l, err = net.Listen("tcp", addr)
		}
		if err != nil {
			err = &ListenError{Address: addr, Err: err}
		}
		return l
	}
	n.clientL, n.peerL, n.httpL = listen(n.cfg.Listen), listen(n.cfg.ListenPeer), listen(n.cfg.ListenHTTP)
	if err != nil {
		return err
	}
	if err := encryption.CheckKeyfilePlace(n.cfg.Keyfile, n.cfg.DataDir); err != nil {
		return err
	}
	if n.keyfile, err = encryption.LoadKeyfile(n.cfg.Keyfile); err != nil {
		return err
	}
	if n.system, err = encryption.SystemDomain(n.keyfile, encryption.Options{}); err != nil {
		return err
	}
	if n.cfg.FS == nil {
		n.cfg.FS = engine.DefaultFS()
	}
	if err := engine.CheckDir(n.cfg.FS, n.cfg.DataDir); err != nil {
		return err
	}
	n.engine, err = engine.OpenPebble(n.cfg.DataDir, engine.Options{
		FS: n.cfg.FS, CacheBytes: n.cfg.CacheBytes, Logger: n.log, OnFatal: n.fail})
	if err != nil {
		return err
	}
	return checkKeyfile(n.engine, n.keyfile)
}

// ListenError says that an address can not be listened on.
type ListenError struct {
	Address string
	Err     error
}

func (e *ListenError) Error() string { return fmt.Sprintf("listen on %s: %v", e.Address, e.Err) }

func (e *ListenError) Unwrap() error { return e.Err }

func (n *Node) fail(err error) {
	select {
	case n.fatal <- err:
	default: // the first one counts
	}
}

// self is what other nodes are told of this one.
func (n *Node) self() *internalpb.NodeInfo {
	or := func(advertised string, l net.Listener) string {
		if advertised != "" {
			return advertised
		}
		return l.Addr().String()
	}
	return &internalpb.NodeInfo{NodeId: uint64(n.id.NodeID), ClientAddress: or(n.cfg.Advertise, n.clientL),
		PeerAddress: or(n.cfg.AdvertisePeer, n.peerL), HttpAddress: or(n.cfg.AdvertiseHTTP, n.httpL),
		Locality: n.cfg.Locality, Version: n.cfg.Version}
}

// identify reads who this store is, or makes it somebody: the first of a new cluster, or a member
// of a running one.
func (n *Node) identify(ctx context.Context) (err error) {
	if n.peers, err = newPeers(n.engine, n.keyfile.PeerSecret()); err != nil {
		return err
	}
	n.peers.net = n.cfg.Net
	n.keys = &sealers{system: n.system}
	n.member = newMember(n.memberConfig(), n.peers)
	n.id, err = engine.ReadIdentity(n.engine)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, engine.ErrNoIdentity):
		return err
	case len(n.cfg.Join) > 0:
		n.id, err = n.join(ctx, n.self())
	default:
		n.id, err = Bootstrap(n.engine, n.system, n.self())
	}
	return err
}

// assemble joins the packages. Nothing runs yet.
func (n *Node) assemble() (err error) {
	boot, err := nextBoot(n.engine)
	if err != nil {
		return err
	}
	tc := transport.DefaultConfig()
	tc.Dial = n.peers.dialStore
	n.transport = transport.New(tc)
	if err := n.openStore(); err != nil {
		return err
	}
	if err := n.member.Assemble(n.store.Calls, n.id, n.self(), boot); err != nil {
		return err
	}
	router := n.member.Router()
	if n.registry, err = tenant.NewRegistry(tenant.RegistryConfig{
		KV: systemKV{router}, Service: n.keyfile, Pepper: n.keyfile.Pepper()}); err != nil {
		return err
	}
	if n.keyring, err = encryption.NewKeyring(encryption.KeyringConfig{
		Load: n.registry.KeysOf, Service: n.keyfile, System: n.system}); err != nil {
		return err
	}
	n.keys.keyring = n.keyring
	return n.openGateway(router)
}

func (n *Node) memberConfig() MemberConfig {
	began := time.Now()
	c := MemberConfig{Engine: n.engine, Address: n.self().PeerAddress, Seeds: n.cfg.Join,
		NowMs:  func() int64 { return time.Now().UnixMilli() },
		EvenMs: func() int64 { return time.Since(began).Milliseconds() },
		Draw:   draw, SealerFor: n.keys.forTenant, Oracle: tso.DefaultConfig(), Placement: placement.DefaultConfig(),
		HeartbeatInterval: n.cfg.HeartbeatInterval, OrphanTicks: 100, Logger: n.log}
	c.Oracle.ForwardJumpMaxMs = n.cfg.ClockAheadMax.Milliseconds()
	c.Placement.LostAfter = n.cfg.LostAfter
	c.Placement.UnreachableAfter = n.cfg.unreachableAfter(c.Placement.UnreachableAfter)
	return c
}

func (n *Node) openStore() (err error) {
	sc := raftstore.DefaultConfig()
	sc.Store, sc.Engine, sc.FS, sc.Transport = n.id.StoreID, n.engine, n.cfg.FS, n.transport
	sc.SnapshotDir = n.cfg.FS.PathJoin(n.cfg.DataDir, "snapshots")
	sc.AllocateRange, sc.AdjustSplitKey = n.member.AllocateRange, mvcc.AdjustSplitKey
	sc.Logger, sc.Registerer, sc.OnFatal = n.log, n.reg, n.fail
	sc.SplitBytes, sc.TickInterval = n.cfg.SplitBytes, n.cfg.TickInterval
	n.store, err = raftstore.Open(sc)
	return err
}

func (n *Node) openGateway(router *gateway.Router) error {
	auth, err := tenant.NewAuthenticator(tenant.AuthConfig{KV: systemKV{router}, Pepper: n.keyfile.Pepper()})
	if err != nil {
		return err
	}
	n.gateway = gateway.New(gateway.Config{Router: router, Authenticator: auth, Active: n.active, Logger: n.log,
		Registerer: n.reg, RequestsMax: n.cfg.RequestsMax, DeadlineMax: time.Minute,
		NowMs: func() int64 { return time.Now().UnixMilli() }})
	n.admin = &gateway.Admin{Registry: n.registry, Cluster: n.member.client, Steps: n.member.reach,
		Node: uint64(n.id.NodeID), Version: n.cfg.Version}
	return nil
}

// active: the keys of a tenant that may not be served are not handed out, so asking for them tells.
func (n *Node) active(ctx context.Context, t proto.TenantID) error {
	_, err := n.keyring.Domain(ctx, t)
	return err
}

// serve runs everything until stop ends or something can not go on. When stop ends, everything still runs while the
// node gives its ranges to others and ends what it has begun.
func (n *Node) serve(stop context.Context) error {
	clientS, peerS, healthS := n.servers()
	live, end := context.WithCancel(context.WithoutCancel(stop))
	defer end()
	g, ctx := errgroup.WithContext(live)
	run := func(f func(context.Context) error) {
		g.Go(func() error {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			return nil // what comes after the end is a consequence of it
		})
	}
	run(n.transport.Run)
	run(n.store.Run)
	run(n.keyring.Run)
	for _, loop := range n.member.Loops() {
		run(loop)
	}
	run(n.writeAdminCredential)
	h := httpServer(n.reg, n.member.ready, n.cfg.Pprof)
	run(func(ctx context.Context) error { return serveHTTP(ctx, h, n.httpL) })
	g.Go(func() error { return clientS.Serve(n.clientL) })
	g.Go(func() error { return peerS.Serve(n.peerL) })
	g.Go(func() error {
		select {
		case err := <-n.fatal:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error {
		defer peerS.Stop()
		defer end()
		select {
		case <-stop.Done():
		case <-ctx.Done():
		}
		healthS.Shutdown()
		n.retire(ctx)
		stopServer(clientS)
		n.handOver(ctx) // what came back meanwhile
		return nil
	})
	n.log.Info("node serves", "node", uint64(n.id.NodeID), "client", n.clientL.Addr().String(),
		"peer", n.peerL.Addr().String(), "http", n.httpL.Addr().String())
	if n.cfg.Ready != nil {
		n.cfg.Ready(Addresses{n.clientL.Addr().String(), n.peerL.Addr().String(), n.httpL.Addr().String()})
	}
	return g.Wait()
}

// retire gives the node's ranges to others. It does nothing when the node has failed.
func (n *Node) retire(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	began := time.Now()
	n.member.Retire(ctx)
	kept := n.handOver(ctx)
	n.log.Info("the node stops; its ranges were handed over", "kept", kept, "took", time.Since(began))
}

func (n *Node) handOver(ctx context.Context) (kept int) {
	ctx, cancel := context.WithTimeout(ctx, handOverTimeout)
	defer cancel()
	return n.store.HandOver(ctx)
}

// stopServer lets requests in progress end, for a bounded time.
func stopServer(s *grpc.Server) {
	t := time.AfterFunc(drainTimeout, s.Stop)
	defer t.Stop()
	s.GracefulStop()
}

func (n *Node) servers() (clientS, peerS *grpc.Server, healthS *health.Server) {
	clientS = grpc.NewServer(append(serverOptions(clientMessageMax), grpc.MaxConcurrentStreams(1024),
		grpc.UnaryInterceptor(n.gateway.Unary), grpc.StreamInterceptor(n.gateway.Stream))...)
	n.gateway.Register(clientS)
	vipkvpb.RegisterAdminServer(clientS, n.admin)
	healthS = health.NewServer()
	for _, service := range []string{"", vipkvpb.KV_ServiceDesc.ServiceName, vipkvpb.Streams_ServiceDesc.ServiceName,
		vipkvpb.Admin_ServiceDesc.ServiceName} {
		healthS.SetServingStatus(service, healthpb.HealthCheckResponse_SERVING)
	}
	healthpb.RegisterHealthServer(clientS, healthS)
	reflection.Register(clientS)
	peerS = grpc.NewServer(append(serverOptions(peerMessageBytesMax),
		grpc.UnaryInterceptor(n.peers.unaryInterceptor), grpc.StreamInterceptor(n.peers.streamInterceptor))...)
	internalpb.RegisterRaftServer(peerS, &raftServer{store: n.store})
	n.member.Register(peerS)
	return clientS, peerS, healthS
}

// writeAdminCredential makes an admin credential when there is none in its file: of a new cluster,
// or after the file was lost. Who can start a node has the keyfile, which is worth more.
func (n *Node) writeAdminCredential(ctx context.Context) error {
	path := n.cfg.AdminCredentialOut
	if path == "" {
		return nil
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	for {
		c, err := n.registry.BootstrapAdmin(ctx)
		if err == nil {
			if err := writeSecret(path, c.Reveal()); err != nil {
				return fmt.Errorf("write the admin credential: %w", err)
			}
			n.log.Info("admin credential written", "file", path)
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		n.log.Info("admin credential not made yet", "error", err)
		t := time.NewTimer(200 * time.Millisecond)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// writeSecret writes a file that only its owner may read, whole or not at all.
func writeSecret(path, secret string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".secret-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(secret + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// close frees what open took, in the opposite order.
func (n *Node) close() {
	for _, l := range []net.Listener{n.clientL, n.peerL, n.httpL} {
		if l != nil {
			_ = l.Close() // closed already when it was served
		}
	}
	if n.member != nil && n.member.executor != nil {
		n.member.executor.Drain()
	}
	if n.peers != nil {
		n.peers.close()
	}
	if n.keyring != nil {
		n.keyring.Close()
	}
	if n.engine != nil {
		if err := n.engine.Close(); err != nil {
			n.log.Error("close the store", "error", err)
		}
	}
	if n.system != nil {
		n.system.Close()
	}
}
