package machine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/workload"
	"github.com/vipkv/vipkv/chaos/workload/load"
	"github.com/vipkv/vipkv/kv/client"
)

// What a scenario must have seen to count.
const (
	okAtLeast    = 200 // operations in all
	ackedAtLeast = 10  // writes while a minority was hurt
)

const (
	finalWithin = time.Minute
	// With what a fault waits for. It is mended whatever becomes of the run.
	mendWithin = 4 * time.Minute
)

// Scenario is one fault under load.
type Scenario struct {
	Fault Fault
	Seed  uint64
	// Warm, Hold and Rest are how long the load runs before, during and after the fault.
	Warm, Hold, Rest time.Duration
	// Workloads by name. Required.
	Workloads []string
	// Tenant of the load, which is made. Required.
	Tenant string
	// Canary is the name whose check.CanaryValue all values carry. Required.
	Canary string
}

// Outcome of a scenario.
type Outcome struct {
	Fault    history.Fault
	Ops      []history.Op
	Verdicts []check.Verdict
	All      load.Counts
	During   load.Counts   // while the fault lasted
	Recovery time.Duration // from mending until the cluster was healthy
	// Problems are broken promises, undecided checks, and what makes the scenario void. None: it is a
	// pass.
	Problems []string
}

func (o *Outcome) problem(format string, args ...any) {
	o.Problems = append(o.Problems, fmt.Sprintf(format, args...))
}

// Run lets clients work while a fault comes and goes, waits until the cluster is healthy, reads all, and
// judges. An error means that the cluster is not as it should be, or that the harness failed: nothing
// more can be run on it.
func (c *Cluster) Run(ctx context.Context, s Scenario) (o *Outcome, err error) {
	work, cl, err := c.startLoad(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Fault.Name, err)
	}
	defer func() {
		work.Stop()
		err = errors.Join(err, cl.Close())
	}()
	o = &Outcome{}
	defer func() { o.Ops = work.Ops() }()
	time.Sleep(s.Warm)
	if err := c.hurt(ctx, s, work, o); err != nil {
		return o, err
	}
	mended := time.Now()
	time.Sleep(reportsWithin)
	if err := c.Healthy(ctx); err != nil {
		return o, fmt.Errorf("after %s of %s: %w", o.Fault.Name, o.Fault.Target, err)
	}
	o.Recovery = time.Since(mended) - reportsWithin
	time.Sleep(s.Rest)
	work.Stop()
	final, done := context.WithTimeout(ctx, finalWithin)
	defer done()
	if err := work.Final(final); err != nil {
		return o, fmt.Errorf("after %s of %s: %w", o.Fault.Name, o.Fault.Target, err)
	}
	o.judge(s, work)
	return o, nil
}

// startLoad makes the tenant and starts the workloads.
func (c *Cluster) startLoad(ctx context.Context, s Scenario) (*load.Load, *client.Client, error) {
	key, err := c.NewTenant(ctx, s.Tenant)
	if err != nil {
		return nil, nil, err
	}
	cl, err := c.Open(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	cfg := load.Config{Stores: map[string]workload.Store{s.Canary: cl}, Seed: s.Seed}
	for _, name := range s.Workloads {
		w, err := workload.New(name, workload.Options{})
		if err != nil {
			return nil, nil, errors.Join(err, cl.Close())
		}
		cfg.Workloads = append(cfg.Workloads, &marked{w, s.Canary})
	}
	work, err := load.Start(ctx, cfg)
	if err != nil {
		return nil, nil, errors.Join(err, cl.Close())
	}
	return work, cl, nil
}

// hurt injects, waits, and mends, also when ctx ends meanwhile.
func (c *Cluster) hurt(ctx context.Context, s Scenario, work *load.Load, o *Outcome) error {
	r := rand.New(rand.NewPCG(s.Seed, 0))
	nodes, err := c.Aim(ctx, s.Fault, r)
	if err != nil {
		return err
	}
	start := work.Now()
	injection, err := c.Inject(ctx, s.Fault, nodes, r)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(s.Hold):
	}
	during := work.Now()
	always, done := context.WithTimeout(context.WithoutCancel(ctx), mendWithin)
	defer done()
	o.Fault, err = injection.Mend(always)
	o.Fault.Start, o.Fault.End = start, work.Now()
	o.During = load.Count(work.Ops(), start, during)
	return errors.Join(err, ctx.Err())
}

// judge checks the history, and whether it is worth something.
func (o *Outcome) judge(s Scenario, work *load.Load) {
	o.Verdicts = work.Check()
	for _, v := range o.Verdicts {
		if v.Outcome != check.Pass {
			o.problem("%s of %s: %s: %s", v.Checker, v.Workload, v.Outcome, v.Reason)
		}
	}
	o.All = load.Count(work.Ops(), 0, 0)
	switch {
	case !o.Fault.Bit:
		o.problem("void: the fault did not bite: %s", o.Fault.Evidence)
	case o.All.OK < okAtLeast:
		o.problem("void: too little happened: %v", o.All)
	case s.Fault.Minority && o.During.Acked < ackedAtLeast:
		o.problem("a majority was well, but during the fault there were %v", o.During)
	}
}
