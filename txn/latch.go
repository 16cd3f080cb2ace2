package txn

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/btree"

	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/proto/wait"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// Latches lets the commands of one range that touch the same keys run one after the other. A command takes all of its
// spans at once, and waits only for commands that came before it: so there is no deadlock, and who came first goes
// first. Reads share, a write excludes.
type Latches struct {
	waitersMax int
	wait       wait.Scheduler

	mu struct { // never held while waiting
		sync.Mutex
		points  *btree.BTreeG[*point] // spans of one key, by key
		spans   []*Guard              // guards that have longer spans, in order of arrival
		waiters int
	}
}

// point is one key with a latch on it.
type point struct {
	key     []byte
	writer  *Guard              // the last writer that came
	holder  *Guard              // the writer that has it
	readers map[*Guard]struct{} // that came after writer
}

// Guard is a command's place in the order. Its fields are guarded by its Latches' mutex, except for granted.
type Guard struct {
	latches *Latches
	spans   []mvcc.Span
	points  []*point      // one for each span of one key; nil for a longer span
	waits   int           // guards before it that are not released yet
	blocks  []*Guard      // whom to tell on release; once for each count in their waits
	granted chan struct{} // closed when waits is 0
	held    bool
	gone    bool // who waited has given up
	apart   bool // waits without a place of its own (Wait)
}

// NewLatches makes latches of which at most waitersMax commands wait at a time; one more is refused with
// *rpcerr.ThrottledError.
func NewLatches(waitersMax int) *Latches { return newLatches(waitersMax, wait.Real{}) }

func newLatches(waitersMax int, w wait.Scheduler) *Latches {
	l := &Latches{waitersMax: waitersMax, wait: w}
	l.mu.points = btree.NewG(16, func(a, b *point) bool { return bytes.Compare(a.key, b.key) < 0 })
	return l
}

// throttledRetry is what a caller is told to wait when there is no room.
const throttledRetry = 20 * time.Millisecond

// Acquire takes the spans, after all that conflict with them and came before. waited tells that it was not at once.
// The caller releases the guard. It fails with the context's error, or *rpcerr.ThrottledError.
func (l *Latches) Acquire(ctx context.Context, spans []mvcc.Span) (g *Guard, waited bool, err error) {
	g = &Guard{latches: l, spans: spans}
	l.mu.Lock()
	if l.mu.waiters >= l.waitersMax && l.blockedLocked(spans) {
		l.mu.Unlock()
		return nil, false, errFull()
	}
	l.enterLocked(g)
	waited = g.waits > 0
	return g, waited, l.waitUnlock(ctx, g)
}

// Wait returns when all writers that hold a latch in the spans at the time of the call have released it. Writers that
// wait themselves are not waited for. It fails as Acquire does.
func (l *Latches) Wait(ctx context.Context, spans []mvcc.Span) (waited bool, err error) {
	g := &Guard{latches: l, apart: true}
	l.mu.Lock()
	for _, s := range spans {
		l.holdersLocked(s, g.after)
	}
	if waited = g.waits > 0; waited && l.mu.waiters >= l.waitersMax {
		for _, s := range spans {
			l.holdersLocked(s, func(o *Guard) { o.forget(g) })
		}
		l.mu.Unlock()
		return false, errFull()
	}
	return waited, l.waitUnlock(ctx, g)
}

func errFull() error {
	return rpcerr.Throttled("too many commands wait for the same keys", throttledRetry)
}

// holdersLocked calls f with each writer that holds a latch in the span.
func (l *Latches) holdersLocked(s mvcc.Span, f func(*Guard)) {
	l.mu.points.AscendRange(&point{key: s.Start}, &point{key: s.End}, func(p *point) bool {
		if p.holder != nil {
			f(p.holder)
		}
		return true
	})
	for _, o := range l.mu.spans {
		if o.held && o.conflicts(s) {
			f(o)
		}
	}
}

// blockedLocked tells whether a guard with these spans would have to wait.
func (l *Latches) blockedLocked(spans []mvcc.Span) bool {
	for _, s := range spans {
		blocked := false
		l.mu.points.AscendRange(&point{key: s.Start}, &point{key: s.End}, func(p *point) bool {
			blocked = p.writer != nil || s.Write
			return !blocked
		})
		for _, o := range l.mu.spans {
			blocked = blocked || o.conflicts(s)
		}
		if blocked {
			return true
		}
	}
	return false
}

// waitUnlock releases l.mu and waits until the guard is granted.
func (l *Latches) waitUnlock(ctx context.Context, g *Guard) error {
	if g.waits == 0 {
		g.grantLocked()
		l.mu.Unlock()
		return nil
	}
	fault.Reached("latch-conflict")
	g.granted = make(chan struct{})
	l.mu.waiters++
	l.mu.Unlock()
	err := l.wait.Await(ctx, g.granted)
	if err == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if g.waits == 0 { // granted in the meantime
		l.releaseLocked(g)
		return err
	}
	// It keeps its place until its turn comes: those behind it wait for those before it through it.
	fault.Reached("latch-abandoned")
	g.gone = true
	return err
}

// enterLocked gives the guard its place after all that it conflicts with.
func (l *Latches) enterLocked(g *Guard) {
	long := false
	g.points = make([]*point, len(g.spans))
	for i, s := range g.spans {
		if isPoint(s) {
			g.points[i] = l.enterPointLocked(g, s)
		} else {
			long = true
			l.afterPointsLocked(g, s)
		}
		for _, o := range l.mu.spans {
			if o.conflicts(s) {
				g.after(o)
			}
		}
	}
	if long {
		l.mu.spans = append(l.mu.spans, g)
	}
}

func (l *Latches) enterPointLocked(g *Guard, s mvcc.Span) *point {
	p, ok := l.mu.points.Get(&point{key: s.Start})
	if !ok {
		p = &point{key: s.Start, readers: make(map[*Guard]struct{})}
		l.mu.points.ReplaceOrInsert(p)
	}
	g.after(p.writer)
	if !s.Write {
		if p.writer != g {
			p.readers[g] = struct{}{}
		}
		return p
	}
	for r := range p.readers {
		g.after(r)
	}
	p.writer = g
	clear(p.readers)
	return p
}

// afterPointsLocked makes the guard wait for the points inside a longer span.
func (l *Latches) afterPointsLocked(g *Guard, s mvcc.Span) {
	l.mu.points.AscendRange(&point{key: s.Start}, &point{key: s.End}, func(p *point) bool {
		g.after(p.writer)
		if s.Write {
			for r := range p.readers {
				g.after(r)
			}
		}
		return true
	})
}

func isPoint(s mvcc.Span) bool {
	n := len(s.Start)
	return len(s.End) == n+1 && s.End[n] == 0 && bytes.Equal(s.Start, s.End[:n])
}

// conflicts tells whether one of the guard's longer spans overlaps s and one of the two writes.
func (g *Guard) conflicts(s mvcc.Span) bool {
	for i, o := range g.spans {
		if g.points[i] == nil && (o.Write || s.Write) &&
			bytes.Compare(o.Start, s.End) < 0 && bytes.Compare(s.Start, o.End) < 0 {
			return true
		}
	}
	return false
}

// forget takes back what g.after(o) did.
func (o *Guard) forget(g *Guard) {
	o.blocks = slices.DeleteFunc(o.blocks, func(b *Guard) bool { return b == g })
}

// after makes g wait for o's release.
func (g *Guard) after(o *Guard) {
	if o == nil || o == g {
		return
	}
	g.waits++
	o.blocks = append(o.blocks, g)
}

func (g *Guard) grantLocked() {
	g.held = true
	for i, p := range g.points {
		if p != nil && g.spans[i].Write {
			p.holder = g
		}
	}
	if g.granted != nil {
		close(g.granted)
		g.latches.mu.waiters--
	}
}

// Release gives the spans to those who wait for them. It must be called once.
func (g *Guard) Release() {
	g.latches.mu.Lock()
	defer g.latches.mu.Unlock()
	g.latches.releaseLocked(g)
}

// releaseLocked takes the guard out, and with it those behind it that have given up and whose turn it becomes.
func (l *Latches) releaseLocked(g *Guard) {
	for queue := []*Guard{g}; len(queue) > 0; queue = queue[1:] {
		done := queue[0]
		l.leaveLocked(done)
		for _, b := range done.blocks {
			if b.waits--; b.waits > 0 {
				continue
			}
			b.grantLocked()
			if b.gone {
				queue = append(queue, b)
			}
		}
		done.blocks = nil
	}
}

func (l *Latches) leaveLocked(g *Guard) {
	if g.apart {
		return
	}
	long := false
	for i, p := range g.points {
		if p == nil {
			long = true
			continue
		}
		if g.spans[i].Write && p.writer == g {
			p.writer = nil
		}
		if p.holder == g {
			p.holder = nil
		}
		delete(p.readers, g)
		if p.writer == nil && len(p.readers) == 0 {
			l.mu.points.Delete(p)
		}
	}
	if !long {
		return
	}
	for i, o := range l.mu.spans {
		if o == g {
			l.mu.spans = append(l.mu.spans[:i], l.mu.spans[i+1:]...)
			return
		}
	}
}
