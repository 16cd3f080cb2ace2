package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// Store is one disk's replicas: cores, their workers, the log writer, the applier, range snapshots and splits.
type Store struct {
	*Calls
	cfg     Config
	workers []*worker
	logs    *queue[logJob]
	applies *queue[applyJob]
	spans   *lockedSpans
	metrics *metrics

	incoming *incoming
	sends    chan sendJob // capacity: what raft can ask for at once; full: the snapshot fails and raft asks again

	stopped  chan struct{}
	stopOnce sync.Once
	failure  atomic.Pointer[error]
}

// Open makes a store of what the engine holds. Nothing moves until Run.
func Open(cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, logs: newQueue[logJob](), applies: newQueue[applyJob](),
		spans: &lockedSpans{table: replica.NewSpanTable()}, metrics: newMetrics(cfg.Registerer),
		sends: make(chan sendJob, 64), stopped: make(chan struct{}),
	}
	s.Calls = NewCalls(CallsConfig{
		Store: cfg.Store, Workers: cfg.Workers, NewView: cfg.Engine.NewView,
		Offer:         func(id proto.RangeID, f func(*replica.Core)) bool { return s.workerOf(id).box.offer(f) },
		AllocateRange: cfg.AllocateRange, AdjustSplitKey: cfg.AdjustSplitKey, Logger: cfg.Logger,
		SplitBytes: cfg.SplitBytes, SplitInterval: cfg.SplitInterval,
		TransferTimeout: 2 * time.Duration(cfg.Core.ElectionTicks) * cfg.TickInterval,
		QueueFull:       s.metrics.queueFull.Inc, Split: s.metrics.splits.Inc,
	})
	var err error
	if s.incoming, err = newIncoming(s); err != nil {
		return nil, err
	}
	core := cfg.Core
	core.Store, core.Reader, core.Spans = cfg.Store, cfg.Engine, s.spans
	core.Logger = raftLogger{cfg.Logger}
	for range cfg.Workers {
		s.workers = append(s.workers, &worker{s: s, core: replica.NewCore(core), box: newMailbox(cfg.MailboxMax)})
	}
	ids, err := replica.Ranges(cfg.Engine)
	if err != nil {
		return nil, fmt.Errorf("list the ranges of store %d: %w", cfg.Store, err)
	}
	for _, id := range ids {
		if err := s.workerOf(id).core.Load(id); err != nil {
			return nil, markCorrupt(err)
		}
	}
	for _, w := range s.workers {
		w.dispatch(w.core.Ready())
	}
	if err := s.err(); err != nil {
		return nil, err
	}
	return s, nil
}

// Run moves the store until ctx ends or it fails. It returns after all its goroutines.
func (s *Store) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range s.workers {
		g.Go(func() error { w.run(ctx); return nil })
	}
	g.Go(func() error { s.runLog(ctx); return nil })
	g.Go(func() error { s.runApply(ctx); return nil })
	g.Go(func() error { s.runTicks(ctx); return nil })
	g.Go(func() error { s.RunSplits(ctx); return nil })
	for range s.cfg.SendSlots {
		g.Go(func() error { s.runSends(ctx); return nil })
	}
	g.Go(func() error {
		select {
		case <-ctx.Done():
			s.stop()
			return nil
		case <-s.stopped:
			return errors.Join(ErrStopped, s.err())
		}
	})
	err := g.Wait()
	if err != nil && errors.Is(err, ErrStopped) {
		return s.err()
	}
	return err
}

func (s *Store) stop() {
	s.stopOnce.Do(func() {
		close(s.stopped)
		s.Calls.Stop()
	})
}

// fail stops the store for good: nothing is acknowledged from here on.
func (s *Store) fail(err error) {
	err = markCorrupt(err)
	if s.failure.CompareAndSwap(nil, &err) {
		s.cfg.Logger.Error("store failed", slog.Uint64("store", uint64(s.cfg.Store)), slog.Any("error", err))
		s.cfg.OnFatal(err)
		s.stop()
	}
}

// markCorrupt marks a log that has lost what was on the disk as the corruption that it is.
func markCorrupt(err error) error {
	if errors.Is(err, replica.ErrLogLost) {
		return fmt.Errorf("%w: %w", engine.ErrCorrupt, err)
	}
	return err
}

func (s *Store) err() error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

func (s *Store) runTicks(ctx context.Context) {
	t := time.NewTicker(s.cfg.TickInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			for _, w := range s.workers {
				w.box.tick()
			}
		}
	}
}

func (s *Store) workerOf(id proto.RangeID) *worker {
	return s.workers[uint64(id)%uint64(len(s.workers))]
}

// Step takes messages from other stores. Those that find no room are dropped.
func (s *Store) Step(messages []*internalpb.RaftMessage) {
	for _, m := range messages {
		if !s.workerOf(proto.RangeID(m.RangeId)).box.offer(func(c *replica.Core) { c.Message(m) }) {
			s.metrics.messagesDropped.Inc()
		}
	}
}

// lockedSpans is a SpanTable for several workers.
type lockedSpans struct {
	mu    sync.Mutex
	table *replica.SpanTable
}

func (l *lockedSpans) Set(id proto.RangeID, start, end []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.table.Set(id, start, end)
}

func (l *lockedSpans) Split(left, right proto.RangeID, key []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.table.Split(left, right, key)
}

func (l *lockedSpans) Remove(id proto.RangeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.table.Remove(id)
}

func (l *lockedSpans) Claim(id proto.RangeID, start, end []byte) (proto.RangeID, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.table.Claim(id, start, end)
}

func (l *lockedSpans) Release(id proto.RangeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.table.Release(id)
}
