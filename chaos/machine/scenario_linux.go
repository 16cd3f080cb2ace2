package machine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/judge"
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
	// Workloads by name. Empty: all.
	Workloads []string
	// Pace is the mean pause of a client between two operations. Default: package load's.
	Pace time.Duration
	// Name begins the names of the tenants and keys of this scenario, which are made. Required.
	Name string
	// Canary is the name whose check.CanaryValue the values carry. Required.
	Canary string
}

// Outcome of a scenario.
type Outcome struct {
	Name     string
	Began    time.Time // what times of operations and of the fault count from
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
	stores, err := c.stores(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Fault.Name, err)
	}
	defer func() { err = errors.Join(err, stores.close()) }()
	work, err := startLoad(ctx, s, stores)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Fault.Name, err)
	}
	defer work.Stop()
	o = &Outcome{Name: s.Name, Began: time.Now().Add(-time.Duration(work.Now()))}
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
	dump, err := judge.ReadDump(final, stores.asked(), work.Ops(), judge.DumpOptions{Prefix: s.prefix()})
	if err != nil {
		return o, fmt.Errorf("after %s of %s: %w", o.Fault.Name, o.Fault.Target, err)
	}
	o.judge(s, work, dump)
	return o, nil
}

// prefix begins all keys of a scenario.
func (s *Scenario) prefix() string { return s.Name + "/" }

// tenants are those that operations name: one whose canary is looked for, and two that must not see
// each other.
func (s *Scenario) tenants() []string { return []string{s.Canary, "a", "b"} }

// clients of tenants, by the names that operations have for them.
type clients map[string]*client.Client

func (m clients) asked() map[string]workload.Store {
	out := map[string]workload.Store{}
	for name, cl := range m {
		out[name] = cl
	}
	return out
}

func (m clients) close() error {
	var errs []error
	for _, cl := range m {
		errs = append(errs, cl.Close())
	}
	return errors.Join(errs...)
}

// stores makes the tenants of a scenario.
func (c *Cluster) stores(ctx context.Context, s Scenario) (clients, error) {
	m := clients{}
	for _, name := range s.tenants() {
		key, err := c.NewTenant(ctx, s.Name+"-"+name)
		if err == nil {
			m[name], err = c.Open(ctx, key)
		}
		if err != nil {
			delete(m, name)
			return nil, errors.Join(err, m.close())
		}
	}
	return m, nil
}

func startLoad(ctx context.Context, s Scenario, stores clients) (*load.Load, error) {
	works, err := workload.NewAll(s.Workloads, workload.Options{
		Prefix: s.prefix(), Tenant: s.Canary, Tenants: s.tenants()[1:],
	})
	if err != nil {
		return nil, err
	}
	return load.Start(ctx, load.Config{
		Stores: stores.asked(), Workloads: works, Seed: s.Seed, Pace: s.Pace,
	})
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
func (o *Outcome) judge(s Scenario, work *load.Load, dump *check.Dump) {
	o.Verdicts = append(work.Check(), judge.All(work.Ops(), nil, judge.Options{Dump: dump})...)
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
