package sim

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
)

// Virtual time is in nanoseconds since the start of the run.
const (
	us  = int64(1_000)
	ms  = int64(1_000_000)
	sec = int64(1_000_000_000)
)

// event is something that happens at a moment. Events of the same moment happen in the order in which they were made.
type event struct {
	at   int64
	seq  uint64
	node int
	kind string
	run  func()
}

type eventHeap []*event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || (h[i].at == h[j].at && h[i].seq < h[j].seq)
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(*event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}

// kernel is virtual time: one goroutine, one heap.
type kernel struct {
	seed    uint64
	now     int64
	seq     uint64
	events  eventHeap
	count   uint64
	trace   uint64 // hash over what happened, in order
	failure error
	current *fiber                           // that runs now
	checker string                           // who found it
	log     func(format string, args ...any) // nil: quiet
}

const fnvPrime = 1099511628211

// mix adds to the hash of the trace.
func (k *kernel) mix(v uint64) { k.trace = (k.trace ^ v) * fnvPrime }

func (k *kernel) mixString(s string) {
	for i := range len(s) {
		k.mix(uint64(s[i]))
	}
}

// rng makes the stream of random numbers of one concern, so that one concern's draws do not shift another's.
func (k *kernel) rng(concern string, n int) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d", concern, n)
	return rand.New(rand.NewPCG(k.seed, h.Sum64()))
}

// after makes an event. node 0 is the world outside of the stores.
func (k *kernel) after(d int64, node int, kind string, run func()) {
	k.seq++
	heap.Push(&k.events, &event{at: k.now + max(d, 0), seq: k.seq, node: node, kind: kind, run: run})
}

// runUntil lets events happen until the moment, or until done says so.
func (k *kernel) runUntil(at int64, done func() bool) {
	for k.failure == nil && len(k.events) > 0 && k.events[0].at <= at {
		e := heap.Pop(&k.events).(*event)
		k.now = e.at
		k.count++
		k.mix(uint64(e.at))
		k.mix(uint64(e.node))
		k.mixString(e.kind)
		e.run()
		if done != nil && done() {
			return
		}
	}
	if done == nil && k.failure == nil {
		k.now = max(k.now, at)
	}
}

// fail ends the run: what nobody in particular looks after does not hold.
func (k *kernel) fail(format string, args ...any) { k.broken(Invariant, format, args...) }

// broken ends the run: what a checker looks after does not hold.
func (k *kernel) broken(checker, format string, args ...any) {
	if k.failure == nil {
		k.checker = checker
		k.failure = fmt.Errorf("at %.6fs: %w", float64(k.now)/1e9, fmt.Errorf(format, args...))
	}
}

// note tells a reader of a replayed run what happens, and is part of the trace.
func (k *kernel) note(format string, args ...any) {
	if k.log != nil {
		k.log("%12.6f "+format, append([]any{float64(k.now) / 1e9}, args...)...)
	}
}

// between draws from [lo, hi).
func between(r *rand.Rand, lo, hi int64) int64 {
	if hi <= lo {
		return lo
	}
	return lo + r.Int64N(hi-lo)
}

// tail draws a delay: mostly between lo and hi, one in a hundred up to ten times as long.
func tail(r *rand.Rand, lo, hi int64) int64 {
	d := between(r, lo, hi)
	if r.IntN(100) == 0 {
		d += between(r, 0, 10*hi)
	}
	return d
}

func chance(r *rand.Rand, p float64) bool { return r.Float64() < p }
