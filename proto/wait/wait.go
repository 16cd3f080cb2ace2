package wait

import (
	"context"
	"time"
)

// Scheduler is the ways of waiting. Its calls may be made from many goroutines.
type Scheduler interface {
	// Sleep returns nil after d, or the context's error as soon as it ends.
	Sleep(ctx context.Context, d time.Duration) error
	// Await returns nil once it has received from ready, or ready is closed; or the context's error.
	Await(ctx context.Context, ready <-chan struct{}) error
	// WithTimeout is context.WithTimeout.
	WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
	// Go runs f beside the caller, which says how it ends.
	Go(f func())
}

// Real is the clock and the goroutines of Go.
type Real struct{}

var _ Scheduler = Real{}

// Sleep implements Scheduler.
func (Real) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Await implements Scheduler.
func (Real) Await(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// WithTimeout implements Scheduler.
func (Real) WithTimeout(
	ctx context.Context, d time.Duration,
) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}

// Go implements Scheduler.
func (Real) Go(f func()) { go f() }

// Or is s, or Real when it is nil.
func Or(s Scheduler) Scheduler {
	if s == nil {
		return Real{}
	}
	return s
}

// All runs all fs beside each other and returns when all have returned.
func All(s Scheduler, fs ...func()) {
	done := make(chan struct{}, len(fs))
	for _, f := range fs {
		s.Go(func() {
			defer func() { done <- struct{}{} }()
			f()
		})
	}
	for range fs {
		_ = s.Await(context.Background(), done) // which never ends
	}
}
