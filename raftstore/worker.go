package raftstore

import (
	"context"
	"sync"

	"github.com/vipkv/vipkv/raftstore/replica"
)

// event is something for a worker's core.
type event func(*replica.Core)

// mailbox is a worker's input. Events that answer the worker's own effects are never refused: their number is bounded
// by what the worker has asked for. All others are refused when it is full.
type mailbox struct {
	max  int
	wake chan struct{} // capacity 1

	mu     sync.Mutex
	events []event
	ticks  int
}

func newMailbox(limit int) *mailbox {
	return &mailbox{max: limit, wake: make(chan struct{}, 1)}
}

// offer adds an event, unless the mailbox is full.
func (m *mailbox) offer(e event) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.events) >= m.max {
		return false
	}
	m.addLocked(e)
	return true
}

// put adds an event.
func (m *mailbox) put(e event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addLocked(e)
}

// tick adds one tick. A worker that is late gets at most two at once: elections count ticks, and a burst of them would
// look like silence.
func (m *mailbox) tick() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ticks = min(m.ticks+1, 2)
	m.signal()
}

func (m *mailbox) addLocked(e event) {
	m.events = append(m.events, e)
	m.signal()
}

func (m *mailbox) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take empties the mailbox. It gives spare back for reuse.
func (m *mailbox) take(spare []event) ([]event, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	events, ticks := m.events, m.ticks
	m.events, m.ticks = spare[:0], 0
	return events, ticks
}

// worker steps the replicas of one core. Its goroutine owns the core.
type worker struct {
	s    *Store
	core *replica.Core
	box  *mailbox
}

// run steps until ctx ends. An event batch ends with one Ready, so everything that came while the worker was busy
// shares log writes, quorum rounds for reads, and messages.
func (w *worker) run(ctx context.Context) {
	var spare []event
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.box.wake:
		}
		events, ticks := w.box.take(spare)
		for _, e := range events {
			e(w.core)
		}
		for range ticks {
			w.core.Tick()
		}
		w.dispatch(w.core.Ready())
		clear(events)
		spare = events
	}
}

// dispatch hands effects on. Statuses come before answers, so that whoever is answered sees what was answered.
func (w *worker) dispatch(e *replica.Effects) {
	s := w.s
	if e.Fatal != nil {
		s.fail(e.Fatal)
		return
	}
	if len(e.Log) > 0 {
		s.logs.put(logJob{w, e.Log})
	}
	if e.Apply.Token != 0 {
		s.applies.put(applyJob{w, e.Apply})
	}
	for _, m := range e.Messages {
		s.cfg.Transport.Send(m)
	}
	for i := range e.Statuses {
		s.Publish(&e.Statuses[i])
	}
	for _, h := range e.Handoffs {
		s.workerOf(h.To).box.put(func(c *replica.Core) { c.Handoff(h) })
	}
	if e.SlowDisk {
		s.metrics.slowDisk.Inc()
		s.NoteSlowDisk()
	}
	for i := range e.Outcomes {
		s.AnswerProposal(&e.Outcomes[i])
	}
	for i := range e.Reads {
		s.AnswerRead(&e.Reads[i])
	}
	for _, r := range e.Reservations {
		s.incoming.reserved(r)
	}
	for _, id := range e.Dropped {
		s.incoming.finish(id, errNotWanted)
	}
	for _, snap := range e.Snapshots {
		s.startSend(w, snap)
	}
}
