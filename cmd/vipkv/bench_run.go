package main

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/proto/rpcerr"
)

const (
	benchHopeless = 100 // errors without one success end a measurement
	benchLoaders  = 32
	benchLoadSize = 200 // keys a Commit
)

// benchOp is the operation that is measured.
type benchOp func(ctx context.Context, c *benchCaller) error

// benchCaller is one loop; owned by its goroutine.
type benchCaller struct {
	rand    *rand.Rand
	noise   []byte
	latency *hdrhistogram.Histogram // microseconds
	errors  int64
	first   error
}

func newBenchCaller() *benchCaller {
	var seed [32]byte
	crand.Read(seed[:])
	c := &benchCaller{
		rand:    rand.New(rand.NewChaCha8(seed)),
		noise:   make([]byte, 4096),
		latency: hdrhistogram.New(1, time.Hour.Microseconds(), 3),
	}
	crand.Read(c.noise)
	return c
}

// value returns n bytes that do not compress well and differ from call to call.
func (c *benchCaller) value(n int) []byte {
	b := make([]byte, n)
	for at := 0; at < n; {
		at += copy(b[at:], c.noise[c.rand.IntN(len(c.noise)):])
	}
	return b
}

// benchResult is one measurement. Latencies are in microseconds.
type benchResult struct {
	Callers    int     `json:"callers"`
	Seconds    float64 `json:"seconds"`
	Operations int64   `json:"operations"`
	Rate       float64 `json:"rate"`
	P50        int64   `json:"p50_us"`
	P99        int64   `json:"p99_us"`
	P999       int64   `json:"p999_us"`
	Max        int64   `json:"max_us"`
	Errors     int64   `json:"errors"`
	FirstError string  `json:"first_error,omitempty"`
}

// measure repeats op with so many callers for d, after a warm-up of a tenth of it.
func measure(ctx context.Context, op benchOp, callers int, d time.Duration) (benchResult, error) {
	all := make([]*benchCaller, callers)
	start := time.Now()
	from, until := start.Add(d/10), start.Add(d)
	var running sync.WaitGroup
	for i := range all {
		c := newBenchCaller()
		all[i] = c
		running.Go(func() { c.loop(ctx, op, from, until) })
	}
	running.Wait()
	seconds := time.Since(from).Seconds()
	if err := ctx.Err(); err != nil {
		return benchResult{}, errors.New("interrupted")
	}
	sum := all[0]
	for _, c := range all[1:] {
		sum.latency.Merge(c.latency)
		sum.errors += c.errors
		if sum.first == nil {
			sum.first = c.first
		}
	}
	n := sum.latency.TotalCount()
	if n == 0 && sum.first != nil {
		return benchResult{}, fmt.Errorf("no operation succeeded: %w", sum.first)
	}
	r := benchResult{
		Callers: callers, Seconds: seconds, Operations: n, Rate: float64(n) / seconds, Errors: sum.errors,
		P50: sum.latency.ValueAtQuantile(50), P99: sum.latency.ValueAtQuantile(99),
		P999: sum.latency.ValueAtQuantile(99.9), Max: sum.latency.Max(),
	}
	if sum.first != nil {
		r.FirstError = sum.first.Error()
	}
	return r, nil
}

func (c *benchCaller) loop(ctx context.Context, op benchOp, from, until time.Time) {
	failures := 0
	succeeded := false
	for ctx.Err() == nil {
		begin := time.Now()
		if !begin.Before(until) {
			return
		}
		err := op(ctx, c)
		end := time.Now()
		switch {
		case err != nil:
			c.errors++
			failures++
			if c.first == nil {
				c.first = err
			}
			if !succeeded && failures >= benchHopeless {
				return
			}
		default:
			succeeded = true
			if !begin.Before(from) {
				// Longer than an hour can not be: the SDK gives up before.
				_ = c.latency.RecordValue(max(1, end.Sub(begin).Microseconds()))
			}
		}
	}
}

// benchLoad writes all keys, several a Commit where one range has them, else one by one.
func benchLoad(ctx context.Context, cl *client.Client, o benchOptions) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(benchLoaders)
	step := min(benchLoadSize, max(1, (2<<20)/(o.valueSize+64)))
	for from := 0; from < o.keys && ctx.Err() == nil; from += step {
		to := min(from+step, o.keys)
		g.Go(func() error { return benchLoadSome(ctx, cl, from, to, o.valueSize) })
	}
	return g.Wait()
}

func benchLoadSome(ctx context.Context, cl *client.Client, from, to, valueSize int) error {
	c := newBenchCaller()
	var t client.Transaction
	for i := from; i < to; i++ {
		t.Mutations = append(t.Mutations, client.Mutation{Key: benchKey(i), Value: c.value(valueSize)})
	}
	_, err := cl.Commit(ctx, t)
	var multi *rpcerr.MultiRangeError
	if !errors.As(err, &multi) {
		return err
	}
	for _, m := range t.Mutations {
		if _, err := cl.Put(ctx, m.Key, m.Value, client.PutOptions{}); err != nil {
			return err
		}
	}
	return nil
}
