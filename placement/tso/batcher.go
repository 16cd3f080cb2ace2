package tso

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/proto/wait"
)

// ErrBatcherStopped: Batcher.Run has returned.
var ErrBatcherStopped = errors.New("the timestamp client has stopped")

// Fetch takes count timestamps in a row from the oracle, wherever it is. It finds the oracle and retries as it sees
// fit, within ctx.
type Fetch func(ctx context.Context, count uint32) (first proto.Timestamp, err error)

// BatcherConfig of a Batcher.
type BatcherConfig struct {
	// CallsMax is how many calls run at once: 2 by default, so that a request does not wait for the whole of a
	// round trip that began just before it.
	CallsMax int
	// BatchMax is the most timestamps of one call: 8,192 by default, at most CountMax.
	BatchMax int
	// QueueMax is how many requests may wait: 65,536 by default. More are refused as throttled.
	QueueMax int
	// CallTimeout bounds one call: 5 s by default.
	CallTimeout time.Duration
	// Wait is how requests and calls wait. Default wait.Real.
	Wait wait.Scheduler
}

// DefaultBatcherConfig has every field.
func DefaultBatcherConfig() BatcherConfig {
	return BatcherConfig{CallsMax: 2, BatchMax: 8192, QueueMax: 65_536, CallTimeout: 5 * time.Second,
		Wait: wait.Real{}}
}

// Validate checks the config.
func (c BatcherConfig) Validate() error {
	if c.CallsMax < 1 || c.BatchMax < 1 || c.BatchMax > CountMax || c.QueueMax < 1 || c.CallTimeout <= 0 {
		return fmt.Errorf("tso: batcher limits out of range: %+v", c)
	}
	return nil
}

// request is one who waits for a timestamp. ts and err are written before done is closed.
type request struct {
	done chan struct{}
	ts   proto.Timestamp
	err  error
}

func (r *request) answer(ts proto.Timestamp, err error) {
	r.ts, r.err = ts, err
	close(r.done)
}

// Batcher turns concurrent requests for a timestamp into shared calls.
type Batcher struct {
	cfg   BatcherConfig
	fetch Fetch
	wake  chan struct{} // capacity CallsMax

	mu struct {
		sync.Mutex
		waiting []*request
		stopped bool
	}
}

// NewBatcher makes a batcher; nothing is answered before Run.
func NewBatcher(cfg BatcherConfig, fetch Fetch) (*Batcher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Wait = wait.Or(cfg.Wait)
	return &Batcher{cfg: cfg, fetch: fetch, wake: make(chan struct{}, cfg.CallsMax)}, nil
}

// Timestamp returns a fresh timestamp: greater than every timestamp that anybody received before this call began.
// Errors: those of the fetch, ThrottledError when the queue is full, ErrBatcherStopped, the context's.
func (b *Batcher) Timestamp(ctx context.Context) (proto.Timestamp, error) {
	r := &request{done: make(chan struct{})}
	b.mu.Lock()
	switch {
	case b.mu.stopped:
		b.mu.Unlock()
		return 0, ErrBatcherStopped
	case len(b.mu.waiting) >= b.cfg.QueueMax:
		b.mu.Unlock()
		return 0, rpcerr.Throttled("too many requests wait for a timestamp", 10*time.Millisecond)
	}
	b.mu.waiting = append(b.mu.waiting, r)
	b.mu.Unlock()
	b.signal()
	if err := b.cfg.Wait.Await(ctx, r.done); err != nil {
		return 0, err // its place in the call is wasted, nothing more
	}
	return r.ts, r.err
}

func (b *Batcher) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Run answers requests until ctx ends, then fails all that wait and returns nil. It owns CallsMax goroutines.
func (b *Batcher) Run(ctx context.Context) error {
	loops := make([]func(), b.cfg.CallsMax)
	for i := range loops {
		loops[i] = func() { b.loop(ctx) }
	}
	wait.All(b.cfg.Wait, loops...)
	b.mu.Lock()
	b.mu.stopped = true
	left := b.mu.waiting
	b.mu.waiting = nil
	b.mu.Unlock()
	for _, r := range left {
		r.answer(0, ErrBatcherStopped)
	}
	return nil
}

func (b *Batcher) loop(ctx context.Context) {
	for b.cfg.Wait.Await(ctx, b.wake) == nil {
		for ctx.Err() == nil {
			batch := b.takeBatch()
			if len(batch) == 0 {
				break
			}
			b.call(ctx, batch)
		}
	}
}

// takeBatch closes the batch: who comes later is in another one (I6).
func (b *Batcher) takeBatch() []*request {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.mu.waiting), b.cfg.BatchMax)
	batch := b.mu.waiting[:n:n]
	b.mu.waiting = b.mu.waiting[n:]
	if len(b.mu.waiting) == 0 {
		b.mu.waiting = nil
	}
	return batch
}

func (b *Batcher) call(ctx context.Context, batch []*request) {
	callCtx, cancel := b.cfg.Wait.WithTimeout(ctx, b.cfg.CallTimeout)
	defer cancel()
	first, err := b.fetch(callCtx, uint32(len(batch)))
	switch {
	case err != nil && ctx.Err() != nil:
		err = ErrBatcherStopped
	case err != nil:
		err = fmt.Errorf("take %d timestamps: %w", len(batch), err)
	}
	for i, r := range batch {
		if err != nil {
			r.answer(0, err)
			continue
		}
		r.answer(first+proto.Timestamp(i), nil)
	}
}
