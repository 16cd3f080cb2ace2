package sim

import (
	"context"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/vipkv/vipkv/proto/wait"
)

// wallTime is a moment of a run as code of the product sees it.
func wallTime(at int64) time.Time { return time.Unix(0, epochMS*ms+at).UTC() }

// process is one life of a process: the sequential code that runs in it, as coroutines, and how that code waits. What
// it waits for is an event of the kernel, so nothing in it ever runs beside anything else. It ends by kill, wherever
// its code is.
type process struct {
	k     *kernel
	r     *rand.Rand
	later func(d int64, kind string, run func()) // an event of this process, while it lives
	dead  bool

	fibers map[*fiber]struct{}
	order  []*fiber // for kill: in the order in which they began; those that ended are dropped now and then
	waits  []*waiting
}

var _ wait.Scheduler = (*process)(nil)

// fiber is one thread of sequential code.
type fiber struct {
	p      *process
	resume func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
}

// waiting is a fiber that waits for a channel.
type waiting struct {
	f     *fiber
	ready <-chan struct{}
	done  bool // it was woken, for whatever reason
	got   bool // ... because it has received
}

// killed unwinds a fiber whose process has ended.
type killed struct{}

func newProcess(k *kernel, r *rand.Rand, later func(int64, string, func())) *process {
	return &process{k: k, r: r, later: later, fibers: map[*fiber]struct{}{}}
}

// soon is the time until the processor gets to it.
func (p *process) soon() int64 { return between(p.r, 0, 50*us) }

// Go implements wait.Scheduler.
func (p *process) Go(f func()) {
	p.later(p.soon(), "go", func() {
		b := &fiber{p: p}
		b.resume, b.stop = iter.Pull(func(yield func(struct{}) bool) {
			b.yield = yield
			defer func() {
				if v := recover(); v != nil {
					if _, ok := v.(killed); !ok {
						panic(v)
					}
				}
			}()
			f()
		})
		p.fibers[b] = struct{}{}
		p.order = append(p.order, b)
		p.run(b)
	})
}

// run lets a fiber go on until it waits or ends.
func (p *process) run(f *fiber) {
	before := p.k.current
	p.k.current = f
	_, more := f.resume()
	p.k.current = before
	if !more {
		delete(p.fibers, f)
		if len(p.order) > 2*len(p.fibers)+32 {
			p.tidy()
		}
	}
	p.poll()
}

func (p *process) tidy() {
	live := p.order[:0]
	for _, f := range p.order {
		if _, ok := p.fibers[f]; ok {
			live = append(live, f)
		}
	}
	clear(p.order[len(live):])
	p.order = live
}

// park stops the current fiber until it is run again.
func (p *process) park() {
	f := p.k.current
	if f == nil || f.p != p {
		panic("code waits that is in no fiber of the process")
	}
	if p.dead || !f.yield(struct{}{}) {
		panic(killed{})
	}
}

// poll wakes the fibers whose channels are ready. Whoever may have made one so calls it.
func (p *process) poll() {
	open := p.waits[:0]
	for _, w := range p.waits {
		if w.done {
			continue
		}
		if received(w.ready) {
			w.done, w.got = true, true
			p.later(p.soon(), "wake", func() { p.run(w.f) })
			continue
		}
		open = append(open, w)
	}
	clear(p.waits[len(open):])
	p.waits = open
}

func received(ready <-chan struct{}) bool {
	select {
	case <-ready:
		return true
	default:
		return false
	}
}

// kill ends all fibers. Their deferred calls run, but nothing that they ask for happens any more.
func (p *process) kill() {
	p.dead = true
	p.waits = nil
	before := p.k.current
	for _, f := range p.order {
		if _, ok := p.fibers[f]; ok {
			p.k.current = f
			f.stop()
		}
	}
	p.k.current = before
	clear(p.fibers)
	p.order = nil
}

// Await implements wait.Scheduler.
func (p *process) Await(ctx context.Context, ready <-chan struct{}) error {
	if p.dead {
		panic(killed{})
	}
	if received(ready) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &waiting{f: p.k.current, ready: ready}
	p.waits = append(p.waits, w)
	if at, ok := deadline(ctx); ok {
		p.later(at-p.k.now, "deadline", func() {
			if !w.done {
				w.done = true
				p.run(w.f)
			}
		})
	}
	p.park()
	if w.got {
		return nil
	}
	return ctx.Err()
}

// Sleep implements wait.Scheduler.
func (p *process) Sleep(ctx context.Context, d time.Duration) error {
	if p.dead {
		panic(killed{})
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	until := p.k.now + max(d.Nanoseconds(), 0)
	if at, ok := deadline(ctx); ok {
		until = min(until, at)
	}
	f := p.k.current
	p.later(until-p.k.now, "sleep", func() { p.run(f) })
	p.park()
	return ctx.Err()
}

// WithTimeout implements wait.Scheduler.
func (p *process) WithTimeout(
	ctx context.Context, d time.Duration,
) (context.Context, context.CancelFunc) {
	at := p.k.now + d.Nanoseconds()
	if outer, ok := deadline(ctx); ok {
		at = min(at, outer)
	}
	c := &virtual{Context: ctx, k: p.k, at: at}
	return c, func() { c.cancelled = true }
}

// virtual is a context that ends at a moment of virtual time. It has no Done channel: code that may run in a simulation
// waits through its wait.Scheduler.
type virtual struct {
	context.Context
	k         *kernel
	at        int64
	cancelled bool
}

// Deadline implements context.Context.
func (c *virtual) Deadline() (time.Time, bool) { return wallTime(c.at), true }

// Done implements context.Context.
func (c *virtual) Done() <-chan struct{} { return nil }

// Err implements context.Context.
func (c *virtual) Err() error {
	switch err := c.Context.Err(); {
	case err != nil:
		return err
	case c.cancelled:
		return context.Canceled
	case c.k.now >= c.at:
		return context.DeadlineExceeded
	}
	return nil
}

// deadline is that of a context, in virtual time.
func deadline(ctx context.Context) (at int64, ok bool) {
	t, ok := ctx.Deadline()
	return t.UnixNano() - epochMS*ms, ok
}
