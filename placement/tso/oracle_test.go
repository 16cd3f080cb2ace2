package tso

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
)

// memSaver keeps the bound in memory, fenced by term.
type memSaver struct {
	mu    sync.Mutex
	term  uint64
	rec   record
	saves int
	gate  chan struct{} // when not nil a save waits for it after it took effect
	fail  error
}

var errNotLeader = errors.New("not leader")

func (m *memSaver) LoadBound(_ context.Context, term uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if term < m.term {
		return 0, errNotLeader
	}
	m.term, m.rec.term = term, term
	return uint64(m.rec.bound), nil
}

func (m *memSaver) SaveBound(_ context.Context, term uint64, ms uint64, at proto.Timestamp) error {
	m.mu.Lock()
	if term != m.term {
		m.mu.Unlock()
		return errNotLeader
	}
	if m.fail != nil {
		m.mu.Unlock()
		return m.fail
	}
	m.saves++
	m.rec.apply(Save{Term: term, BoundMs: int64(ms), At: at})
	gate := m.gate
	m.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return nil
}

func newOracle(t *testing.T, s Saver, leading func(uint64) bool) *Oracle {
	t.Helper()
	cfg := DefaultConfig()
	cfg.NowMs = func() int64 { return time.Now().UnixMilli() }
	cfg.Leading = leading
	o, err := New(cfg, s)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// pass lets time of the bubble's clock pass.
func pass(d time.Duration) { <-time.After(d) }

func always(uint64) bool { return true }

// runIn runs the oracle's loop until the returned function is called.
func runIn(ctx context.Context, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = run(ctx) })
	return func() { cancel(); wg.Wait() }
}

func TestConcurrentCallersAcrossLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		saver := &memSaver{}
		var leader atomic.Uint64
		oracles := [2]*Oracle{}
		for i := range oracles {
			oracles[i] = newOracle(t, saver, func(term uint64) bool { return term == leader.Load() })
			defer runIn(t.Context(), oracles[i].Run)()
		}
		var floor atomic.Uint64 // the greatest that anybody received
		var all [8][]proto.Timestamp
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range all {
			wg.Go(func() {
				for n := uint32(1); ctx.Err() == nil; n++ {
					before := floor.Load()
					count := n%50 + 1
					first, err := oracles[int(n)%2].Timestamps(ctx, count)
					if err != nil {
						pass(time.Millisecond)
						continue
					}
					if uint64(first) <= before {
						t.Errorf("%v is not above %v, received before the call", first, before)
					}
					last := first + proto.Timestamp(count) - 1
					for cur := floor.Load(); cur < uint64(last) && !floor.CompareAndSwap(cur, uint64(last)); {
						cur = floor.Load()
					}
					all[i] = append(all[i], first, last)
					pass(time.Duration(i+1) * 300 * time.Microsecond)
				}
			})
		}
		for term := uint64(1); term <= 6; term++ {
			leader.Store(term)
			o := oracles[term%2]
			if err := o.Start(t.Context(), term); err != nil {
				t.Errorf("term %d: %v", term, err)
			}
			pass(4 * time.Second)
			if term%2 == 0 { // else the old leader does not even notice
				o.Stop(term)
			}
		}
		cancel()
		wg.Wait()
		var blocks [][2]proto.Timestamp
		for _, a := range all {
			for i := 0; i < len(a); i += 2 {
				blocks = append(blocks, [2]proto.Timestamp{a[i], a[i+1]})
			}
		}
		slices.SortFunc(blocks, func(a, b [2]proto.Timestamp) int { return int(int64(a[0]) - int64(b[0])) })
		for i := 1; i < len(blocks); i++ {
			if blocks[i][0] <= blocks[i-1][1] {
				t.Fatalf("blocks overlap: %v %v", blocks[i-1], blocks[i])
			}
		}
		if len(blocks) < 1000 {
			t.Fatalf("only %d blocks: the test did not exercise the oracle", len(blocks))
		}
	})
}

func TestLossOfLeadershipBetweenTakingAndHandingOut(t *testing.T) {
	var checks atomic.Int64
	o := newOracle(t, &memSaver{}, func(uint64) bool { return checks.Add(1) == 1 })
	if err := o.Start(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if ts, err := o.Timestamps(t.Context(), 1); !errors.Is(err, ErrNotServing) {
		t.Fatalf("handed out %v, %v by a node that lost its lease meanwhile", ts, err)
	}
}

func TestStoppedBetweenTakingAndHandingOut(t *testing.T) {
	var o *Oracle
	var checks atomic.Int64
	o = newOracle(t, &memSaver{}, func(uint64) bool {
		if checks.Add(1) == 2 {
			o.Stop(1)
		}
		return true
	})
	if err := o.Start(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if ts, err := o.Timestamps(t.Context(), 1); !errors.Is(err, ErrNotServing) {
		t.Fatalf("handed out %v, %v by an oracle that was stopped meanwhile", ts, err)
	}
}

func TestAFirstSaveOfAnOldTermDoesNotStartANewerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		saver := &memSaver{gate: make(chan struct{})}
		o := newOracle(t, saver, always)
		done := make(chan error, 1)
		go func() { done <- o.Start(t.Context(), 1) }()
		synctest.Wait() // its save has taken effect and hangs
		o.Stop(1)
		close(saver.gate)
		if err := <-done; !errors.Is(err, ErrSuperseded) {
			t.Fatalf("start: %v", err)
		}
		if _, ok := o.Serving(); ok {
			t.Fatal("serves after it was stopped")
		}
	})
}

func TestWaitersAreBoundedAndFailWhenStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		saver := &memSaver{}
		cfg := DefaultConfig()
		cfg.WindowMs, cfg.ExtendEvery, cfg.WaitersMax = 10, time.Millisecond, 3
		cfg.NowMs = func() int64 { return 1000 }
		cfg.Leading = always
		o, err := New(cfg, saver)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Start(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		for range 9 { // all below the bound
			if _, err := o.Timestamps(t.Context(), CountMax); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := o.Timestamps(t.Context(), 1); err != nil { // the last one
			t.Fatal(err)
		}
		errs := make(chan error, 3)
		for range 3 {
			go func() { _, err := o.Timestamps(t.Context(), 1); errs <- err }()
		}
		synctest.Wait()
		var throttled *rpcerr.ThrottledError
		if _, err := o.Timestamps(t.Context(), 1); !errors.As(err, &throttled) {
			t.Fatalf("the fourth waiter: %v", err)
		}
		saver.fail = errors.New("no quorum")
		defer runIn(t.Context(), o.Run)()
		pass(20 * time.Millisecond) // saves fail, waiters wait
		synctest.Wait()
		if len(errs) != 0 {
			t.Fatalf("a waiter returned: %v", <-errs)
		}
		saver.mu.Lock()
		saver.fail = nil
		saver.mu.Unlock()
		for range 3 {
			if err := <-errs; err != nil {
				t.Fatalf("waiter: %v", err)
			}
		}
	})
}

func TestBoundIsExtendedAheadOfNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		saver := &memSaver{}
		o := newOracle(t, saver, always)
		defer runIn(t.Context(), o.Run)()
		if err := o.Start(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		for range 200 {
			pass(100 * time.Millisecond)
			ts, err := o.Timestamps(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			if lag := time.Now().UnixMilli() - ts.Physical(); lag != 0 {
				t.Fatalf("timestamps are %d ms behind the clock", lag)
			}
		}
		if saver.saves < 10 || saver.saves > 18 { // 20 s, one about every 1.5 s
			t.Fatalf("%d saves in 20 s", saver.saves)
		}
	})
}

func TestBatcherSharesCallsAndNeverAnswersLateComers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var issued atomic.Uint64
		var calls, inFlight atomic.Int64
		b, err := NewBatcher(DefaultBatcherConfig(), func(_ context.Context, n uint32) (proto.Timestamp, error) {
			calls.Add(1)
			if inFlight.Add(1) > 2 {
				t.Error("more calls at once than allowed")
			}
			defer inFlight.Add(-1)
			first := issued.Add(uint64(n)) - uint64(n) + 1 // decided when the call arrives
			pass(time.Millisecond)
			return proto.Timestamp(first), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		defer runIn(t.Context(), b.Run)()
		var received sync.Map
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				for range 50 {
					before := issued.Load()
					ts, err := b.Timestamp(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					if uint64(ts) <= before {
						t.Errorf("%d was issued before the request came (%d)", ts, before)
					}
					if _, dup := received.LoadOrStore(ts, i); dup {
						t.Errorf("%d was handed out twice", ts)
					}
					pass(time.Duration(i%7) * 100 * time.Microsecond)
				}
			})
		}
		wg.Wait()
		if n := calls.Load(); n > 64*50/4 {
			t.Errorf("%d calls for %d requests", n, 64*50)
		}
	})
}

func TestBatcherErrorsAndBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultBatcherConfig()
		cfg.QueueMax, cfg.CallsMax = 2, 1
		fail := errors.New("no leader")
		b, err := NewBatcher(cfg, func(context.Context, uint32) (proto.Timestamp, error) { return 0, fail })
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, 2)
		for range 2 {
			go func() { _, err := b.Timestamp(t.Context()); errs <- err }()
		}
		synctest.Wait()
		var throttled *rpcerr.ThrottledError
		if _, err := b.Timestamp(t.Context()); !errors.As(err, &throttled) {
			t.Fatalf("the third of a queue of two: %v", err)
		}
		stop := runIn(t.Context(), b.Run)
		for range 2 {
			if err := <-errs; !errors.Is(err, fail) {
				t.Fatalf("waiter: %v", err)
			}
		}
		stop()
		if _, err := b.Timestamp(t.Context()); !errors.Is(err, ErrBatcherStopped) {
			t.Fatalf("after the end: %v", err)
		}
	})
}

// A request whose call is under way when the batcher ends is told so, as those that wait are, and not that somebody gave
// up.
func TestBatcherEndsWithACallUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := NewBatcher(DefaultBatcherConfig(), func(ctx context.Context, _ uint32) (proto.Timestamp, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		stop := runIn(t.Context(), b.Run)
		answer := make(chan error, 1)
		go func() { _, err := b.Timestamp(t.Context()); answer <- err }()
		synctest.Wait()
		stop()
		if err := <-answer; !errors.Is(err, ErrBatcherStopped) {
			t.Fatal(err)
		}
	})
}
