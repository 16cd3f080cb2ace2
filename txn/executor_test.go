package txn_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/txn"
	"github.com/vipkv/vipkv/txn/mvcc"
	"github.com/vipkv/vipkv/txn/txntest"
)

const (
	tenant     = proto.TenantID(7)
	baseMillis = 1_800_000_000_000
)

func TestEngineConformance(t *testing.T) {
	txntest.RunEngine(t, func(t *testing.T) txntest.Subject {
		e := txntest.NewEngine(nil)
		return txntest.Subject{
			Engine: e, Range: proto.FirstUserRange,
			Split: func(key []byte) error { e.Split(proto.FirstUserRange, key); return nil },
			Leave: func() { e.SetAway(proto.FirstUserRange, true) },
		}
	})
}

// bench is an executor over an in-memory engine.
type bench struct {
	engine *txntest.Engine
	oracle *txntest.Oracle
	exec   *txn.Executor
}

func newBench(fault func(proto.RangeID, *internalpb.Command) txntest.Fault, change ...func(*txn.Config)) *bench {
	b := &bench{engine: txntest.NewEngine(fault), oracle: txntest.NewOracle(baseMillis)}
	cfg := txn.DefaultConfig()
	cfg.Engine, cfg.Oracle = b.engine, b.oracle
	cfg.SealerFor = func(context.Context, proto.TenantID) (mvcc.Sealer, error) { return txntest.Sealer{}, nil }
	var drawn atomic.Uint64
	cfg.Draw = func(p []byte) { binary.BigEndian.PutUint64(p, drawn.Add(1)) }
	for _, f := range change {
		f(&cfg)
	}
	b.exec = txn.NewExecutor(cfg)
	return b
}

func request(epoch uint64) *internalpb.ExecuteRequest {
	return &internalpb.ExecuteRequest{
		Tenant: uint32(tenant), RangeId: uint64(proto.FirstUserRange), EpochVersion: epoch,
	}
}

func putRequest(key, value string) *internalpb.ExecuteRequest {
	req := request(1)
	req.Request = &internalpb.ExecuteRequest_Put{Put: &vipkvpb.PutRequest{Key: []byte(key), Value: []byte(value)}}
	return req
}

func getRequest(key string, at uint64) *internalpb.ExecuteRequest {
	req := request(1)
	req.Request = &internalpb.ExecuteRequest_Get{Get: &vipkvpb.GetRequest{Key: []byte(key), At: at}}
	return req
}

func scanRequest() *internalpb.ExecuteRequest {
	req := request(1)
	req.Request = &internalpb.ExecuteRequest_Scan{Scan: &vipkvpb.ScanRequest{}}
	return req
}

// call repeats a command until its outcome is known. Faults are without effect or resolved by the request id.
func (b *bench) call(ctx context.Context, req *internalpb.ExecuteRequest) (*internalpb.ExecuteResponse, error) {
	for {
		resp, err := b.exec.Execute(ctx, req)
		var leader *rpcerr.NotLeaderError
		var ambiguous *rpcerr.AmbiguousError
		if !errors.As(err, &leader) && !errors.As(err, &ambiguous) {
			return resp, err
		}
	}
}

func (b *bench) checkIdle(t *testing.T) {
	t.Helper()
	b.exec.Drain()
	if n := txn.RangesInUse(b.exec); n != 0 {
		t.Fatalf("latches of %d ranges are still held", n)
	}
	have, counted := b.engine.Bytes(proto.FirstUserRange), b.engine.Store().Bytes(nil, nil)
	if have != counted {
		t.Fatalf("%d bytes by deltas, %d by counting", have, counted)
	}
}

// faults draws a fault for each proposal, from a seed.
func faults(seed int64, percent int) func(proto.RangeID, *internalpb.Command) txntest.Fault {
	var mu sync.Mutex
	rng := rand.New(rand.NewSource(seed))
	return func(proto.RangeID, *internalpb.Command) txntest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if rng.Intn(100) >= percent {
			return txntest.None
		}
		return txntest.Fault(1 + rng.Intn(3))
	}
}

type register struct {
	kind         string // put, cas, get, scan
	key          string
	value        string
	ifVersion    uint64
	found        bool
	version      uint64
	failed       bool
	failedActual uint64
}

type registerState struct {
	value   string
	version uint64
}

// registerModel: a key is its value and version.
func registerModel() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[string][]porcupine.Operation{}
			for _, op := range history {
				key := op.Input.(register).key
				byKey[key] = append(byKey[key], op)
			}
			var out [][]porcupine.Operation
			for _, ops := range byKey {
				out = append(out, ops)
			}
			return out
		},
		Init: func() any { return registerState{} },
		Step: func(state, input, output any) (bool, any) {
			s, in, out := state.(registerState), input.(register), output.(register)
			switch in.kind {
			case "put":
				return out.version > s.version, registerState{in.value, out.version}
			case "cas":
				if out.failed {
					return s.version != in.ifVersion && s.version == out.failedActual, s
				}
				return s.version == in.ifVersion && out.version > s.version, registerState{in.value, out.version}
			}
			if !out.found {
				return s.version == 0, s
			}
			return out.value == s.value && out.version == s.version, s
		},
		Equal: func(a, b any) bool { return a == b },
	}
}

// client runs random commands on three keys and records them.
func (b *bench) client(t *testing.T, n int, clock *atomic.Int64) (history []porcupine.Operation) {
	rng := rand.New(rand.NewSource(int64(n)))
	seen := map[string]uint64{}
	for i := range 60 {
		in := register{kind: []string{"put", "cas", "get", "scan"}[rng.Intn(4)], key: fmt.Sprint("key", rng.Intn(3))}
		in.value = fmt.Sprint(n, "/", i)
		in.ifVersion = seen[in.key]
		call := clock.Add(1)
		out, err := b.register(t.Context(), in, uint64(n*1000+i))
		if err != nil {
			t.Errorf("%v: %v", in, err)
			return nil
		}
		seen[in.key] = max(out.version, out.failedActual)
		history = append(history, porcupine.Operation{ClientId: n, Input: in, Output: out, Call: call, Return: clock.Add(1)})
	}
	return history
}

func (b *bench) register(ctx context.Context, in register, id uint64) (out register, err error) {
	switch in.kind {
	case "put", "cas":
		req := putRequest(in.key, in.value)
		put := req.GetPut()
		put.RequestId = &vipkvpb.RequestId{Id: binary.BigEndian.AppendUint64(make([]byte, 8), id), IssuedMs: baseMillis}
		if in.kind == "cas" {
			put.IfAbsent, put.IfVersion = in.ifVersion == 0, in.ifVersion
		}
		resp, err := b.call(ctx, req)
		var failed *rpcerr.ConditionFailedError
		if errors.As(err, &failed) {
			return register{failed: true, failedActual: failed.ActualVersion}, nil
		}
		return register{version: resp.GetPut().GetVersion()}, err
	case "get":
		resp, err := b.call(ctx, getRequest(in.key, 0))
		get := resp.GetGet()
		return register{found: get.GetFound(), value: string(get.GetValue()), version: get.GetVersion()}, err
	}
	resp, err := b.call(ctx, scanRequest())
	for _, item := range resp.GetScan().GetItems() {
		if string(item.Key) == in.key {
			return register{found: true, value: string(item.Value), version: item.Version}, err
		}
	}
	return register{}, err
}

func TestLinearizable(t *testing.T) {
	for seed := range int64(4) {
		b := newBench(faults(seed, 10))
		var clock atomic.Int64
		var mu sync.Mutex
		var history []porcupine.Operation
		var wg sync.WaitGroup
		for n := range 6 {
			wg.Go(func() {
				h := b.client(t, int(seed)*100+n, &clock)
				mu.Lock()
				defer mu.Unlock()
				history = append(history, h...)
			})
		}
		wg.Wait()
		b.checkIdle(t)
		if got := porcupine.CheckOperationsTimeout(registerModel(), history, 30*time.Second); got != porcupine.Ok {
			t.Fatalf("seed %d: %v", seed, got)
		}
	}
}

// Appends that are sent again after unknown outcomes leave each client id exactly once, without holes.
func TestStreamsStayDense(t *testing.T) {
	for seed := range int64(4) {
		b := newBench(faults(seed, 30))
		var wg sync.WaitGroup
		for n := range 6 {
			wg.Go(func() { b.appendMany(t, n) })
		}
		wg.Wait()
		b.checkIdle(t)
		p, err := mvcc.NewReadPlan(tenant, &vipkvpb.ReadRequest{Stream: []byte("s"), Limit: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		for cmd, ok := p.Next(); ok; cmd, ok = p.Next() {
			cmd.Request.RangeId, cmd.Request.EpochVersion = uint64(proto.FirstUserRange), 1
			resp, err := b.call(t.Context(), cmd.Request)
			if err != nil || p.Answer(resp) != nil {
				t.Fatal(err)
			}
		}
		records := p.Response().Records
		if len(records) != 6*40*2 || p.Response().Head.LastSeq != uint64(len(records)) {
			t.Fatalf("seed %d: %d records, head %v", seed, len(records), p.Response().Head)
		}
		seen := map[string]bool{}
		for i, rec := range records {
			if rec.Seq != uint64(i)+1 || seen[rec.ClientId] || rec.ClientId != string(rec.Body) {
				t.Fatalf("seed %d: record %d is %v", seed, i+1, rec)
			}
			seen[rec.ClientId] = true
		}
	}
}

func (b *bench) appendMany(t *testing.T, n int) {
	for i := range 40 {
		req := request(1)
		r := &vipkvpb.AppendRequest{Stream: []byte("s")}
		for _, part := range []string{"a", "b"} {
			id := fmt.Sprint(n, "/", i, part)
			r.Records = append(r.Records, &vipkvpb.Record{ClientId: id, Body: []byte(id)})
		}
		if i%2 == 0 { // the others are recognised by their client ids
			id := binary.BigEndian.AppendUint64(make([]byte, 8), uint64(n*1000+i))
			r.RequestId = &vipkvpb.RequestId{Id: id, IssuedMs: baseMillis}
		}
		req.Request = &internalpb.ExecuteRequest_Append{Append: r}
		resp, err := b.call(t.Context(), req)
		if a := resp.GetAppend(); err != nil || a.LastSeq != a.FirstSeq+1 {
			t.Errorf("append: %v, %v", resp, err)
			return
		}
	}
}

// A read at a timestamp must wait for a writer that has a smaller one and is not applied yet.
func TestReadWaitsForWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		b := newBench(func(proto.RangeID, *internalpb.Command) txntest.Fault { <-gate; return txntest.None })
		var wg sync.WaitGroup
		var written *internalpb.ExecuteResponse
		wg.Go(func() { written, _ = b.exec.Execute(t.Context(), putRequest("k", "v")) })
		synctest.Wait()
		var read, elsewhere *internalpb.ExecuteResponse
		wg.Go(func() { read, _ = b.exec.Execute(t.Context(), scanRequest()) })
		wg.Go(func() {
			req := request(1)
			req.Request = &internalpb.ExecuteRequest_BatchGet{BatchGet: &vipkvpb.BatchGetRequest{Keys: [][]byte{[]byte("x")}}}
			elsewhere, _ = b.exec.Execute(t.Context(), req)
		})
		synctest.Wait()
		if read != nil {
			t.Fatal("a scan passed a writer with a smaller timestamp")
		}
		if elsewhere == nil {
			t.Fatal("a read of another key waits")
		}
		close(gate)
		wg.Wait()
		scan := read.GetScan()
		if len(scan.GetItems()) != 1 || scan.At <= written.GetPut().GetVersion() {
			t.Fatalf("read %v, written %v", scan, written)
		}
		again, err := b.exec.Execute(t.Context(), getRequest("k", written.GetPut().Version-1))
		if err != nil || again.GetGet().Found {
			t.Fatalf("before the write: %v, %v", again, err)
		}
		b.checkIdle(t)
	})
}

// When the caller leaves while its write is proposed, the outcome is unknown to it, and the latches stay until it is
// known.
func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		b := newBench(func(proto.RangeID, *internalpb.Command) txntest.Fault { <-gate; return txntest.None })
		ctx, cancel := context.WithCancel(t.Context())
		var first error
		var wg sync.WaitGroup
		wg.Go(func() { _, first = b.exec.Execute(ctx, putRequest("k", "first")) })
		synctest.Wait()
		cancel()
		wg.Wait()
		var ambiguous *rpcerr.AmbiguousError
		if !errors.As(first, &ambiguous) {
			t.Fatalf("got %v", first)
		}
		var second *internalpb.ExecuteResponse
		wg.Go(func() {
			req := putRequest("k", "second")
			req.GetPut().IfAbsent = true
			_, first = b.exec.Execute(t.Context(), req)
		})
		waiting, giveUp := context.WithCancel(t.Context())
		var third error
		wg.Go(func() { second, third = b.exec.Execute(waiting, putRequest("k", "third")) })
		synctest.Wait()
		giveUp()
		synctest.Wait()
		if !errors.Is(third, context.Canceled) || second != nil {
			t.Fatalf("who waits for latches may leave: %v", third)
		}
		close(gate)
		wg.Wait()
		var failed *rpcerr.ConditionFailedError
		if !errors.As(first, &failed) {
			t.Fatalf("the second write did not see the first: %v", first)
		}
		b.checkIdle(t)
	})
}

func TestEpochAndLeadership(t *testing.T) {
	b := newBench(nil)
	if _, err := b.exec.Execute(t.Context(), putRequest("x", "v")); err != nil {
		t.Fatal(err)
	}
	right := b.engine.Split(proto.FirstUserRange, mvcc.PlainKey(tenant, []byte("m")))
	for _, req := range []*internalpb.ExecuteRequest{putRequest("a", "v"), getRequest("a", 0), scanRequest()} {
		_, err := b.exec.Execute(t.Context(), req)
		var stale *rpcerr.StaleEpochError
		if !errors.As(err, &stale) || len(stale.Ranges) != 1 || string(stale.Ranges[0].End) != "km" ||
			len(stale.Ranges[0].Start) != 0 || stale.Ranges[0].EpochVersion != 2 {
			t.Fatalf("%v: %v", req, err)
		}
	}
	misrouted := getRequest("x", 0)
	misrouted.EpochVersion = 2
	var stale *rpcerr.StaleEpochError
	if _, err := b.exec.Execute(t.Context(), misrouted); !errors.As(err, &stale) || len(stale.Ranges) != 1 {
		t.Fatalf("a key of the other side: %v", err)
	}
	misrouted.RangeId = uint64(right)
	if resp, err := b.exec.Execute(t.Context(), misrouted); err != nil || !resp.GetGet().Found {
		t.Fatalf("%v, %v", resp, err)
	}
	b.engine.SetAway(right, true)
	var leader *rpcerr.NotLeaderError
	if _, err := b.exec.Execute(t.Context(), misrouted); !errors.As(err, &leader) {
		t.Fatalf("got %v", err)
	}
	b.exec.Drain()
	if n := txn.RangesInUse(b.exec); n != 0 {
		t.Fatalf("latches of %d ranges are still held", n)
	}
}

func TestMoments(t *testing.T) {
	b := newBench(nil)
	req := putRequest("k", "v")
	req.GetPut().TtlMs = 1000
	if _, err := b.exec.Execute(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if resp, err := b.exec.Execute(t.Context(), getRequest("k", 0)); err != nil || !resp.GetGet().Found {
		t.Fatalf("before its end: %v, %v", resp, err)
	}
	b.oracle.Advance(1001)
	if resp, err := b.exec.Execute(t.Context(), getRequest("k", 0)); err != nil || resp.GetGet().Found {
		t.Fatalf("after its end: %v, %v", resp, err)
	}
	var invalid *rpcerr.InvalidArgumentError
	future := uint64(proto.MakeTimestamp(baseMillis+5000, 0))
	if _, err := b.exec.Execute(t.Context(), getRequest("k", future)); !errors.As(err, &invalid) {
		t.Fatalf("in the future: %v", err)
	}
	scan := scanRequest()
	scan.ReadAt = future
	if _, err := b.exec.Execute(t.Context(), scan); !errors.As(err, &invalid) {
		t.Fatalf("in the future: %v", err)
	}
	at := proto.MakeTimestamp(baseMillis+9000, 3)
	resp, err := b.exec.ExecuteAt(t.Context(), putRequest("bound", "v"), at)
	if err != nil || resp.GetPut().Version != uint64(at) {
		t.Fatalf("%v, %v", resp, err)
	}
	if _, err := b.exec.ExecuteAt(t.Context(), putRequest("bound", "w"), at); !errors.Is(err, mvcc.ErrTimestampOrder) {
		t.Fatalf("twice at the same timestamp: %v", err)
	}
	b.checkIdle(t)
}

// deposed is an engine whose leadership can not be confirmed from a moment on: what its views show may be out of date.
type deposed struct {
	*txntest.Engine
	armed   atomic.Bool
	onceNow atomic.Bool // the next view is the last of its term
}

func (d *deposed) NewView() storage.View {
	v := d.Engine.NewView()
	if d.onceNow.Swap(false) {
		d.SetAway(proto.FirstUserRange, true)
		d.SetAway(proto.FirstUserRange, false)
	}
	return v
}

func (d *deposed) Confirm(ctx context.Context, id proto.RangeID, term uint64) error {
	if d.armed.Load() {
		return &rpcerr.NotLeaderError{NotLeader: &vipkvpb.NotLeader{RangeId: uint64(id)}}
	}
	return d.Engine.Confirm(ctx, id, term)
}

// Nothing may be answered from a state that is not confirmed, not even a refusal.
func TestUnconfirmedAnswersNothing(t *testing.T) {
	d := &deposed{}
	b := newBench(nil, func(c *txn.Config) {
		d.Engine = c.Engine.(*txntest.Engine)
		c.Engine = d
	})
	with := func(condition bool) *internalpb.ExecuteRequest {
		req := putRequest("k", "v")
		req.GetPut().RequestId = &vipkvpb.RequestId{Id: make([]byte, 16), IssuedMs: baseMillis}
		if condition {
			req = putRequest("k", "v")
			req.GetPut().IfAbsent = true
		}
		return req
	}
	if _, err := b.exec.Execute(t.Context(), with(false)); err != nil {
		t.Fatal(err)
	}
	d.armed.Store(true)
	for i, req := range []*internalpb.ExecuteRequest{with(false), with(true), getRequest("k", 0), scanRequest()} {
		var leader *rpcerr.NotLeaderError
		if resp, err := b.exec.Execute(t.Context(), req); !errors.As(err, &leader) {
			t.Errorf("request %d: %v, %v", i, resp, err)
		}
	}
	b.checkIdle(t)
}

// Another leader may have written between a view and the next term in which this store leads: what was evaluated on
// that view must not be proposed.
func TestViewOfAnEarlierTerm(t *testing.T) {
	d := &deposed{}
	b := newBench(nil, func(c *txn.Config) {
		d.Engine = c.Engine.(*txntest.Engine)
		c.Engine = d
	})
	for _, req := range []*internalpb.ExecuteRequest{putRequest("k", "v"), getRequest("k", 0), scanRequest()} {
		d.onceNow.Store(true)
		var leader *rpcerr.NotLeaderError
		if resp, err := b.exec.Execute(t.Context(), req); !errors.As(err, &leader) {
			t.Errorf("%v: %v, %v", req, resp, err)
		}
	}
	b.checkIdle(t)
}

func TestLatchesAreReleasedOnAllPaths(t *testing.T) {
	refused := errors.New("refused")
	broken := []func(*txn.Config){
		func(c *txn.Config) { c.Oracle = failingOracle{refused} },
		func(c *txn.Config) {
			c.SealerFor = func(context.Context, proto.TenantID) (mvcc.Sealer, error) { return nil, refused }
		},
		func(c *txn.Config) {
			c.SealerFor = func(context.Context, proto.TenantID) (mvcc.Sealer, error) { return failingSealer{refused}, nil }
		},
	}
	for i, change := range broken {
		b := newBench(nil, change)
		if _, err := b.exec.Execute(t.Context(), putRequest("k", "v")); !errors.Is(err, refused) {
			t.Errorf("case %d: %v", i, err)
		}
		b.checkIdle(t)
	}
	for fault, want := range map[txntest.Fault]any{
		txntest.Lost: new(*rpcerr.AmbiguousError), txntest.AppliedSilent: new(*rpcerr.AmbiguousError),
		txntest.Refused: new(*rpcerr.NotLeaderError),
	} {
		b := newBench(func(proto.RangeID, *internalpb.Command) txntest.Fault { return fault })
		if _, err := b.exec.Execute(t.Context(), putRequest("k", "v")); !errors.As(err, want) {
			t.Errorf("fault %d: %v", fault, err)
		}
		b.checkIdle(t)
	}
}

// A node that stops has no timestamps any more: its callers are told to go elsewhere, not that something is broken.
func TestStoppingNodeSendsElsewhere(t *testing.T) {
	stopping := fmt.Errorf("%w: no timestamps", txn.ErrStopping)
	b := newBench(nil, func(c *txn.Config) { c.Oracle = failingOracle{stopping} })
	for _, req := range []*internalpb.ExecuteRequest{putRequest("k", "v"), scanRequest()} {
		var leader *rpcerr.NotLeaderError
		if _, err := b.exec.Execute(t.Context(), req); !errors.As(err, &leader) || leader.RangeId != req.RangeId {
			t.Errorf("%v: %v", req, err)
		}
	}
	b.checkIdle(t)
}

type failingOracle struct{ err error }

func (f failingOracle) Timestamp(context.Context) (proto.Timestamp, error) { return 0, f.err }

type failingSealer struct{ err error }

func (f failingSealer) Seal([]byte, mvcc.ValueMeta, []byte) ([]byte, error) { return nil, f.err }
func (f failingSealer) Open([]byte, mvcc.ValueMeta, []byte) ([]byte, error) { return nil, f.err }

// Commits of several keys are seen whole or not at all by scans.
func TestScansSeeWholeCommits(t *testing.T) {
	b := newBench(nil)
	names := []string{"a", "b", "c"}
	var wg sync.WaitGroup
	var done atomic.Int32
	for n := range 3 {
		wg.Go(func() {
			defer done.Add(1)
			for i := range 200 {
				c := &vipkvpb.CommitRequest{}
				for _, name := range names {
					c.Mutations = append(c.Mutations, &vipkvpb.Mutation{Key: []byte(name), Value: fmt.Append(nil, n, "/", i)})
				}
				req := request(1)
				req.Request = &internalpb.ExecuteRequest_Commit{Commit: c}
				if _, err := b.exec.Execute(t.Context(), req); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for done.Load() < 3 {
		resp, err := b.exec.Execute(t.Context(), scanRequest())
		if err != nil {
			t.Fatal(err)
		}
		items := resp.GetScan().Items
		for _, item := range items {
			if len(items) != 3 || string(item.Value) != string(items[0].Value) || item.Version != items[0].Version {
				t.Fatalf("a commit in parts: %v", items)
			}
		}
	}
	wg.Wait()
	b.checkIdle(t)
}
