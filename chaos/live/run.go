package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/nemesis"
	"github.com/vipkv/vipkv/chaos/report"
	"github.com/vipkv/vipkv/chaos/workload/load"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/proto"
)

// ErrNotUnderstood is the refusal to break things before somebody said that they know.
var ErrNotUnderstood = errors.New("this plan breaks things in the cluster")

// UnhealthyError is the refusal to break what is broken.
type UnhealthyError struct{ Err error }

func (e *UnhealthyError) Error() string { return e.Err.Error() }
func (e *UnhealthyError) Unwrap() error { return e.Err }

// PlanError says that a plan can not be carried out.
type PlanError struct{ Err error }

func (e *PlanError) Error() string { return "plan: " + e.Err.Error() }
func (e *PlanError) Unwrap() error { return e.Err }

// Options of a Run.
type Options struct {
	// Journal is the file that keeps what must be undone. Required, but for a dry run.
	Journal string
	// Understood says that the user knows what the plan does. Without it only plans whose faults are the harness's own
	// clients' are carried out.
	Understood bool
	// DryRun says what would be done, on Progress, and does nothing.
	DryRun bool
	// Guard is the command of a process that runs Guard on the journal and its standard input. Empty: none.
	Guard []string
	// Drivers are asked before those of the plan.
	Drivers []Driver
	// Progress takes lines for people. Nil: nobody is told.
	Progress io.Writer
}

const (
	callWithin   = 10 * time.Second // one call of the administrator, with its retries
	patience     = 10 * time.Second // with a cluster that is not healthy at the start
	startWithin  = 30 * time.Second // for the tenant, the splits and the first operations
	healWithin   = 2 * time.Minute  // for the cluster to be healthy after the last fault
	finalWithin  = time.Minute
	lookEvery    = 500 * time.Millisecond
	safeWithin   = 20 * time.Second // for a moment in which a fault loses no quorum
	settleTime   = 3 * time.Second  // before what is said of a node that came back is believed
	biteWithin   = 3 * time.Second
	stopInterval = time.Second
)

// run is one run. Its methods run on one goroutine, but inject, of which each fault has its own.
type run struct {
	c       Cluster
	p       Plan
	o       Options
	id      string
	admin   admin
	own     *own
	drivers []Driver
	steps   []planned
	budgets []budget
	journal *Journal
	report  *report.Run

	tenant proto.TenantID
	prefix string
	work   *load.Load
	probes *load.Load
	shift  int64 // of the probes' clock against the workloads'
	acks   acks  // of the probes

	releases sync.WaitGroup // nodes that are waited for, so that other faults may hit them

	mu struct {
		sync.Mutex
		faults  []history.Fault
		skipped []report.Skipped
		events  []report.Event
		busy    map[uint64]bool // nodes that are hit, or not yet back
		failed  []string        // undos that failed
		mended  time.Time       // when the last fault was undone

		recovery time.Duration // the longest from an undo until the cluster was healthy
		waiting  bool          // some undo was not followed by that yet
	}
}

// Run carries a plan out against a cluster. Whatever ends it, all faults are undone before it returns, or it says
// which are not. The error is for what kept it from judging; a cluster that broke a promise is in the report.
func Run(ctx context.Context, c Cluster, p Plan, o Options) (*report.Run, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	p, err := p.Complete()
	if err != nil {
		return nil, &PlanError{err}
	}
	if p.Seed == 0 {
		p.Seed = rand.Uint64()>>12 | 1 // so that it survives programs whose numbers are floats
	}
	r := &run{c: c, p: p, o: o, own: &own{}}
	r.mu.busy = map[uint64]bool{}
	r.drivers = append(append(slices.Clone(o.Drivers), p.drivers()...), r.own)
	if r.steps, err = r.p.schedule(r.drivers); err != nil {
		return nil, &PlanError{err}
	}
	if r.budgets, err = p.budgets(); err != nil {
		return nil, &PlanError{err}
	}
	cl, err := c.dial(ctx, c.AdminCredential, callWithin)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	r.admin = cl.Admin()
	v, err := look(ctx, r.admin, p.Nodes)
	if err != nil {
		return nil, err
	}
	r.c.Endpoints = all(c.Endpoints, v.nodes)
	if o.DryRun {
		return nil, r.dryRun(ctx, v)
	}
	if !o.Understood && r.breaks() {
		return nil, ErrNotUnderstood
	}
	if v.unhealthy() != "" { // an election, perhaps
		if err := waitHealthy(ctx, r.admin, patience); err != nil {
			return nil, &UnhealthyError{err}
		}
	}
	return r.guarded(ctx, v)
}

// all adds the addresses that the cluster names, so that the loss of those given is survived.
func all(given []string, nodes []Node) []string {
	out := slices.Clone(given)
	for _, n := range nodes {
		if !slices.Contains(out, n.ClientAddress) {
			out = append(out, n.ClientAddress)
		}
	}
	return out
}

// breaks tells whether the plan does more than a client may do anyway.
func (r *run) breaks() bool {
	more := func(s planned) bool { return s.fault.Needs != nemesis.Client }
	return slices.ContainsFunc(r.steps, more)
}

func (r *run) problem(err error) { r.report.Problems = append(r.report.Problems, err.Error()) }

// event is something for the report's timeline.
func (r *run) event(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.events = append(r.mu.events,
		report.Event{At: r.work.Now(), Text: fmt.Sprintf(format, args...)})
}

func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.o.Progress, format+"\n", args...)
}

// dryRun shows the schedule, and what would be done if each fault came now.
func (r *run) dryRun(ctx context.Context, v *view) error {
	r.say("cluster %s, version %s, %d nodes, %d ranges",
		v.cluster, v.version, len(v.nodes), len(v.ranges))
	if reason := v.unhealthy(); reason != "" {
		r.say("a run would be refused now: the cluster is not healthy: %s", reason)
	}
	r.say("suite %s, seed %d: %v of warm-up, then %v with %d faults", r.p.Suite, r.p.Seed, r.p.WarmUp,
		r.p.Duration.Round(time.Second), len(r.steps))
	r.say("workloads %s at %v operations a second", strings.Join(r.p.Workloads, ", "), r.p.Rate)
	for i := range r.steps {
		s := &r.steps[i]
		r.say("%v", s)
		if s.target.Kind == nemesis.Range || s.target.Kind == nemesis.Harness {
			r.say("         %s", s.fault.Text)
			continue
		}
		rnd := rand.New(rand.NewPCG(s.seed, 2))
		nodes, err := v.choose(s.target, r.tenant, rnd)
		if err != nil {
			r.say("         would be skipped now: %v", err)
			continue
		}
		if reason := r.refuse(v, s, nodes); reason != "" {
			r.say("         would be skipped now: %s", reason)
			continue
		}
		for _, n := range nodes {
			j, err := s.by.Prepare(ctx, r.aim(v, s, n, rnd))
			if err != nil {
				r.say("         %v: would fail: %v", n, err)
				continue
			}
			r.say("         %v: %s", n, j.Text)
			r.say("         undo:   %s", j.Undo.Text)
		}
	}
	r.say("nothing was done: this was a dry run")
	return nil
}

func (r *run) aim(v *view, s *planned, n Node, rnd *rand.Rand) Aim {
	a := Aim{Fault: s.fault.Name, Node: n, Hold: s.Hold, view: v, rand: rnd}
	for _, o := range v.nodes {
		if o.ID != n.ID {
			a.Peers = append(a.Peers, o)
		}
	}
	return a
}

// refuse says why a fault must not come now; empty: it may.
func (r *run) refuse(v *view, s *planned, nodes []Node) string {
	if !s.fault.Away || r.p.AllowQuorumLoss {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	away := map[uint64]bool{}
	for id := range r.mu.busy {
		away[id] = true
	}
	for _, n := range nodes {
		away[n.ID] = true
	}
	if lost := v.losesQuorum(away); lost != "" {
		return "it would lose a quorum: " + lost
	}
	return ""
}

// guarded opens the journal and starts the guard, and gives both back in the end.
func (r *run) guarded(ctx context.Context, v *view) (rep *report.Run, err error) {
	if r.o.Journal == "" {
		return nil, &PlanError{errors.New("a run needs a journal")}
	}
	if r.journal, err = OpenJournal(r.o.Journal); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.journal.Close()) }()
	if len(r.o.Guard) > 0 {
		release, guardErr := startGuard(r.o.Guard)
		if guardErr != nil {
			return nil, fmt.Errorf("start the guard: %w", guardErr)
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	began := time.Now()
	r.id = began.UTC().Format("20060102-150405") + fmt.Sprintf("-%04x", rand.IntN(1<<16))
	again := fmt.Sprintf("vipkv chaos run --plan PLAN --i-understand   # seed: %d", r.p.Seed)
	r.report = &report.Run{Name: "chaos run, suite " + r.p.Suite, Began: began.UTC(),
		Facts: r.facts(v), Reproduce: []string{again}}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	defer func() {
		for _, s := range r.own.stores {
			err = errors.Join(err, s.close())
		}
	}()
	return r.carryOut(ctx)
}

// carryOut is the run itself: load, faults, healing, final reads, verdicts.
func (r *run) carryOut(ctx context.Context) (*report.Run, error) {
	if err := r.startLoad(ctx); err != nil {
		return nil, err
	}
	breaking, stop := context.WithCancelCause(ctx)
	watching := sync.WaitGroup{}
	watching.Go(func() { r.watch(breaking, stop) })
	r.breakThings(breaking)
	cause := context.Cause(breaking)
	stop(nil)
	watching.Wait()
	r.releases.Wait()

	// From here on everything is done whether or not the run was broken off: only its length differs.
	ctx = context.WithoutCancel(ctx)
	err := waitHealthy(ctx, r.admin, healWithin)
	recovery := r.recovery()
	if err != nil {
		r.problem(err)
	} else {
		r.say("all faults are undone, and the cluster is healthy")
		r.event("all faults are undone, and the cluster is healthy")
	}
	r.work.Stop()
	r.probes.Stop()
	r.finalReads(ctx)
	r.conclude(recovery, cause)
	return r.report, nil
}

// recovery is the longest time from an undo until the cluster was healthy, which it is now.
func (r *run) recovery() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.waiting {
		r.mu.recovery = max(r.mu.recovery, time.Since(r.mu.mended))
	}
	return r.mu.recovery
}

func (r *run) finalReads(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, finalWithin)
	defer cancel()
	for _, l := range []*load.Load{r.work, r.probes} {
		if err := l.Final(ctx); err != nil {
			r.problem(err)
		}
	}
}

// breakThings lets the faults come, each when it is its time, until the plan is over or ctx ends; all are undone when
// it returns, or in the list of failed undos.
func (r *run) breakThings(ctx context.Context) {
	if pause(ctx, r.p.WarmUp) != nil {
		return
	}
	began := time.Now()
	injections := sync.WaitGroup{}
	defer injections.Wait()
	for i := range r.steps {
		if pause(ctx, time.Until(began.Add(r.steps[i].At))) != nil {
			return
		}
		injections.Go(func() { r.inject(ctx, &r.steps[i]) })
	}
	_ = pause(ctx, time.Until(began.Add(r.p.Duration))) // an end of ctx ends the run just as well
}

// prepare makes or checks the tenant and splits its keys.
func (r *run) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	credential, err := r.ownTenant(ctx)
	if err != nil {
		return err
	}
	dial := func(ctx context.Context) (*client.Client, error) {
		return r.c.dial(ctx, credential, callWithin)
	}
	s, err := openStore(ctx, dial)
	if err != nil {
		return err
	}
	r.prefix = "chaos/" + r.id + "/"
	*r.own = own{admin: r.admin, tenant: r.tenant, prefix: r.prefix, stores: []*store{s}}
	if r.p.Tenant.Name != "" {
		page, err := s.ScanPage(ctx, client.ScanOptions{Limit: 1})
		if err != nil {
			return errors.Join(fmt.Errorf("tenant %s: %w", r.p.Tenant.Name, err), s.close())
		}
		if len(page.Items) > 0 {
			err := fmt.Errorf("tenant %s is not empty: a run works in a tenant of its own", r.p.Tenant.Name)
			return errors.Join(&PlanError{err}, s.close())
		}
	}
	if err := r.split(ctx); err != nil {
		return errors.Join(err, s.close())
	}
	return nil
}
