package live

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/nemesis"
	"github.com/vipkv/vipkv/chaos/report"
)

// injected is a fault on one node, or on a range, between its injection and its end.
type injected struct {
	Injection
	id  int // in the journal
	bit bool
	why string // its evidence
}

// inject lets one fault come, holds it and undoes it. It ends early when ctx ends, and undoes nevertheless.
func (r *run) inject(ctx context.Context, s *planned) {
	rnd := rand.New(rand.NewPCG(s.seed, 2))
	v, nodes, reason := r.reserve(ctx, s, rnd)
	if reason != "" {
		r.skip(s, reason)
		return
	}
	defer r.releases.Go(func() { r.release(ctx, s, nodes) })
	f := history.Fault{Name: s.fault.Name, Start: r.work.Now()}
	for _, n := range nodes {
		f.Nodes = append(f.Nodes, n.ID)
	}
	var active []*injected
	hold := time.Duration(0)
	f.Bit = true
	for _, a := range r.aims(v, s, nodes, rnd) {
		i, err := r.begin(ctx, s, a)
		if err == nil {
			hold = s.Hold
		} else {
			f.Bit = false
			f.Evidence = join(f.Evidence, err.Error())
			r.say("%s on %v FAILED: %v", s.fault.Name, a.Node, err)
		}
		if i != nil {
			active = append(active, i)
			f.Target = join(f.Target, i.Target)
		}
	}
	if len(active) == 0 {
		r.skip(s, f.Evidence)
		return
	}
	r.say("%s on %s for %v", s.fault.Name, f.Target, hold.Round(100*time.Millisecond))
	until := time.Now().Add(hold) // a fault that came nowhere is undone at once
	for _, i := range active {
		i.bite(ctx, min(biteWithin, hold))
	}
	_ = pause(ctx, time.Until(until)) // when ctx ends it is undone early
	for _, i := range active {
		if bit, why := i.Bit(context.WithoutCancel(ctx)); bit || !i.bit {
			i.bit, i.why = bit, why // the effect at the end says more than that at the beginning
		}
		f.Bit = f.Bit && i.bit
		f.Evidence = join(f.Evidence, i.why)
		r.end(ctx, s, i)
	}
	f.End = r.work.Now()
	r.say("%s on %s is over: %s", s.fault.Name, f.Target, f.Evidence)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.faults = append(r.mu.faults, f)
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}

// aims are one for each node, or one for a fault that has none.
func (r *run) aims(v *view, s *planned, nodes []Node, rnd *rand.Rand) (out []Aim) {
	if len(nodes) == 0 {
		return []Aim{r.aim(v, s, Node{}, rnd)}
	}
	for _, n := range nodes {
		out = append(out, r.aim(v, s, n, rnd))
	}
	return out
}

// reserve waits for a moment at which the fault may come, and chooses whom it hits. A reason says why it may not.
func (r *run) reserve(ctx context.Context, s *planned, rnd *rand.Rand) (
	v *view, nodes []Node, reason string,
) {
	until := time.Now().Add(safeWithin)
	for {
		var err error
		if v, err = look(ctx, r.admin, r.p.Nodes); err != nil {
			reason = err.Error()
		} else if nodes, reason = r.tryReserve(v, s, rnd); reason == "" {
			return v, nodes, ""
		}
		if err == nil && r.hopeless(v, s) || time.Now().After(until) || pause(ctx, lookEvery) != nil {
			return nil, nil, reason
		}
	}
}

// hopeless tells whether a fault may never come, at whatever moment. What a leader says of its followers changes by the
// second; that all nodes are a majority does not.
func (r *run) hopeless(v *view, s *planned) bool {
	if s.target.Kind != nemesis.All || !s.fault.Away || r.p.AllowQuorumLoss {
		return false
	}
	away := map[uint64]bool{}
	for _, n := range v.nodes {
		away[n.ID] = true
	}
	return v.neverSafe(away)
}

func (r *run) tryReserve(v *view, s *planned, rnd *rand.Rand) ([]Node, string) {
	if s.target.Kind == nemesis.Range || s.target.Kind == nemesis.Harness {
		return nil, ""
	}
	nodes, err := v.choose(s.target, r.tenant, rnd)
	if err != nil {
		return nil, err.Error()
	}
	if reason := r.refuse(v, s, nodes); reason != "" {
		return nil, reason
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range nodes {
		if r.mu.busy[n.ID] {
			return nil, fmt.Sprintf("%v has another fault", n)
		}
	}
	if !r.stillSafe(v, s, nodes) {
		return nil, "another fault came first"
	}
	for _, n := range nodes {
		r.mu.busy[n.ID] = true
	}
	return nodes, ""
}

// stillSafe checks the quorums again, now that r.mu is held.
func (r *run) stillSafe(v *view, s *planned, nodes []Node) bool {
	away := map[uint64]bool{}
	for id := range r.mu.busy {
		away[id] = true
	}
	for _, n := range nodes {
		away[n.ID] = true
	}
	return !s.fault.Away || r.p.AllowQuorumLoss || v.losesQuorum(away) == ""
}

// release gives nodes back when they serve again, or have not for a long time: the next fault looks for itself. When
// the run is over it returns at once.
func (r *run) release(ctx context.Context, s *planned, nodes []Node) {
	if len(nodes) == 0 {
		return
	}
	undone, recovered := time.Now(), true
	if s.fault.Away {
		recovered = pause(ctx, settleTime) == nil && waitHealthy(ctx, r.admin, awaitWithin) == nil
	}
	if recovered && s.fault.Away {
		r.event("healthy again after %s", s.fault.Name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if recovered && s.fault.Away {
		r.mu.recovery = max(r.mu.recovery, time.Since(undone))
	}
	r.mu.waiting = r.mu.waiting || !recovered // the next fault is refused when it is not healthy
	for _, n := range nodes {
		delete(r.mu.busy, n.ID)
	}
}

// begin prepares an injection, notes its undo, and injects. A fault that was noted is returned with the error, since
// it may have come in part.
func (r *run) begin(ctx context.Context, s *planned, a Aim) (*injected, error) {
	j, err := s.by.Prepare(ctx, a)
	if err != nil {
		return nil, err
	}
	if j.Target == "" {
		j.Target = a.Node.String()
	}
	if j.Bit == nil {
		j.Bit = r.silent(a.Node, s.target.Kind == nemesis.All)
	}
	i := &injected{Injection: j}
	o := Open{Fault: s.fault.Name, Target: j.Target, Until: time.Now().Add(s.Hold), Undo: j.Undo}
	if i.id, err = r.journal.Begin(o); err != nil {
		return nil, err // not on disk, not injected
	}
	if err := j.Inject(ctx); err != nil {
		return i, fmt.Errorf("inject: %w", err)
	}
	return i, nil
}

// silent looks whether a node does not answer while others do; all: there are no others.
func (r *run) silent(n Node, all bool) func(context.Context) (bool, string) {
	return func(ctx context.Context) (bool, string) {
		if r.c.answers(ctx, n) {
			return false, fmt.Sprintf("%v answers as before (give a check)", n)
		}
		if all {
			return true, fmt.Sprintf("%v does not answer", n)
		}
		ctx, cancel := context.WithTimeout(ctx, 2*answerWithin)
		defer cancel()
		if _, err := r.admin.Status(ctx); err != nil {
			return false, fmt.Sprintf("nobody answers, and so does %v not", n)
		}
		return true, fmt.Sprintf("%v does not answer, others do", n)
	}
}

// bite looks for the fault's effect until it is seen or the time is over.
func (i *injected) bite(ctx context.Context, within time.Duration) {
	until := time.Now().Add(within)
	for {
		if i.bit, i.why = i.Bit(ctx); i.bit || time.Now().After(until) {
			return
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return
		}
	}
}

const undoAttempts = 3

// end undoes a fault and notes that. What can not be undone stays in the journal and is named in the report.
func (r *run) end(ctx context.Context, s *planned, i *injected) {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for range undoAttempts {
		err := i.Undo.Do(ctx)
		if err == nil {
			err = r.journal.End(i.id, "its time was over")
		}
		if err == nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.mu.mended = time.Now()
			return
		}
		errs = append(errs, err)
		_ = pause(ctx, time.Second) // ctx has no end
	}
	r.say("%s on %s is NOT undone: %v", s.fault.Name, i.Target, errors.Join(errs...))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.failed = append(r.mu.failed,
		fmt.Sprintf("%s on %s is not undone: %v", s.fault.Name, i.Target, errs[0]))
}

func (r *run) skip(s *planned, reason string) {
	r.say("%s at %s is skipped: %s", s.fault.Name, s.target, reason)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.skipped = append(r.mu.skipped,
		report.Skipped{Fault: s.fault.Name, Target: s.target.String(), Reason: reason})
}

// watch ends the run when too many of the probes' writes were not acknowledged.
func (r *run) watch(ctx context.Context, stop context.CancelCauseFunc) {
	share, err := r.p.stopShare()
	if err != nil || share == 0 {
		return
	}
	began := time.Now()
	for pause(ctx, stopInterval) == nil {
		if time.Since(began) < r.p.StopIf.For {
			continue
		}
		acked := r.acks.since(time.Now().Add(-r.p.StopIf.For))
		asked := r.p.StopIf.For.Seconds() * probeRate * float64(r.probeKeys())
		if failed := 1 - float64(acked)/asked; failed >= share {
			stop(fmt.Errorf("stop-if: %.0f%% of the probes' writes were not acknowledged in the last %v",
				100*failed, r.p.StopIf.For))
			return
		}
	}
}

// startGuard starts the guard's process. It lives as long as its standard input is open, which the kernel closes when
// this process dies.
func startGuard(argv []string) (release func() error, err error) {
	cmd := guardCommand(argv)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() error {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			return fmt.Errorf("the guard: %w: %s", err, strings.TrimSpace(said.String()))
		}
		return nil
	}, nil
}
