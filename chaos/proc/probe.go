package proc

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vipkv/vipkv/kv/client"
)

// ProbePace is the time between two writes to a key of a Probe: 20 writes a second.
const ProbePace = 50 * time.Millisecond

// Probe writes to keys at a fixed rate, whether earlier writes were answered or not (an open loop: a cluster that
// hangs does not slow the question down), and notes when each was acknowledged.
type Probe struct {
	cl    *client.Client
	keys  [][]byte
	began time.Time
	stop  context.CancelFunc
	wait  sync.WaitGroup

	mu     sync.Mutex
	acks   [][]time.Duration // by key, since began
	failed int
	errs   map[string]int // texts of failures
}

// StartProbe starts to write; Stop ends it. One key a range.
func StartProbe(cl *client.Client, keys [][]byte) *Probe {
	ctx, stop := context.WithCancel(context.Background())
	p := &Probe{cl: cl, keys: keys, began: time.Now(), stop: stop,
		acks: make([][]time.Duration, len(keys)), errs: map[string]int{}}
	for i := range keys {
		p.wait.Go(func() { p.run(ctx, i) })
	}
	return p
}

func (p *Probe) run(ctx context.Context, key int) {
	t := time.NewTicker(ProbePace)
	defer t.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			p.wait.Go(func() { p.put(key, n) })
		}
	}
}

func (p *Probe) put(key, n int) {
	_, err := p.cl.Put(context.Background(), p.keys[key], fmt.Appendf(nil, "%d", n), client.PutOptions{})
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failed++
		p.errs[err.Error()]++
		return
	}
	p.acks[key] = append(p.acks[key], time.Since(p.began))
}

// Stop ends the writing, waits for the writes under way, and returns how many failed.
func (p *Probe) Stop() (failed int) {
	p.stop()
	p.wait.Wait()
	return p.failed
}

// Errors are the texts of failures and how often each came. Call it after Stop.
func (p *Probe) Errors() map[string]int { return p.errs }

// Since is the probe's clock.
func (p *Probe) Since() time.Duration { return time.Since(p.began) }

// Silence is how long ago the last write to a key was acknowledged, on the worst key.
func (p *Probe) Silence() (worst time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Since(p.began)
	for _, acks := range p.acks {
		last := time.Duration(0)
		if len(acks) > 0 {
			last = acks[len(acks)-1]
		}
		worst = max(worst, now-last)
	}
	return worst
}

// Gap is the longest time between two acknowledgements of one key, of which the second came after from and the first
// before to, on the worst key; the two moments themselves count as acknowledgements. Call it after Stop.
func (p *Probe) Gap(from, to time.Duration) (worst time.Duration) {
	for _, acks := range p.acks {
		at := []time.Duration{from, to}
		for _, a := range acks {
			if from < a && a < to {
				at = append(at, a)
			}
		}
		slices.Sort(at)
		for i := 1; i < len(at); i++ {
			worst = max(worst, at[i]-at[i-1])
		}
	}
	return worst
}

// Acked is how many writes were acknowledged.
func (p *Probe) Acked() (n int) {
	for _, a := range p.acks {
		n += len(a)
	}
	return n
}
