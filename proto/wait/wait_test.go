package wait_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vipkv/vipkv/proto/wait"
)

func TestReal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wait.Or(nil)
		begin := time.Now()
		if err := s.Sleep(t.Context(), time.Minute); err != nil || time.Since(begin) != time.Minute {
			t.Fatalf("slept %v: %v", time.Since(begin), err)
		}
		ctx, cancel := s.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("sleep under a deadline: %v", err)
		}
		if err := s.Await(ctx, make(chan struct{})); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("await under a deadline: %v", err)
		}
		ready := make(chan struct{})
		s.Go(func() { close(ready) })
		if err := s.Await(t.Context(), ready); err != nil {
			t.Errorf("await: %v", err)
		}
	})
}

func TestAllReturnsAfterAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Int32
		end := func(d time.Duration) func() {
			return func() {
				if err := (wait.Real{}).Sleep(t.Context(), d); err == nil {
					ended.Add(1)
				}
			}
		}
		wait.All(wait.Real{}, end(time.Second), end(time.Hour), end(0))
		if n := ended.Load(); n != 3 {
			t.Errorf("returned after %d of 3", n)
		}
	})
}
