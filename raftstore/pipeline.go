package raftstore

import (
	"context"
	"fmt"
	"sync"

	"github.com/vipkv/vipkv/proto/storage"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// scratchBytesMax is how large a batch may be for its memory to be used again.
const scratchBytesMax = 4 << 20

// queue passes jobs to one goroutine. It has no limit of its own: every job stands for work that was admitted under
// the limits of the core's proposal queues and raft's inflight bytes.
type queue[T any] struct {
	wake chan struct{}

	mu   sync.Mutex
	jobs []T
}

func newQueue[T any]() *queue[T] { return &queue[T]{wake: make(chan struct{}, 1)} }

func (q *queue[T]) put(j T) {
	q.mu.Lock()
	q.jobs = append(q.jobs, j)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue[T]) take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	jobs := q.jobs
	q.jobs = nil
	return jobs
}

type logJob struct {
	w     *worker
	steps []replica.LogStep
}

type applyJob struct {
	w    *worker
	step replica.ApplyStep
}

// logStep is a step and the worker that waits for it.
type logStep struct {
	w *worker
	*replica.LogStep
}

// runLog writes the logs of all ranges: whatever has gathered goes into one batch with one sync, in order.
func (s *Store) runLog(ctx context.Context) {
	var scratch storage.Batch
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.logs.wake:
		}
		if scratch.Len() > scratchBytesMax {
			scratch = storage.Batch{}
		}
		var steps []logStep
		for _, j := range s.logs.take() {
			for i := range j.steps {
				steps = append(steps, logStep{j.w, &j.steps[i]})
			}
		}
		for len(steps) > 0 && s.err() == nil {
			n := 0
			for n < len(steps) && steps[n].Install == nil {
				n++
			}
			if n > 0 {
				s.writeLog(steps[:n], &scratch)
			} else if n = 1; !s.install(ctx, steps[0]) {
				return
			}
			steps = steps[n:]
		}
	}
}

// writeLog writes steps as one batch. scratch is the caller's to reuse: engines copy what they commit.
func (s *Store) writeLog(steps []logStep, scratch *storage.Batch) {
	batch, sync := &steps[0].Batch, false
	if len(steps) > 1 {
		batch = scratch
		batch.Reset()
	}
	for i := range steps {
		sync = sync || steps[i].Sync
		if len(steps) > 1 {
			batch.Append(&steps[i].Batch)
		}
	}
	if err := s.commit(batch, sync); err != nil {
		s.fail(fmt.Errorf("write the log: %w", err))
		return
	}
	s.metrics.logWrites.Inc()
	s.metrics.logSteps.Add(float64(len(steps)))
	for _, st := range steps {
		for _, m := range st.After {
			s.cfg.Transport.Send(m)
		}
		token := st.Token
		st.w.box.put(func(c *replica.Core) { c.LogDone(token) })
	}
}

func (s *Store) commit(b *storage.Batch, sync bool) error {
	if b.Count() == 0 && !sync {
		return nil
	}
	return s.cfg.Engine.Commit(b, sync)
}

// install carries out one ingest-and-excise. When it says false nothing may be written behind it: later steps count on
// the log that it would have reset.
func (s *Store) install(ctx context.Context, st logStep) bool {
	in := st.Install
	tables := s.incoming.tables(in.Snapshot)
	err := s.cfg.Engine.IngestAndExcise(ctx, engine.Ingest{
		Tables: tables, Excise: engine.Span{Start: in.ExciseStart, End: in.ExciseEnd}, Local: &in.Local})
	if err != nil {
		if ctx.Err() == nil {
			s.fail(fmt.Errorf("install a range snapshot of range %d: %w", in.Range, err))
		}
		return false
	}
	s.metrics.snapshotsInstalled.Inc()
	for _, m := range st.After {
		s.cfg.Transport.Send(m)
	}
	token := st.Token
	st.w.box.put(func(c *replica.Core) { c.InstallDone(token) })
	s.incoming.finish(in.Snapshot, nil)
	return true
}

// runApply commits applies of all ranges, as they gather, without a sync.
func (s *Store) runApply(ctx context.Context) {
	var scratch storage.Batch
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.applies.wake:
		}
		jobs := s.applies.take()
		if len(jobs) == 0 || s.err() != nil {
			continue
		}
		if scratch.Len() > scratchBytesMax {
			scratch = storage.Batch{}
		}
		if err := s.writeApplies(jobs, &scratch); err != nil {
			s.fail(fmt.Errorf("apply: %w", err))
			continue
		}
		s.metrics.applyWrites.Inc()
		for _, j := range jobs {
			token := j.step.Token
			j.w.box.put(func(c *replica.Core) { c.ApplyDone(token) })
		}
	}
}

// writeApplies writes the batches of jobs as one.
func (s *Store) writeApplies(jobs []applyJob, scratch *storage.Batch) error {
	batch := &jobs[0].step.Batch
	if len(jobs) > 1 {
		batch = scratch
		batch.Reset()
	}
	for i := range jobs {
		if ahead := &jobs[i].step.Ahead; ahead.Count() > 0 { // a mutant
			if err := s.commit(ahead, false); err != nil {
				return err
			}
		}
		if len(jobs) > 1 {
			batch.Append(&jobs[i].step.Batch)
		}
	}
	return s.commit(batch, false)
}
