package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/encryption"
	"github.com/vipkv/vipkv/kv/gateway"
	"github.com/vipkv/vipkv/kv/node"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/authz"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/replica"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// front is what a store's process runs above its replicas: what a node runs there, in fibers.
type front struct {
	s        *store
	proc     *process
	calls    *raftstore.Calls
	member   *node.Member
	services services
	joined   bool
	serving  int             // calls of others
	answered map[uint64]bool // proposals and reads
	sealers  map[proto.TenantID]mvcc.Sealer
	log      *slog.Logger
}

// newFront makes the front of a new life of the process.
func newFront(s *store) *front {
	f := &front{s: s, services: services{}, answered: map[uint64]bool{}, sealers: map[proto.TenantID]mvcc.Sealer{}}
	f.proc = newProcess(s.c.k, s.r, s.after)
	f.log = slog.New(&logHandler{f.proc, s})
	config := s.c.o.coreConfig()
	f.calls = raftstore.NewCalls(raftstore.CallsConfig{
		Store: s.id, Workers: coresPerStore, NewView: s.engine.NewView, Offer: f.offer,
		AllocateRange:  func(ctx context.Context) (proto.RangeID, error) { return f.member.AllocateRange(ctx) },
		AdjustSplitKey: func(key []byte) []byte { return whole(mvcc.AdjustSplitKey(key)) },
		SplitBytes:     s.c.o.Upper.SplitBytes, SplitInterval: time.Second,
		TransferTimeout: 2 * time.Duration(config.ElectionTicks) * time.Duration(s.c.o.TickNS),
		Wait:            f.proc, Logger: f.log, Split: func() { s.c.count.splits++ },
	})
	var err error
	if f.member, err = node.OpenMember(f.memberConfig()); err != nil {
		s.c.k.fail("store %d: open a member: %w", s.id, err)
		return f
	}
	id, err := engine.ReadIdentity(s.engine)
	switch {
	case errors.Is(err, engine.ErrNoIdentity):
		f.proc.Go(f.join)
	case err != nil:
		s.c.k.fail("store %d: %w", s.id, err)
	default:
		f.assemble(id)
	}
	return f
}

func (f *front) memberConfig() node.MemberConfig {
	s, o := f.s, &f.s.c.o.Upper
	c := node.MemberConfig{
		Engine: s.engine, Address: address(s.port), Wait: f.proc, Oracle: o.oracle(), Placement: o.placement(),
		Connect: func(addr string) (grpc.ClientConnInterface, error) {
			return s.c.connect(f.proc, int(s.id), addr)
		},
		NowMs: f.nowMs, Attempt: time.Duration(o.AttemptNS),
		EvenMs: func() int64 { return s.c.k.now / ms },
		Jitter: func(d time.Duration) time.Duration { return time.Duration(s.r.Int64N(int64(d))) },
		Draw:   f.draw, SealerFor: f.sealer, HeartbeatInterval: time.Duration(o.HeartbeatNS), OrphanTicks: 20,
		Logger: f.log, Fetch: s.c.truth.fetch,
	}
	for _, other := range s.c.stores {
		c.Seeds = append(c.Seeds, address(other.port))
	}
	return c
}

// nowMs is the machine's clock. A stream's window, in which it knows its clients' records again, is ten minutes of the
// oracle's time: when the oracle moves to a machine whose clock is further ahead than that, who sends again is not
// known. So clocks are off by less in runs that count on it, and by as much as they like in others.
func (f *front) nowMs() int64 {
	truth := epochMS + f.s.c.k.now/ms
	for _, w := range f.s.c.o.Upper.Workloads {
		switch w {
		case "streams", "messenger", "canary":
			return min(max(f.s.wallMs(), truth-windowSlackMS), truth+windowSlackMS)
		}
	}
	return f.s.wallMs()
}

// windowSlackMS is how far off a clock may be, either way, for the window to hold.
const windowSlackMS = 4 * 60 * 1000

func (f *front) draw(b []byte) {
	for i := range b {
		b[i] = byte(f.s.r.Uint32())
	}
}

func (f *front) self() *internalpb.NodeInfo { return nodeInfo(f.s.id, f.s.port) }

func nodeInfo(id proto.StoreID, port int) *internalpb.NodeInfo {
	return &internalpb.NodeInfo{NodeId: uint64(id), ClientAddress: address(port), PeerAddress: address(port)}
}

// join makes the store a member of the cluster, one after the other, so that ids are as in the simulation.
func (f *front) join() {
	s := f.s
	for s.id <= proto.StoreID(s.c.o.Stores) && s.c.joined != s.id-1 {
		_ = f.proc.Sleep(context.Background(), 20*time.Millisecond)
	}
	info := f.self()
	info.NodeId = 0
	for {
		ctx, cancel := f.proc.WithTimeout(context.Background(), 5*time.Second)
		resp, err := f.member.Join(ctx, info)
		cancel()
		if err != nil {
			s.c.k.note("store %d: join: %v", s.id, err)
			continue
		}
		id := engine.Identity{StoreID: proto.StoreID(resp.StoreId), NodeID: proto.NodeID(resp.NodeId)}
		copy(id.ClusterID[:], resp.ClusterId)
		same := s.c.renumber(s, id.StoreID)
		if err := engine.WriteIdentity(s.engine, id); err != nil {
			s.c.k.fail("store %d: %w", s.id, err)
			return
		}
		if !same { // what runs has the other name in it; a node opens its store only now
			s.c.k.after(0, int(s.id), "restart", func() {
				s.reboot()
				s.c.replace()
			})
			return
		}
		f.assemble(id)
		s.c.replace()
		return
	}
}

// assemble builds what a node runs and lets it run.
func (f *front) assemble(id engine.Identity) {
	s := f.s
	f.joined = true
	s.c.joined = max(s.c.joined, s.id)
	if err := f.member.Assemble(f.calls, id, f.self(), uint64(s.boots)); err != nil {
		s.c.k.fail("store %d: assemble: %w", s.id, err)
		return
	}
	g := gateway.New(gateway.Config{
		Router: f.member.Router(), Authenticator: tenants{},
		Active: func(context.Context, proto.TenantID) error { return nil },
		Logger: f.log, Registerer: prometheus.NewRegistry(), RequestsMax: 4096, DeadlineMax: time.Minute,
		NowMs: f.nowMs, Wait: f.proc,
	})
	f.member.Register(registrar{f.services, nil})
	g.Register(registrar{f.services, g.Unary})
	f.proc.Go(func() { f.calls.RunSplits(context.Background()) })
	for _, loop := range f.member.Loops() {
		f.proc.Go(func() {
			if err := loop(context.Background()); err != nil {
				s.c.k.fail("store %d: a loop ended: %w", s.id, err)
			}
		})
	}
}

// offer gives an event to the core that owns the range: long after it was meant to come, now and then.
func (f *front) offer(id proto.RangeID, event func(*replica.Core)) bool {
	f.s.after(f.s.c.proposalDelay(f.s), "offer", func() {
		f.s.with(id, event)
		f.proc.poll()
	})
	return true
}

// sealer is txn's SealerFor. The keys are the same in all processes; what a process draws of them is its own.
func (f *front) sealer(_ context.Context, t proto.TenantID) (mvcc.Sealer, error) {
	if f.s.c.o.Upper.InClear && t != proto.SystemTenant {
		return clearSealer{}, nil
	}
	if f.sealers[t] == nil {
		d, err := f.s.c.domain(t)
		if err != nil {
			return nil, err
		}
		f.sealers[t] = node.SealerOf(d)
	}
	return f.sealers[t], nil
}

// clearSealer is what must not be.
type clearSealer struct{}

// Seal implements mvcc.Sealer.
func (clearSealer) Seal(dst []byte, _ mvcc.ValueMeta, plain []byte) ([]byte, error) {
	return append(dst, plain...), nil
}

// Open implements mvcc.Sealer.
func (clearSealer) Open(dst []byte, _ mvcc.ValueMeta, sealed []byte) ([]byte, error) {
	return append(dst, sealed...), nil
}

// domain makes a tenant's keys.
func (c *cluster) domain(t proto.TenantID) (*encryption.Domain, error) {
	key := make([]byte, encryption.KeyLength)
	binary.BigEndian.PutUint64(key, c.k.seed)
	binary.BigEndian.PutUint32(key[8:], uint32(t))
	return encryption.NewDomain(1+uint64(t), []encryption.DEK{{ID: 1, Key: key, Active: true}},
		encryption.Options{Codec: c.codec, Now: func() time.Time { return wallTime(c.k.now) }})
}

// outcome ends a proposal.
func (f *front) outcome(o *replica.Outcome) {
	f.once(o.Proposal)
	f.s.c.count.verdicts[o.Verdict]++
	f.calls.AnswerProposal(o)
}

// readable ends a read.
func (f *front) readable(o *replica.ReadOutcome) {
	f.once(o.Read)
	f.calls.AnswerRead(o)
}

// once: nothing is answered twice.
func (f *front) once(id uint64) {
	if f.answered[id] {
		f.s.c.k.fail("store %d: proposal or read %d is answered twice", f.s.id, id)
	}
	f.answered[id] = true
}

// tenants tells who calls. It implements gateway.Authenticator.
type tenants struct{}

func credential(t proto.TenantID) string { return fmt.Sprintf("tenant-%d", t) }

// Authenticate implements gateway.Authenticator.
func (tenants) Authenticate(_ context.Context, secret string) (authz.Principal, error) {
	var t uint32
	if _, err := fmt.Sscanf(secret, "tenant-%d", &t); err != nil {
		return authz.Principal{}, grpcstatus.Error(codes.Unauthenticated, "no credential")
	}
	return authz.NewPrincipal(proto.TenantID(t), authz.RoleTenant)
}

// logHandler shows what a process logs to a reader of a replayed run. An error that is logged is one that should not
// have happened.
type logHandler struct {
	p *process
	s *store
}

// Enabled implements slog.Handler.
func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool {
	return !h.p.dead && (h.p.k.log != nil || l >= slog.LevelError)
}

// Handle implements slog.Handler.
func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	if r.Level >= slog.LevelError && !h.s.failing {
		h.p.k.fail("store %d logs an error: %s", h.s.id, text)
	}
	h.p.k.note("store %d: %s", h.s.id, text)
	return nil
}

// WithAttrs implements slog.Handler; nobody uses it.
func (h *logHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler; nobody uses it.
func (h *logHandler) WithGroup(string) slog.Handler { return h }
