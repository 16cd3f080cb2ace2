package tso

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/proto/wait"
)

// ErrNotServing: this node's oracle does not serve now; ask the node that leads the system range. No timestamp was
// handed out.
var ErrNotServing = errors.New("the timestamp oracle does not serve on this node")

// Saver keeps the bound. Both calls are fenced by the term: they fail, without effect, when the node does not lead the
// system range in that term; a save of an older term never takes effect after a load of a newer one has answered.
type Saver interface {
	// LoadBound returns the newest saved bound in milliseconds, 0 when there never was one.
	LoadBound(ctx context.Context, term uint64) (ms uint64, err error)
	// SaveBound writes the bound under the version at. An error leaves the outcome open. Of two saves the one with
	// the greater at wins, in whatever order they are applied.
	SaveBound(ctx context.Context, term uint64, ms uint64, at proto.Timestamp) error
}

// Config of an Oracle.
type Config struct {
	// WindowMs is how far the saved bound lies ahead: 3000 by default. Longer: fewer saves, a longer jump at
	// failover.
	WindowMs int64
	// ForwardJumpMaxMs is how far the clock may lie ahead of the saved bound: 24 hours by default, 0: any distance.
	// Timestamps can not go back, so a clock with a wrong year would harm for ever.
	ForwardJumpMaxMs int64
	// ExtendEvery is how often the bound is looked after: 50 ms by default.
	ExtendEvery time.Duration
	// SaveTimeout bounds one save: 2 s by default.
	SaveTimeout time.Duration
	// WaitersMax is how many requests may wait for a higher bound: 10,000 by default. More are refused as throttled.
	WaitersMax int
	// NowMs is the wall clock in milliseconds since 1970.
	NowMs func() int64
	// Leading tells whether this node leads the system range in this term, now, by a valid lease. It must not block.
	Leading func(term uint64) bool
	// Logger: nil logs nothing.
	Logger *slog.Logger
	// Wait is how requests wait for a higher bound, and Run between its looks. Default wait.Real.
	Wait wait.Scheduler
}

// DefaultConfig has every field but NowMs and Leading.
func DefaultConfig() Config {
	return Config{
		WindowMs:         DefaultWindowMs,
		ForwardJumpMaxMs: DefaultForwardJumpMaxMs,
		ExtendEvery:      50 * time.Millisecond,
		SaveTimeout:      2 * time.Second,
		WaitersMax:       10_000,
	}
}

// Validate checks the config.
func (c Config) Validate() error {
	switch {
	case c.WindowMs < 10:
		return fmt.Errorf("tso: window of %d ms is below 10 ms", c.WindowMs)
	case c.ForwardJumpMaxMs < 0:
		return fmt.Errorf("tso: negative forward jump limit")
	case c.ExtendEvery <= 0 || c.ExtendEvery.Milliseconds() > c.WindowMs/4:
		return fmt.Errorf("tso: the bound must be looked after at least four times a window")
	case c.SaveTimeout <= 0 || c.WaitersMax <= 0:
		return fmt.Errorf("tso: save timeout and waiters must be positive")
	case c.NowMs == nil || c.Leading == nil:
		return fmt.Errorf("tso: clock and leadership check are needed")
	}
	return nil
}

// Oracle is the concurrent shell around a Core.
type Oracle struct {
	cfg   Config
	saver Saver
	wake  chan struct{} // capacity 1: Run looks after the bound at once

	mu struct { // never held across Saver or Leading calls
		sync.Mutex
		core    *Core
		waiters int
		changed chan struct{} // closed and replaced when waiters should look again
	}
}

// New makes a stopped oracle.
func New(cfg Config, saver Saver) (*Oracle, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Wait = wait.Or(cfg.Wait)
	o := &Oracle{cfg: cfg, saver: saver, wake: make(chan struct{}, 1)}
	o.mu.core = NewCore(cfg.WindowMs, cfg.ForwardJumpMaxMs)
	o.mu.changed = make(chan struct{})
	return o, nil
}

// Start begins to serve for a term of leadership: it loads the saved bound, saves its own, and returns when the oracle
// serves. After an error, or a Stop, it does not serve and may be started again, in the same term too. A Stop during
// Start makes it fail with ErrSuperseded; so does a term below one that was started or stopped.
func (o *Oracle) Start(ctx context.Context, term uint64) error {
	o.mu.Lock()
	generation, err := o.mu.core.Start(term)
	o.signalLocked()
	o.mu.Unlock()
	if err != nil {
		return err
	}
	if err := o.start(ctx, term, generation); err != nil {
		o.mu.Lock()
		o.mu.core.Abort(generation)
		o.signalLocked()
		o.mu.Unlock()
		return fmt.Errorf("start the oracle in term %d: %w", term, err)
	}
	return nil
}

func (o *Oracle) start(ctx context.Context, term, generation uint64) error {
	bound, err := o.saver.LoadBound(ctx, term)
	if err != nil {
		return fmt.Errorf("load the bound: %w", err)
	}
	if bound > math.MaxInt64>>proto.TimestampLogicalBits {
		return fmt.Errorf("load the bound: %d ms is not a time", bound)
	}
	o.mu.Lock()
	s, err := o.mu.core.Loaded(generation, int64(bound), o.cfg.NowMs())
	o.mu.Unlock()
	if err != nil {
		return err
	}
	if err := o.saver.SaveBound(ctx, term, uint64(s.BoundMs), s.At); err != nil {
		return fmt.Errorf("save the first bound: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.signalLocked()
	return o.mu.core.Saved(s)
}

// Stop ends serving for this term and all before it. A newer incarnation is left alone. Requests that wait fail.
func (o *Oracle) Stop(term uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.core.Stop(term)
	o.signalLocked()
}

// Serving tells whether the oracle serves, and for which term.
func (o *Oracle) Serving() (term uint64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	term, _, ok = o.mu.core.Serving()
	return term, ok
}

// Timestamps takes count timestamps in a row, 1 to CountMax: first, first+1, and so on. It waits while the bound is
// raised. Errors: ErrNotServing, a ThrottledError when too many wait, an InvalidArgumentError, the context's.
func (o *Oracle) Timestamps(ctx context.Context, count uint32) (first proto.Timestamp, err error) {
	if count == 0 || count > CountMax {
		return 0, rpcerr.Invalid("count", fmt.Sprintf("must be 1 to %d", CountMax))
	}
	term, generation, ok := o.serving()
	if !ok || !o.cfg.Leading(term) {
		return 0, ErrNotServing
	}
	first, changed, err := o.take(generation, count, false)
	for changed != nil && err == nil {
		if err := o.cfg.Wait.Await(ctx, changed); err != nil {
			o.mu.Lock()
			o.mu.waiters--
			o.mu.Unlock()
			return 0, err
		}
		first, changed, err = o.take(generation, count, true)
	}
	if err != nil {
		return 0, err
	}
	// I5: a node that was paused between the two checks has lost its lease by now, and another may have handed out more.
	if !o.cfg.Leading(term) {
		return 0, ErrNotServing
	}
	if _, now, ok := o.serving(); !ok || now != generation {
		return 0, ErrNotServing
	}
	return first, nil
}

func (o *Oracle) serving() (term, generation uint64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mu.core.Serving()
}

// take takes a block in this incarnation, or answers a channel to wait on and counts the caller as a waiter. waited:
// the caller is counted already.
func (o *Oracle) take(
	generation uint64, count uint32, waited bool,
) (first proto.Timestamp, wait <-chan struct{}, err error) {
	now := o.cfg.NowMs()
	o.mu.Lock()
	defer o.mu.Unlock()
	if waited {
		o.mu.waiters--
	}
	if _, current, ok := o.mu.core.Serving(); !ok || current != generation {
		return 0, nil, ErrNotServing
	}
	if first, ok := o.mu.core.Take(count, now); ok {
		return first, nil, nil
	}
	if o.mu.waiters >= o.cfg.WaitersMax {
		return 0, nil, rpcerr.Throttled("too many requests wait for timestamps", o.cfg.ExtendEvery)
	}
	o.mu.waiters++
	o.signalRun()
	return 0, o.mu.changed, nil
}

func (o *Oracle) signalLocked() {
	close(o.mu.changed)
	o.mu.changed = make(chan struct{})
	o.signalRun()
}

func (o *Oracle) signalRun() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Run keeps the bound ahead of need until ctx ends. It returns nil. A failed save is tried again after ExtendEvery;
// meanwhile the oracle serves below the old bound.
func (o *Oracle) Run(ctx context.Context) error {
	ignoring := false
	for ctx.Err() == nil {
		look, cancel := o.cfg.Wait.WithTimeout(ctx, o.cfg.ExtendEvery)
		_ = o.cfg.Wait.Await(look, o.wake) // or it is time to look anyway
		cancel()
		if ctx.Err() == nil && o.extend(ctx, &ignoring) {
			_ = o.cfg.Wait.Sleep(ctx, o.cfg.ExtendEvery) // do not let waiters spin us through failing saves
		}
	}
	return nil
}

func (o *Oracle) extend(ctx context.Context, ignoring *bool) (failed bool) {
	now := o.cfg.NowMs()
	o.mu.Lock()
	s, due := o.mu.core.Extend(now)
	_, _, serving := o.mu.core.Serving()
	ignored := serving && !o.mu.core.ClockUsable(now)
	o.mu.Unlock()
	if ignored && !*ignoring {
		o.cfg.Logger.Error("wall clock is too far ahead, timestamps go on without it", "now_ms", now)
	}
	*ignoring = ignored
	if !due {
		return false
	}
	saveCtx, cancel := o.cfg.Wait.WithTimeout(ctx, o.cfg.SaveTimeout)
	err := o.saver.SaveBound(saveCtx, s.Term, uint64(s.BoundMs), s.At)
	cancel()
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.mu.core.SaveFailed(s)
		o.cfg.Logger.Warn("timestamp bound was not saved", "term", s.Term, "err", err)
		return true
	}
	if o.mu.core.Saved(s) == nil { // else: another incarnation's business now (I4)
		o.signalLocked()
	}
	return false
}
