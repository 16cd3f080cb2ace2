package tso

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
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
}

// DefaultBatcherConfig has every field.
func DefaultBatcherConfig() BatcherConfig {
	return BatcherConfig{CallsMax: 2, BatchMax: 8192, QueueMax: 65_536, CallTimeout: 5 * time.Second}
}

// Validate checks the config.
func (c BatcherConfig) Validate() error {
	if c.CallsMax < 1 || c.BatchMax < 1 || c.BatchMax > CountMax || c.QueueMax < 1 || c.CallTimeout <= 0 {
		return fmt.Errorf("tso: batcher limits out of range: %+v", c)
	}
	return nil
}

type answer struct {
	ts  proto.Timestamp
	err error
}

// Batcher turns concurrent requests for a timestamp into shared calls.
type Batcher struct {
	cfg   BatcherConfig
	fetch Fetch
	wake  chan struct{} // capacity CallsMax

	mu struct {
		sync.Mutex
		waiting []chan answer // each of capacity 1
		stopped bool
	}
}

// NewBatcher makes a batcher; nothing is answered before Run.
func NewBatcher(cfg BatcherConfig, fetch Fetch) (*Batcher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Batcher{cfg: cfg, fetch: fetch, wake: make(chan struct{}, cfg.CallsMax)}, nil
}

// Timestamp returns a fresh timestamp: greater than every timestamp that anybody received before this call began.
// Errors: those of the fetch, ThrottledError when the queue is full, ErrBatcherStopped, the context's.
func (b *Batcher) Timestamp(ctx context.Context) (proto.Timestamp, error) {
	ch := make(chan answer, 1)
	b.mu.Lock()
	switch {
	case b.mu.stopped:
		b.mu.Unlock()
		return 0, ErrBatcherStopped
	case len(b.mu.waiting) >= b.cfg.QueueMax:
		b.mu.Unlock()
		return 0, rpcerr.Throttled("too many requests wait for a timestamp", 10*time.Millisecond)
	}
	b.mu.waiting = append(b.mu.waiting, ch)
	b.mu.Unlock()
	b.signal()
	select {
	case a := <-ch:
		return a.ts, a.err
	case <-ctx.Done():
		return 0, ctx.Err() // its place in the call is wasted, nothing more
	}
}

func (b *Batcher) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Run answers requests until ctx ends, then fails all that wait and returns nil. It owns CallsMax goroutines.
func (b *Batcher) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range b.cfg.CallsMax {
		wg.Go(func() { b.loop(ctx) })
	}
	wg.Wait()
	b.mu.Lock()
	b.mu.stopped = true
	left := b.mu.waiting
	b.mu.waiting = nil
	b.mu.Unlock()
	for _, ch := range left {
		ch <- answer{err: ErrBatcherStopped}
	}
	return nil
}

func (b *Batcher) loop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		}
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
func (b *Batcher) takeBatch() []chan answer {
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

func (b *Batcher) call(ctx context.Context, batch []chan answer) {
	callCtx, cancel := context.WithTimeout(ctx, b.cfg.CallTimeout)
	defer cancel()
	first, err := b.fetch(callCtx, uint32(len(batch)))
	if err != nil {
		err = fmt.Errorf("take %d timestamps: %w", len(batch), err)
	}
	for i, ch := range batch {
		if err != nil {
			ch <- answer{err: err}
			continue
		}
		ch <- answer{ts: first + proto.Timestamp(i)}
	}
}
