package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/workload"
)

const (
	paceDefault = 40 * time.Millisecond
	retryPause  = 200 * time.Millisecond // between two attempts of what must succeed
	lateMax     = 5 * time.Second        // what an open loop catches up at most
)

// Config of a Load.
type Config struct {
	// Stores by the tenant that operations name; "" is for those that name none. Required.
	Stores map[string]workload.Store
	// Workloads, no two of one name. Required.
	Workloads []workload.Workload
	// Pace is the mean pause of a client between two operations. Default 40 ms.
	Pace time.Duration
	// Rate, in operations a second of all clients together, makes the loop open: a client that was answered late goes on
	// at once until it is back in time, up to 5 s behind. 0: a closed loop, with Pace.
	Rate float64
	// Timeout of one operation, after which it is not known what became of it. 0: whatever the store's own is.
	Timeout time.Duration
	// Seed of what is drawn. Runs in real time differ nevertheless.
	Seed uint64
	// Record is called with every operation when it has ended, in that order, by one goroutine at a time. It must not
	// block, nor call the Load. May be nil.
	Record func(*history.Op)
	// Forget keeps no operations in memory: Record has them. Ops and Check then have none.
	Forget bool
}

func (c *Config) validate() error {
	if len(c.Workloads) == 0 {
		return errors.New("load: no workloads")
	}
	if c.Rate < 0 || c.Pace < 0 || c.Timeout < 0 {
		return errors.New("load: a rate or a time is negative")
	}
	seen := map[string]bool{}
	for _, w := range c.Workloads {
		if seen[w.Name()] {
			return fmt.Errorf("load: two workloads are named %s", w.Name())
		}
		seen[w.Name()] = true
	}
	return nil
}

// Load is the clients of all workloads, at work.
type Load struct {
	cfg   Config
	began time.Time
	stop  context.CancelFunc
	wait  sync.WaitGroup

	mu      sync.Mutex // not held across calls of stores; guards the workloads, too
	ops     []history.Op
	clients int // numbers given out
}

// Start carries the workloads' Setup out, each operation until it succeeds or ctx ends, and starts the clients, which
// work until Stop, whatever becomes of ctx.
func Start(ctx context.Context, cfg Config) (*Load, error) {
	if cfg.Pace == 0 {
		cfg.Pace = paceDefault
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	working, stop := context.WithCancel(context.Background())
	l := &Load{cfg: cfg, began: time.Now(), stop: stop}
	for _, w := range cfg.Workloads {
		if err := l.until(ctx, w, w.Setup()); err != nil {
			stop()
			return nil, fmt.Errorf("load: prepare %s: %w", w.Name(), err)
		}
	}
	clients := 0
	for _, w := range cfg.Workloads {
		clients += w.Clients()
	}
	n := uint64(0)
	for _, w := range cfg.Workloads {
		for place := range w.Clients() {
			n++
			c := &worker{load: l, of: w, place: place, r: rand.New(rand.NewPCG(cfg.Seed, n))}
			if cfg.Rate > 0 {
				c.period = time.Duration(float64(clients) / cfg.Rate * float64(time.Second))
			}
			l.wait.Go(func() { c.run(working) })
		}
	}
	return l, nil
}

// until carries operations out in order, each until it succeeds.
func (l *Load) until(ctx context.Context, w workload.Workload, ops []history.Op) error {
	number := l.newClient()
	for i := range ops {
		for {
			op := ops[i]
			op.Txn = append([]history.Mop(nil), op.Txn...)
			op.Client = number
			l.carryOut(ctx, w, &op)
			if op.Type == history.OK {
				break
			}
			if op.Type == history.Info {
				number = l.newClient()
			}
			if err := pause(ctx, retryPause); err != nil {
				return fmt.Errorf("%s of %s: %w; the last answer: %s", op.Kind, op.Key, err, op.Err)
			}
		}
	}
	return nil
}

// carryOut does one operation and records it.
func (l *Load) carryOut(ctx context.Context, w workload.Workload, op *history.Op) {
	s := l.cfg.Stores[op.Tenant]
	if s == nil {
		panic(fmt.Sprintf("load: workload %s: tenant %q has no store", w.Name(), op.Tenant))
	}
	if l.cfg.Timeout > 0 {
		var done context.CancelFunc
		ctx, done = context.WithTimeout(ctx, l.cfg.Timeout)
		defer done()
	}
	op.Invoke = l.Now()
	workload.Exec(ctx, s, op)
	l.mu.Lock()
	defer l.mu.Unlock()
	op.Return = l.Now()
	w.Ended(op)
	if l.cfg.Record != nil {
		l.cfg.Record(op)
	}
	if !l.cfg.Forget {
		l.ops = append(l.ops, *op)
	}
}

func (l *Load) draw(w workload.Workload, r *rand.Rand, place int) history.Op {
	l.mu.Lock()
	defer l.mu.Unlock()
	return w.Draw(r, place)
}

func (l *Load) newClient() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients++
	return l.clients
}

// Now is the history's clock, in nanoseconds.
func (l *Load) Now() int64 { return time.Since(l.began).Nanoseconds() }

// Stop lets all operations under way come to their own end and ends the clients.
func (l *Load) Stop() {
	l.stop()
	l.wait.Wait()
}

// Final makes the reads that see everything, after Stop and when all faults are mended, each until it succeeds or ctx
// ends.
func (l *Load) Final(ctx context.Context) error {
	for _, w := range l.cfg.Workloads {
		if err := l.until(ctx, w, w.Final()); err != nil {
			return fmt.Errorf("load: final reads of %s: %w", w.Name(), err)
		}
	}
	return nil
}

// Ops returns what was recorded so far.
func (l *Load) Ops() []history.Op {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]history.Op(nil), l.ops...)
}

// Check lets each workload judge its operations.
func (l *Load) Check() (verdicts []check.Verdict) {
	byWorkload := map[string][]history.Op{}
	for _, op := range l.Ops() {
		byWorkload[op.Workload] = append(byWorkload[op.Workload], op)
	}
	for _, w := range l.cfg.Workloads {
		verdicts = append(verdicts, w.Check(byWorkload[w.Name()])...)
	}
	return verdicts
}

// pause waits d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
