package txn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/proto/wait"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// Evaluation says under what a command is evaluated. Nobody changes Descriptor.
type Evaluation struct {
	Descriptor *internalpb.Descriptor
	Term       uint64
}

// Engine is all that executing a command needs from replication. raftstore has the real one, txntest an in-memory one;
// both pass txntest.RunEngine.
type Engine interface {
	// Begin answers when this store leads the range and has applied an entry of its term; else it fails with
	// *rpcerr.NotLeaderError or another error of the table.
	Begin(ctx context.Context, id proto.RangeID) (Evaluation, error)
	// NewView pins what has been applied.
	NewView() storage.View
	// Confirm returns nil once this store is known to have led the range in this term at a moment after the call was
	// made, and to have applied everything committed before the call.
	Confirm(ctx context.Context, id proto.RangeID, term uint64) error
	// Propose returns nil when the command was applied here. *rpcerr.StaleEpochError and *rpcerr.NotLeaderError (and
	// *rpcerr.ThrottledError) mean without effect, *rpcerr.AmbiguousError unknown. It returns in bounded time whatever
	// happens. After an AmbiguousError the command's fate is settled before Begin answers for the range again with the
	// same or a later term: otherwise a command evaluated in between would not see it.
	Propose(ctx context.Context, id proto.RangeID, cmd *internalpb.Command) error
}

// ErrStopping is what an Oracle wraps when this node takes no timestamps any more, since it stops: others do.
var ErrStopping = errors.New("the node stops")

// Oracle hands out timestamps, each greater than all that were handed out before the call was made.
type Oracle interface {
	Timestamp(ctx context.Context) (proto.Timestamp, error)
}

// Config is what an Executor is made of.
type Config struct {
	Engine Engine
	Oracle Oracle
	// SealerFor returns the sealer with the tenant's keys. Its errors go to the caller as they are.
	SealerFor func(ctx context.Context, tenant proto.TenantID) (mvcc.Sealer, error)
	// Draw fills b with random bytes from a cryptographic source.
	Draw func(b []byte)
	// LatchWaitersMax is how many commands of one range may wait for latches; more are refused with
	// *rpcerr.ThrottledError. Default 4096, at least 1.
	LatchWaitersMax int
	// Wait is how commands wait for latches and for outcomes. Default wait.Real.
	Wait wait.Scheduler
}

// DefaultConfig fills in what has a default.
func DefaultConfig() Config { return Config{LatchWaitersMax: 4096} }

// Validate checks that nothing is missing.
func (c *Config) Validate() error {
	if c.Engine == nil || c.Oracle == nil || c.SealerFor == nil || c.Draw == nil {
		return errors.New("txn: Engine, Oracle, SealerFor and Draw must be set")
	}
	if c.LatchWaitersMax < 1 {
		return errors.New("txn: LatchWaitersMax must be at least 1")
	}
	return nil
}

// Executor carries out commands on the ranges that this store leads.
type Executor struct {
	cfg Config

	seen      atomic.Uint64  // the greatest timestamp that the oracle has handed out here
	proposals sync.WaitGroup // goroutines that wait for a proposal's outcome

	mu struct {
		sync.Mutex
		ranges map[proto.RangeID]*rangeLatches // only those in use
	}
}

type rangeLatches struct {
	*Latches
	users int
}

// NewExecutor panics when the config is not valid.
func NewExecutor(cfg Config) *Executor {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	cfg.Wait = wait.Or(cfg.Wait)
	e := &Executor{cfg: cfg}
	e.mu.ranges = make(map[proto.RangeID]*rangeLatches)
	return e
}

// Drain returns when the outcome of every proposal is known. Nothing may be executed any more.
func (e *Executor) Drain() { e.proposals.Wait() }

// Execute carries out one command. Errors are those of rpcerr's table, the context's, and *mvcc.LockedError.
func (e *Executor) Execute(
	ctx context.Context, req *internalpb.ExecuteRequest,
) (*internalpb.ExecuteResponse, error) {
	return e.ExecuteAt(ctx, req, 0)
}

// ExecuteAt is Execute, but a write takes place at ts instead of at a fresh timestamp (unless ts is 0). It is for the
// oracle's own record in the system range: ts must be above all versions of the keys, and reads at a timestamp of those
// keys are not repeatable.
func (e *Executor) ExecuteAt(
	ctx context.Context, req *internalpb.ExecuteRequest, ts proto.Timestamp,
) (*internalpb.ExecuteResponse, error) {
	if err := mvcc.Validate(req); err != nil {
		return nil, err
	}
	if fault.On(fault.OtherTenantsKey) && req.GetGet() != nil && req.Tenant > 1 {
		req = gproto.Clone(req).(*internalpb.ExecuteRequest)
		req.Tenant--
	}
	c := &command{e: e, req: req, id: proto.RangeID(req.RangeId), tenant: proto.TenantID(req.Tenant)}
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	var err error
	if c.sealer, err = e.cfg.SealerFor(ctx, c.tenant); err != nil {
		return nil, err
	}
	switch mvcc.KindOf(req) {
	case mvcc.KindWrite:
		return c.write(ctx, ts)
	case mvcc.KindSnapshot:
		return c.readAt(ctx)
	}
	return c.readLatest(ctx)
}

// timestamp takes a timestamp. A node that stops sends the command elsewhere: it has done nothing yet.
func (c *command) timestamp(ctx context.Context) (proto.Timestamp, error) {
	ts, err := c.e.cfg.Oracle.Timestamp(ctx)
	if errors.Is(err, ErrStopping) {
		return 0, &rpcerr.NotLeaderError{NotLeader: &vipkvpb.NotLeader{RangeId: uint64(c.id)}}
	}
	if err != nil {
		return 0, fmt.Errorf("take a timestamp: %w", err)
	}
	for {
		seen := c.e.seen.Load()
		if uint64(ts) <= seen || c.e.seen.CompareAndSwap(seen, uint64(ts)) {
			return ts, nil
		}
	}
}

// latches returns the range's latches, which stay until giveBack.
func (e *Executor) latches(id proto.RangeID) *rangeLatches {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.mu.ranges[id]
	if r == nil {
		r = &rangeLatches{Latches: newLatches(e.cfg.LatchWaitersMax, e.cfg.Wait)}
		e.mu.ranges[id] = r
	}
	r.users++
	return r
}

func (e *Executor) giveBack(id proto.RangeID, r *rangeLatches) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.users--; r.users == 0 {
		delete(e.mu.ranges, id)
	}
}

// command is one command under way.
type command struct {
	e      *Executor
	req    *internalpb.ExecuteRequest
	id     proto.RangeID
	tenant proto.TenantID
	sealer mvcc.Sealer
	at     Evaluation
}

// begin learns the range's leadership and checks that the caller knows the range as it is.
func (c *command) begin(ctx context.Context) error {
	at, err := c.e.cfg.Engine.Begin(ctx, c.id)
	if err != nil {
		return err
	}
	c.at = at
	if at.Descriptor.GetEpoch().GetVersion() != c.req.EpochVersion && !c.anywhere() {
		return c.stale()
	}
	return nil
}

// anywhere is a mutant: a read that does not care whether the range has its keys.
func (c *command) anywhere() bool {
	return fault.On(fault.SkipReadEpoch) && mvcc.KindOf(c.req) != mvcc.KindWrite
}

// stale tells the caller what is known of the range, clipped to the tenant.
func (c *command) stale() error {
	d, info := c.at.Descriptor, &vipkvpb.StaleEpoch{}
	if start, end, ok := mvcc.ClipSpan(c.tenant, d.GetStart(), d.GetEnd()); ok {
		info.Ranges = []*vipkvpb.RangeRoute{{
			RangeId: d.GetRangeId(), EpochVersion: d.GetEpoch().GetVersion(), Start: start, End: end,
		}}
	}
	return &rpcerr.StaleEpochError{StaleEpoch: info}
}

// evaluate carries the command out on a fresh view. The range's epoch is checked again after the view was taken: what
// the view shows of the span is the range's.
func (c *command) evaluate(ctx context.Context, now proto.Timestamp) (*mvcc.Result, error) {
	view := c.e.cfg.Engine.NewView()
	res, err := c.evaluateOn(ctx, view, now)
	if closeErr := view.Close(); err == nil && closeErr != nil {
		return nil, fmt.Errorf("range %d: close a view: %w", c.id, closeErr)
	}
	return res, err
}

func (c *command) evaluateOn(ctx context.Context, view storage.View, now proto.Timestamp) (*mvcc.Result, error) {
	term := c.at.Term
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	if c.at.Term != term {
		return nil, &rpcerr.NotLeaderError{NotLeader: &vipkvpb.NotLeader{RangeId: uint64(c.id)}}
	}
	start, end := c.at.Descriptor.GetStart(), c.at.Descriptor.GetEnd()
	if c.anywhere() {
		start, end = nil, nil
	}
	res, err := mvcc.Evaluate(&mvcc.Env{
		Reader: view, Sealer: c.sealer, Tenant: c.tenant, Draw: c.e.cfg.Draw, Now: now,
		Start: start, End: end,
	}, c.req)
	var stale *rpcerr.StaleEpochError
	if errors.As(err, &stale) {
		err = c.stale()
	}
	return res, err
}

// readLatest answers from the newest state. When that depends on time it begins anew with a timestamp: the view must be
// taken after it, or a value could be called expired that was replaced before its time.
func (c *command) readLatest(ctx context.Context) (*internalpb.ExecuteResponse, error) {
	now := proto.Timestamp(0)
	for {
		if err := c.confirm(ctx); err != nil {
			return nil, err
		}
		res, err := c.evaluate(ctx, now)
		if errors.Is(err, mvcc.ErrNeedTimestamp) && now == 0 {
			if now, err = c.timestamp(ctx); err != nil {
				return nil, err
			}
			continue
		}
		return answerOf(res), err
	}
}

// confirm returns nil when what has been applied here is all that was committed before the call.
func (c *command) confirm(ctx context.Context) error {
	if fault.On(fault.UnconfirmedReads) {
		return nil
	}
	return c.e.cfg.Engine.Confirm(ctx, c.id, c.at.Term)
}

// readAt answers from the state at a timestamp: fresh, or the caller's.
func (c *command) readAt(ctx context.Context) (*internalpb.ExecuteResponse, error) {
	at, err := c.moment(ctx)
	if err != nil {
		return nil, err
	}
	// Writers that have their timestamps, at or below this one perhaps, are under latches until they are applied. Who
	// takes latches later takes a later timestamp.
	if !fault.On(fault.SkipReadWait) {
		latches := c.e.latches(c.id)
		_, err = latches.Wait(ctx, mvcc.Spans(c.req))
		c.e.giveBack(c.id, latches)
	}
	if err != nil {
		return nil, err
	}
	if err := c.confirm(ctx); err != nil {
		return nil, err
	}
	res, err := c.evaluate(ctx, at)
	return answerOf(res), err
}

// moment is the timestamp at which to read.
func (c *command) moment(ctx context.Context) (proto.Timestamp, error) {
	at := c.req.ReadAt
	switch r := c.req.GetRequest().(type) {
	case *internalpb.ExecuteRequest_Get:
		at = r.Get.At
	case *internalpb.ExecuteRequest_BatchGet:
		at = max(at, r.BatchGet.At)
	case *internalpb.ExecuteRequest_Scan:
		at = max(at, r.Scan.At)
	}
	if at != 0 && at <= c.e.seen.Load() {
		return proto.Timestamp(at), nil
	}
	fresh, err := c.timestamp(ctx)
	if err != nil {
		return 0, err
	}
	if at == 0 {
		return fresh, nil
	}
	if at > uint64(fresh) {
		return 0, rpcerr.Invalid("at", "lies in the future")
	}
	return proto.Timestamp(at), nil
}

// write takes the latches, a timestamp, and proposes what it evaluates.
func (c *command) write(ctx context.Context, ts proto.Timestamp) (*internalpb.ExecuteResponse, error) {
	latches := c.e.latches(c.id)
	spans := mvcc.Spans(c.req)
	if fault.On(fault.SkipLatches) {
		spans = nil
	}
	guard, _, err := latches.Acquire(ctx, spans)
	if err != nil {
		c.e.giveBack(c.id, latches)
		return nil, err
	}
	release := func() {
		guard.Release()
		c.e.giveBack(c.id, latches)
	}
	res, err := c.underLatches(ctx, ts)
	if err == nil && res.Batch.Count() > 0 {
		return c.propose(ctx, res, release)
	}
	defer release()
	if isAnswer(err) { // of a state that might be out of date
		if err := c.e.cfg.Engine.Confirm(ctx, c.id, c.at.Term); err != nil {
			return nil, err
		}
	}
	return answerOf(res), err
}

// isAnswer tells whether an evaluation without a batch says something about the state that was read.
func isAnswer(err error) bool {
	if err == nil {
		return true
	}
	var failed *rpcerr.ConditionFailedError
	var conflict *rpcerr.StreamConflictError
	var reused *rpcerr.RequestReusedError
	var full *rpcerr.TailFullError
	return errors.As(err, &failed) || errors.As(err, &conflict) || errors.As(err, &reused) || errors.As(err, &full)
}

// underLatches evaluates a write. The range may have changed while the command waited, and its timestamp must be later
// than that of all who had the latches before.
func (c *command) underLatches(ctx context.Context, ts proto.Timestamp) (*mvcc.Result, error) {
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	if ts == 0 {
		var err error
		if ts, err = c.timestamp(ctx); err != nil {
			return nil, err
		}
	}
	return c.evaluate(ctx, ts)
}

// propose offers the batch to replication and answers when it is applied. The latches stay until the outcome is known,
// also when the caller does not wait that long: a goroutine that ends with Engine.Propose holds them.
func (c *command) propose(
	ctx context.Context, res *mvcc.Result, release func(),
) (*internalpb.ExecuteResponse, error) {
	cmd := &internalpb.Command{
		EpochVersion: c.at.Descriptor.GetEpoch().GetVersion(), EvalTerm: c.at.Term,
		Kind: &internalpb.Command_Write{Write: &internalpb.WriteCommand{
			Tenant: uint32(c.tenant), Batch: res.Batch.Bytes(), DeltaBytes: res.DeltaBytes,
		}},
	}
	done := make(chan struct{})
	var err error // written before done is closed
	c.e.proposals.Add(1)
	c.e.cfg.Wait.Go(func() {
		defer c.e.proposals.Done()
		err = c.e.cfg.Engine.Propose(context.WithoutCancel(ctx), c.id, cmd)
		release()
		close(done)
	})
	if c.e.cfg.Wait.Await(ctx, done) != nil {
		return nil, rpcerr.Ambiguous("the caller left before the write was applied")
	}
	if err != nil {
		return nil, err
	}
	return res.Response, nil
}

func answerOf(res *mvcc.Result) *internalpb.ExecuteResponse {
	if res == nil {
		return nil
	}
	return res.Response
}
