package raftstore

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/storage"
	"github.com/vipkv/vipkv/proto/wait"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// ErrStopped is returned to whoever waits on a store that stops or has failed.
var ErrStopped = errors.New("the store has stopped")

// Calls is what the rest of a node asks of a store: it makes events for the cores of what is asked, and answers when
// their effects say how it went. Store has one; the simulator, whose stores are its own, has another.
type Calls struct {
	cfg CallsConfig

	nextID    atomic.Uint64 // of what is waited for
	proposals waiters[replica.Outcome]
	reads     waiters[replica.ReadOutcome]
	visits    waiters[struct{}]

	statuses sync.Map // proto.RangeID -> *replica.Status
	slowDisk slowDisk
	large    chan struct{} // capacity 1: a range is too large
}

// CallsConfig of Calls.
type CallsConfig struct {
	Store proto.StoreID
	// Offer gives an event to the core that owns the range, or says that there is no room.
	Offer func(id proto.RangeID, f func(*replica.Core)) bool
	// Workers is how many cores there are; ranges go by their id.
	Workers int
	// NewView pins what has been applied.
	NewView func() storage.View
	// AllocateRange and AdjustSplitKey are as in Config.
	AllocateRange  func(context.Context) (proto.RangeID, error)
	AdjustSplitKey func([]byte) []byte
	// SplitBytes and SplitInterval are as in Config.
	SplitBytes    uint64
	SplitInterval time.Duration
	// TransferTimeout is how long leadership may take to go over.
	TransferTimeout time.Duration
	Wait            wait.Scheduler
	Logger          *slog.Logger
	// QueueFull and Split, unless nil, are told of each refusal for want of room and of each split.
	QueueFull, Split func()
}

// NewCalls returns calls that wait for nothing yet.
func NewCalls(cfg CallsConfig) *Calls {
	cfg.Wait = wait.Or(cfg.Wait)
	for _, f := range []*func(){&cfg.QueueFull, &cfg.Split} {
		if *f == nil {
			*f = func() {}
		}
	}
	return &Calls{cfg: cfg, large: make(chan struct{}, 1)}
}

// Publish takes in a replica's status. It comes before the answers of the same effects.
func (s *Calls) Publish(st *replica.Status) {
	if st.Removed {
		s.statuses.Delete(st.Range)
		return
	}
	s.statuses.Store(st.Range, st)
	if s.cfg.SplitBytes > 0 && st.Leads && st.Bytes > s.cfg.SplitBytes {
		select {
		case s.large <- struct{}{}:
		default:
		}
	}
}

// Status is the replica of a range on this store, as of what the engine holds.
func (s *Calls) Status(id proto.RangeID) (*replica.Status, bool) {
	v, ok := s.statuses.Load(id)
	if !ok {
		return nil, false
	}
	return v.(*replica.Status), true
}

// Statuses calls f with every replica on this store, in no order, until it returns false.
func (s *Calls) Statuses(f func(*replica.Status) bool) {
	s.statuses.Range(func(_, v any) bool { return f(v.(*replica.Status)) })
}

// NewView returns a view of the store's engine.
func (s *Calls) NewView() storage.View { return s.cfg.NewView() }

// AnswerProposal ends a proposal. Nobody may be waiting for it any more.
func (s *Calls) AnswerProposal(o *replica.Outcome) { s.proposals.answer(o.Proposal, *o) }

// AnswerRead ends a read. Nobody may be waiting for it any more.
func (s *Calls) AnswerRead(o *replica.ReadOutcome) { s.reads.answer(o.Read, *o) }

// Stop ends all that waits, and whatever comes later, with ErrStopped or what it means for the call.
func (s *Calls) Stop() {
	s.proposals.stop()
	s.reads.stop()
	s.visits.stop()
}

// waiters maps ids to those who wait for an answer. The zero value is ready.
type waiters[T any] struct {
	mu      sync.Mutex
	m       map[uint64]*waiter[T]
	stopped bool
}

// waiter is one who waits. Its other fields are written before done is closed.
type waiter[T any] struct {
	done     chan struct{}
	answered bool
	value    T
}

// add answers nil when all has stopped.
func (w *waiters[T]) add(id uint64) *waiter[T] {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return nil
	}
	if w.m == nil {
		w.m = map[uint64]*waiter[T]{}
	}
	one := &waiter[T]{done: make(chan struct{})}
	w.m[id] = one
	return one
}

func (w *waiters[T]) remove(id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.m, id)
}

func (w *waiters[T]) answer(id uint64, v T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one := w.m[id]; one != nil {
		delete(w.m, id)
		one.value, one.answered = v, true
		close(one.done)
	}
}

func (w *waiters[T]) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	for _, one := range w.m {
		close(one.done)
	}
	clear(w.m)
}

// result waits for the answer. Errors: the context's; ErrStopped.
func (w *waiters[T]) result(
	ctx context.Context, s wait.Scheduler, id uint64, one *waiter[T],
) (v T, err error) {
	if err := s.Await(ctx, one.done); err != nil {
		w.remove(id)
		return v, err
	}
	if !one.answered {
		return v, ErrStopped
	}
	return one.value, nil
}
