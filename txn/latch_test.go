package txn_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/txn"
	"github.com/vipkv/vipkv/txn/mvcc"
)

func point(key string, write bool) mvcc.Span {
	return mvcc.Span{Start: []byte(key), End: []byte(key + "\x00"), Write: write}
}

func long(start, end string, write bool) mvcc.Span {
	return mvcc.Span{Start: []byte(start), End: []byte(end), Write: write}
}

// latchModel knows who must wait for whom: everybody for all before it that conflict, held or waiting.
type latchModel struct {
	guards []*modelGuard // in order of arrival; released ones are taken out
}

type modelGuard struct {
	n       int
	spans   []mvcc.Span
	apart   map[*modelGuard]bool // a Wait: the holders that it waits for
	gone    bool
	granted chan error
	guard   *txn.Guard
	cancel  context.CancelFunc
}

func conflict(a, b []mvcc.Span) bool {
	for _, x := range a {
		for _, y := range b {
			if (x.Write || y.Write) && string(x.Start) < string(y.End) && string(y.Start) < string(x.End) {
				return true
			}
		}
	}
	return false
}

func (m *latchModel) mayRun(g *modelGuard) bool {
	if g.apart != nil {
		return len(g.apart) == 0
	}
	for _, o := range m.guards {
		if o == g {
			return true
		}
		if o.apart == nil && conflict(o.spans, g.spans) {
			return false
		}
	}
	panic("unknown guard")
}

// settle takes out those that have given up and whose turn it is, until nothing changes.
func (m *latchModel) settle() {
	for again := true; again; {
		again = false
		for _, g := range m.guards {
			if g.gone && m.mayRun(g) {
				m.remove(g)
				again = true
				break
			}
		}
	}
}

func (m *latchModel) remove(g *modelGuard) {
	m.guards = slices.DeleteFunc(m.guards, func(o *modelGuard) bool { return o == g })
	for _, o := range m.guards {
		delete(o.apart, g)
	}
}

type latchRun struct {
	ctx     context.Context
	l       *txn.Latches
	m       latchModel
	next    int
	waiting sync.WaitGroup
}

var spanGen = rapid.Custom(func(t *rapid.T) mvcc.Span {
	keys := []string{"a", "b", "c", "d", "e", "f"}
	i, write := rapid.IntRange(0, 5).Draw(t, "key"), rapid.Bool().Draw(t, "write")
	if rapid.IntRange(0, 2).Draw(t, "long") > 0 || i == 5 {
		return point(keys[i], write)
	}
	return long(keys[i], keys[rapid.IntRange(i+1, 5).Draw(t, "end")]+"x", write)
})

func (r *latchRun) start(t *rapid.T) {
	g := &modelGuard{n: r.next, granted: make(chan error, 1)}
	r.next++
	g.spans = rapid.SliceOfN(spanGen, 1, 3).Draw(t, "spans")
	var ctx context.Context
	ctx, g.cancel = context.WithCancel(r.ctx)
	if rapid.IntRange(0, 3).Draw(t, "apart") == 0 {
		for i := range g.spans {
			g.spans[i].Write = false
		}
		g.apart = map[*modelGuard]bool{}
		for _, o := range r.m.guards {
			if o.apart == nil && r.m.mayRun(o) && conflict(o.spans, g.spans) {
				g.apart[o] = true
			}
		}
	}
	r.m.guards = append(r.m.guards, g)
	r.waiting.Go(func() {
		var err error
		if g.apart != nil {
			_, err = r.l.Wait(ctx, g.spans)
		} else {
			g.guard, _, err = r.l.Acquire(ctx, g.spans)
		}
		g.granted <- err
	})
	r.check(t)
}

// check waits until all goroutines rest; then exactly those that the model lets run must have been granted.
func (r *latchRun) check(t *rapid.T) {
	synctest.Wait()
	for _, g := range r.m.guards {
		if g.gone {
			continue
		}
		if may := r.m.mayRun(g); may != (len(g.granted) == 1) {
			t.Fatalf("guard %d may run: %v; granted: %d", g.n, may, len(g.granted))
		}
	}
}

func (r *latchRun) pick(t *rapid.T, f func(*modelGuard) bool) *modelGuard {
	var list []*modelGuard
	for _, g := range r.m.guards {
		if f(g) {
			list = append(list, g)
		}
	}
	if len(list) == 0 {
		t.Skip("none")
	}
	return rapid.SampledFrom(list).Draw(t, "guard")
}

func (r *latchRun) release(t *rapid.T) {
	g := r.pick(t, func(g *modelGuard) bool { return !g.gone && r.m.mayRun(g) })
	r.end(t, g)
	r.check(t)
}

func (r *latchRun) end(t *rapid.T, g *modelGuard) {
	if err := <-g.granted; err != nil {
		t.Fatalf("guard %d: %v", g.n, err)
	}
	if g.apart == nil {
		g.guard.Release()
	}
	g.cancel()
	r.m.remove(g)
	r.m.settle()
}

func (r *latchRun) giveUp(t *rapid.T) {
	g := r.pick(t, func(g *modelGuard) bool { return !g.gone && !r.m.mayRun(g) })
	g.cancel()
	synctest.Wait()
	if err := <-g.granted; !errors.Is(err, context.Canceled) {
		t.Fatalf("guard %d: %v", g.n, err)
	}
	g.gone = true
	if g.apart != nil {
		r.m.remove(g)
	}
	r.m.settle()
	r.check(t)
}

func TestLatchesAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { rapid.SyncTest(t, checkLatches) })
}

func checkLatches(t *rapid.T) {
	r := &latchRun{ctx: context.Background(), l: txn.NewLatches(1000)}
	t.Repeat(map[string]func(*rapid.T){
		"start": r.start, "start2": r.start, "release": r.release, "giveUp": r.giveUp,
	})
	for len(r.m.guards) > 0 { // progress: whoever waits gets its turn
		i := slices.IndexFunc(r.m.guards, func(g *modelGuard) bool { return !g.gone && r.m.mayRun(g) })
		r.end(t, r.m.guards[i])
		r.check(t)
	}
	r.waiting.Wait()
	if n := txn.LatchedKeys(r.l); n != 0 {
		t.Fatalf("%d entries are left", n)
	}
}

func TestFullLatchesRefuseAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := txn.NewLatches(1)
		first, waited, err := l.Acquire(t.Context(), []mvcc.Span{point("a", true)})
		if err != nil || waited {
			t.Fatal(waited, err)
		}
		second := make(chan *txn.Guard)
		go func() {
			g, waited, err := l.Acquire(t.Context(), []mvcc.Span{point("a", true)})
			if err != nil || !waited {
				t.Error(waited, err)
			}
			second <- g
		}()
		synctest.Wait()
		var full *rpcerr.ThrottledError
		if _, _, err := l.Acquire(t.Context(), []mvcc.Span{point("a", false)}); !errors.As(err, &full) {
			t.Fatalf("acquire: %v", err)
		}
		if _, _, err := l.Acquire(t.Context(), []mvcc.Span{long("a", "c", false)}); !errors.As(err, &full) {
			t.Fatalf("acquire a longer span: %v", err)
		}
		if _, err := l.Wait(t.Context(), []mvcc.Span{long("a", "c", false)}); !errors.As(err, &full) {
			t.Fatalf("wait: %v", err)
		}
		other, _, err := l.Acquire(t.Context(), []mvcc.Span{point("b", true)})
		if err != nil {
			t.Fatalf("who need not wait is not refused: %v", err)
		}
		other.Release()
		first.Release()
		(<-second).Release()
		if n := txn.LatchedKeys(l); n != 0 {
			t.Fatalf("%d entries are left", n)
		}
	})
}

// Many goroutines on few keys: a writer is alone, and all come to an end.
func TestLatchesExclude(t *testing.T) {
	l := txn.NewLatches(10_000)
	counters := make([]struct{ writers, readers atomic.Int32 }, 4)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 200 {
				key, write := (n*7+i*i)%4, (n+i)%3 != 0
				g, _, err := l.Acquire(t.Context(), []mvcc.Span{point(fmt.Sprint(key), write)})
				if err != nil {
					t.Error(err)
					return
				}
				c := &counters[key]
				if write {
					if c.writers.Add(1) != 1 || c.readers.Load() != 0 {
						t.Error("a writer is not alone")
					}
					c.writers.Add(-1)
				} else {
					c.readers.Add(1)
					if c.writers.Load() != 0 {
						t.Error("a reader beside a writer")
					}
					c.readers.Add(-1)
				}
				g.Release()
			}
		})
	}
	wg.Wait()
}

func BenchmarkLatches(b *testing.B) {
	l := txn.NewLatches(10)
	held := make([]*txn.Guard, 5000)
	for i := range held {
		held[i], _, _ = l.Acquire(b.Context(), []mvcc.Span{point(fmt.Sprintf("key %d", i), true)})
	}
	spans := []mvcc.Span{point("key 2500 and a half", true)}
	for b.Loop() {
		g, _, err := l.Acquire(b.Context(), spans)
		if err != nil {
			b.Fatal(err)
		}
		g.Release()
	}
}
