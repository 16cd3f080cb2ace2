package sim

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/vipkv/vipkv/proto/wait"
)

// TestClearTextIsFound: a cluster that seals nothing does not pass.
func TestClearTextIsFound(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 5)
	o := DrawOptions(5)
	o.Upper.Workloads, o.Upper.InClear = []string{"streams"}, true
	if r := Run(o, nil); r.Err == nil || !strings.Contains(r.Err.Error(), "in clear") {
		t.Errorf("values in clear were not seen: %v", r.Err)
	}
}

// testProcess is a process in a kernel of its own.
func testProcess() (*kernel, *process) {
	k := &kernel{seed: 1}
	return k, newProcess(k, k.rng("test", 0), func(d int64, kind string, run func()) { k.after(d, 1, kind, run) })
}

func TestFibersWaitInVirtualTime(t *testing.T) {
	k, p := testProcess()
	var said []string
	ready, never := make(chan struct{}), make(chan struct{})
	p.Go(func() {
		ctx, cancel := p.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := p.Await(ctx, never); !errors.Is(err, context.DeadlineExceeded) || k.now < sec {
			t.Errorf("at %d: %v", k.now, err)
		}
		said = append(said, "too late")
		close(ready)
	})
	p.Go(func() {
		if err := p.Await(context.Background(), ready); err != nil {
			t.Error(err)
		}
		said = append(said, "told")
	})
	p.Go(func() {
		wait.All(p, func() { _ = p.Sleep(context.Background(), 2*time.Second) }, func() {})
		said = append(said, "all")
	})
	k.runUntil(10*sec, nil)
	if want := []string{"too late", "told", "all"}; !slices.Equal(said, want) {
		t.Errorf("%v, want %v", said, want)
	}
	if len(p.fibers) != 0 {
		t.Errorf("%d fibers are left", len(p.fibers))
	}
}

// TestKilledFibersUnwind: what runs in a process that ends stops where it waits; its deferred calls run and can not wait.
func TestKilledFibersUnwind(t *testing.T) {
	k, p := testProcess()
	var said []string
	p.Go(func() {
		defer func() {
			said = append(said, "deferred")
			_ = p.Sleep(context.Background(), time.Hour)
			said = append(said, "slept")
		}()
		_ = p.Await(context.Background(), make(chan struct{}))
		said = append(said, "went on")
	})
	k.runUntil(sec, nil)
	p.kill()
	k.runUntil(10*3600*sec, nil)
	if want := []string{"deferred"}; !slices.Equal(said, want) {
		t.Errorf("%v, want %v", said, want)
	}
}
