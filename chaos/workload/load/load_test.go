package load_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/workload"
	"github.com/vipkv/vipkv/chaos/workload/load"
	"github.com/vipkv/vipkv/chaos/workload/workloadtest"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/proto/rpcerr"
)

// slow is a store whose point calls take a time and end in an error.
type slow struct {
	workload.Store

	mu    sync.Mutex
	takes time.Duration
	fails error
}

func (s *slow) set(takes time.Duration, fails error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takes, s.fails = takes, fails
}

func (s *slow) wait(ctx context.Context) error {
	s.mu.Lock()
	takes, fails := s.takes, s.fails
	s.mu.Unlock()
	select {
	case <-time.After(takes):
		return fails
	case <-ctx.Done():
		return rpcerr.Ambiguous("cut off")
	}
}

func (s *slow) Get(ctx context.Context, key []byte) (client.Item, error) {
	if err := s.wait(ctx); err != nil {
		return client.Item{}, err
	}
	return s.Store.Get(ctx, key)
}

func (s *slow) BatchGet(
	ctx context.Context, keys [][]byte, at uint64,
) ([]client.Item, uint64, error) {
	if err := s.wait(ctx); err != nil {
		return nil, 0, err
	}
	return s.Store.BatchGet(ctx, keys, at)
}

func newWorkload(t *testing.T, name string, clients int) workload.Workload {
	t.Helper()
	w, err := workload.New(name, workload.Options{Clients: clients})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func start(t *testing.T, s workload.Store, w workload.Workload, cfg load.Config) *load.Load {
	t.Helper()
	cfg.Stores, cfg.Workloads = map[string]workload.Store{"": s}, []workload.Workload{w}
	l, err := load.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func correct() workload.Store { return workloadtest.New(workloadtest.Faults{}, 1).Tenant("") }

// One client does one thing at a time, and after an unknown outcome it is somebody else.
func TestClientNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := workloadtest.New(workloadtest.Faults{LostAnswer: 0.1}, 1)
		l := start(t, c.Tenant(""), newWorkload(t, "register", 6), load.Config{})
		time.Sleep(20 * time.Second)
		l.Stop()
		last := map[int]history.Op{}
		infos := 0
		for _, op := range l.Ops() {
			if had, ok := last[op.Client]; ok && (had.Type == history.Info || had.Return > op.Invoke) {
				t.Errorf("client %d goes on after %+v with %+v", op.Client, had, op)
			}
			last[op.Client] = op
			if op.Type == history.Info {
				infos++
			}
		}
		if infos < 10 || len(last) < infos {
			t.Errorf("%d unknown outcomes, %d clients", infos, len(last))
		}
	})
}

// A closed loop waits for its answers; an open one is behind after a stall, and catches up.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, rate := range []float64{0, 100} {
			s := &slow{Store: correct(), takes: time.Second}
			l := start(t, s, newWorkload(t, "monotonic", 4), load.Config{Rate: rate, Pace: 40 * time.Millisecond})
			time.Sleep(4 * time.Second)
			stalled := len(l.Ops())
			s.set(0, nil)
			time.Sleep(4 * time.Second)
			l.Stop()
			// Pace alone makes 75 to 100 operations of 4 clients a second, as the store answers in some milliseconds.
			got := len(l.Ops()) - stalled
			if closed := got < 450; closed != (rate == 0) {
				t.Errorf("rate %v: %d operations in the 4 s after a stall of 4 s", rate, got)
			}
		}
	})
}

func TestStopLetsOperationsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{Store: correct(), takes: 5 * time.Second}
		l := start(t, s, newWorkload(t, "monotonic", 4), load.Config{})
		time.Sleep(time.Second)
		began := time.Now()
		l.Stop()
		if d := time.Since(began); d < 3*time.Second {
			t.Errorf("stopped after %v, while operations were under way", d)
		}
		for _, op := range l.Ops() {
			if op.Type != history.OK {
				t.Errorf("cut off: %+v", op)
			}
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{Store: correct(), takes: time.Hour}
		l := start(t, s, newWorkload(t, "monotonic", 4), load.Config{Timeout: time.Second})
		time.Sleep(10 * time.Second)
		l.Stop()
		unknown := load.Count(l.Ops(), 0, 0).Unknown
		if unknown < 10 {
			t.Errorf("%d operations of unknown outcome", unknown)
		}
	})
}

// What comes before and after the clients is tried until it succeeds, or the context ends.
func TestSetupAndFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{Store: correct(), fails: errors.New("not now")}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		cfg := load.Config{
			Stores:    map[string]workload.Store{"": s},
			Workloads: []workload.Workload{newWorkload(t, "bank", 2)},
		}
		if _, err := load.Start(ctx, cfg); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it began without what it needs: %v", err)
		}
		go func() {
			time.Sleep(5 * time.Second)
			s.set(0, nil)
		}()
		l := start(t, s, newWorkload(t, "bank", 2), load.Config{})
		time.Sleep(time.Second)
		l.Stop()
		s.set(0, errors.New("not now"))
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := l.Final(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("final reads of a store that does not answer: %v", err)
		}
		s.set(0, nil)
		if err := l.Final(t.Context()); err != nil {
			t.Error(err)
		}
		n := load.Count(l.Ops(), 0, 0)
		if n.Failed < 50 || n.OK < 3 {
			t.Errorf("what failed is not in the history: %v", n)
		}
	})
}

func TestRecordAndForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := 0
		l := start(t, correct(), newWorkload(t, "set", 2), load.Config{
			Forget: true,
			Record: func(op *history.Op) {
				if err := op.Validate(); err != nil || op.Client == 0 {
					t.Errorf("%+v: %v", op, err)
				}
				seen++
			},
		})
		time.Sleep(time.Second)
		l.Stop()
		if seen < 10 || len(l.Ops()) != 0 {
			t.Errorf("%d recorded, %d kept", seen, len(l.Ops()))
		}
	})
}

func TestConfig(t *testing.T) {
	w := newWorkload(t, "set", 1)
	for name, cfg := range map[string]load.Config{
		"no workload": {},
		"negative":    {Workloads: []workload.Workload{w}, Rate: -1},
		"one name":    {Workloads: []workload.Workload{w, newWorkload(t, "set", 1)}},
	} {
		if _, err := load.Start(t.Context(), cfg); err == nil {
			t.Errorf("%s: it began", name)
		}
	}
}
