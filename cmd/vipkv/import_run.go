package main

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/vipkv/vipkv/kv/client"
)

const (
	importMemory = 64 << 20 // bytes of messages between the reader and the cluster
	importQueue  = 256      // messages a worker; the reader waits when it is full
)

// importer reads a file and carries its conversations on, several at a time, each in the order of the file.
type importer struct {
	cl       *client.Client // with the admin credential
	keys     *credentials
	batch    int
	parallel int

	memory *semaphore.Weighted
	done   atomic.Uint64 // messages settled, for the progress bar

	tenants map[string]*client.Client // owned by the reader
}

// importJob is a message on its way to a worker.
type importJob struct {
	importMessage
	cl *client.Client
}

// importSummary is the outcome.
type importSummary struct {
	Tenants       int    `json:"tenants"`
	Conversations int    `json:"conversations"`
	Messages      uint64 `json:"messages"`
	Appended      uint64 `json:"appended"`
	Duplicates    uint64 `json:"duplicates"` // were there already
}

// run imports all of r.
func (im *importer) run(ctx context.Context, r io.Reader) (importSummary, error) {
	im.memory = semaphore.NewWeighted(importMemory)
	im.tenants = make(map[string]*client.Client)
	g, ctx := errgroup.WithContext(ctx)
	workers := make([]*importWorker, im.parallel)
	for i := range workers {
		w := &importWorker{im: im, jobs: make(chan importJob, importQueue), streams: make(map[string]*importStream)}
		workers[i] = w
		g.Go(func() error { return w.run(ctx) })
	}
	g.Go(func() error {
		defer func() {
			for _, w := range workers {
				close(w.jobs)
			}
		}()
		return readMessages(r, func(m importMessage) error { return im.dispatch(ctx, workers, m) })
	})
	err := g.Wait()
	s := importSummary{Tenants: len(im.tenants)}
	for _, w := range workers {
		s.Conversations += len(w.streams)
		for _, st := range w.streams {
			s.Appended += st.appended
			s.Duplicates += st.duplicates
			s.Messages += st.position
		}
	}
	return s, err
}

// dispatch hands a message to the worker of its conversation; it waits while too much is on its way.
func (im *importer) dispatch(ctx context.Context, workers []*importWorker, m importMessage) error {
	cl, err := im.tenant(ctx, m.tenant)
	if err != nil {
		return err
	}
	if err := im.memory.Acquire(ctx, m.cost()); err != nil {
		return err
	}
	w := workers[xxhash.Sum64String(m.tenant+"\x00"+m.conversation)%uint64(len(workers))]
	select {
	case w.jobs <- importJob{m, cl}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tenant returns the client of a tenant, which it makes when it is not there.
func (im *importer) tenant(ctx context.Context, name string) (*client.Client, error) {
	if cl := im.tenants[name]; cl != nil {
		return cl, nil
	}
	credential, err := ensureTenant(ctx, im.cl.Admin(), name, im.keys.keys[name])
	if err != nil {
		return nil, err
	}
	if err := im.keys.set(name, credential); err != nil {
		return nil, err
	}
	cl := im.cl.WithCredential(credential)
	im.tenants[name] = cl
	return cl, nil
}

// importWorker owns the conversations that hash to it.
type importWorker struct {
	im      *importer
	jobs    chan importJob
	streams map[string]*importStream
	held    int64 // of importer.memory
	open    map[*importStream]bool
}

// run takes messages until there are no more. What is pending is appended when batches are full and when nothing
// waits, so the reader never waits for a worker that waits for the reader.
func (w *importWorker) run(ctx context.Context) error {
	w.open = make(map[*importStream]bool)
	for {
		var job importJob
		ok := false
		select {
		case job, ok = <-w.jobs:
		default:
			if err := w.flush(ctx); err != nil {
				return err
			}
			select {
			case job, ok = <-w.jobs:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if !ok {
			return w.finish(ctx)
		}
		if err := w.take(ctx, job); err != nil {
			return err
		}
	}
}

func (w *importWorker) take(ctx context.Context, job importJob) error {
	id := job.tenant + "\x00" + job.conversation
	s := w.streams[id]
	if s == nil {
		s = &importStream{tenant: job.tenant, name: job.conversation, cl: job.cl, batch: w.im.batch}
		w.streams[id] = s
	}
	w.held += job.cost()
	before := s.appended + s.duplicates
	err := s.add(ctx, job.importMessage)
	w.im.done.Add(s.appended + s.duplicates - before)
	if len(s.pending) > 0 {
		w.open[s] = true
	} else {
		delete(w.open, s)
	}
	if err == nil && (w.held >= importMemory/int64(2*w.im.parallel) || len(w.open) == 0) {
		return w.flush(ctx)
	}
	return err
}

// flush appends all that is pending, and gives its memory back.
func (w *importWorker) flush(ctx context.Context) error {
	for s := range w.open {
		before := s.appended + s.duplicates
		err := s.flush(ctx)
		w.im.done.Add(s.appended + s.duplicates - before)
		if err != nil {
			return err
		}
		delete(w.open, s)
	}
	w.im.memory.Release(w.held)
	w.held = 0
	return nil
}

func (w *importWorker) finish(ctx context.Context) error {
	if err := w.flush(ctx); err != nil {
		return err
	}
	for _, s := range w.streams {
		if err := s.finish(ctx); err != nil {
			return err
		}
	}
	return nil
}
