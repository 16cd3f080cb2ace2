package live

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/vipkv/vipkv/chaos/nemesis"
)

// planned is one fault that will come.
type planned struct {
	Step
	fault  nemesis.Fault
	target nemesis.Target
	by     Driver
	seed   uint64
}

func (s *planned) String() string {
	return fmt.Sprintf("%7s  %-15s at %-12s for %-6v by %s",
		s.At.Round(100*time.Millisecond), s.fault.Name, s.target, s.Hold.Round(100*time.Millisecond),
		s.by.Name())
}

const (
	failoverTrials = 3
	stepEvery      = 20 * time.Second // of the suites failover and all
	stepHold       = 8 * time.Second
)

// schedule draws all faults of a run; the same plan, seed and drivers give the same ones.
func (p *Plan) schedule(drivers []Driver) ([]planned, error) {
	script := p.Faults.Script
	if len(script) == 0 && p.Faults.Swarm == nil {
		script = p.suiteScript(drivers)
	}
	r := rand.New(rand.NewPCG(p.Seed, 1))
	var out []planned
	for _, s := range script {
		step, err := plan(s, drivers)
		if err != nil {
			return nil, err
		}
		out = append(out, step)
	}
	if p.Faults.Swarm != nil {
		drawn, err := p.swarm(r, drivers)
		if err != nil {
			return nil, err
		}
		out = append(out, drawn...)
	}
	slices.SortStableFunc(out, func(a, b planned) int { return int(a.At - b.At) })
	for i := range out {
		out[i].seed = r.Uint64()
		p.Duration = max(p.Duration, out[i].At+out[i].Hold+time.Second)
	}
	return out, nil
}

// plan completes a step and finds who injects it.
func plan(s Step, drivers []Driver) (planned, error) {
	f, err := fault(s.Fault)
	if err != nil {
		return planned{}, err
	}
	s.Target, s.Hold = or(s.Target, string(f.Targets[0])), or(s.Hold, stepHold)
	t, err := nemesis.ParseTarget(s.Target)
	if err != nil {
		return planned{}, err
	}
	by := who(s.Fault, drivers)
	if by == nil {
		return planned{}, fmt.Errorf("no driver of the plan injects %s", s.Fault)
	}
	return planned{Step: s, fault: f, target: t, by: by}, nil
}

// who injects a fault: the first driver that can.
func who(fault string, drivers []Driver) Driver {
	i := slices.IndexFunc(drivers, func(d Driver) bool { return d.Can(fault) })
	if i < 0 {
		return nil
	}
	return drivers[i]
}

// suiteScript is that of failover, each fault several times at the leader, or of all, each fault at each of its
// targets, with what the drivers can and what loses no data.
func (p *Plan) suiteScript(drivers []Driver) (steps []Step) {
	at := time.Duration(0)
	add := func(f nemesis.Fault, target string) {
		steps = append(steps, Step{At: at, Fault: f.Name, Target: target, Hold: stepHold})
		at += stepEvery
	}
	for _, f := range nemesis.Faults() {
		if who(f.Name, drivers) == nil || f.Loses {
			continue
		}
		leader := slices.Contains(f.Targets, nemesis.Leader)
		switch {
		case p.Suite == "failover" && (leader || f.Name == "transfer-leader"):
			for range failoverTrials {
				add(f, string(f.Targets[0]))
				if leader {
					steps[len(steps)-1].Target = string(nemesis.Leader)
				}
			}
		case p.Suite == "all" && leader:
			for _, t := range []nemesis.Kind{nemesis.One, nemesis.Leader, nemesis.Placement} {
				add(f, string(t))
			}
		case p.Suite == "all":
			add(f, "")
		}
	}
	return steps
}

// swarm draws faults one after the other; the last has ended before the time is over.
func (p *Plan) swarm(r *rand.Rand, drivers []Driver) (out []planned, err error) {
	s := p.Faults.Swarm
	var pick []nemesis.Fault
	for _, f := range nemesis.Faults() {
		named := slices.Contains(s.Allow, f.Name)
		if named && who(f.Name, drivers) == nil {
			return nil, fmt.Errorf("no driver of the plan injects %s", f.Name)
		}
		if named || len(s.Allow) == 0 && !f.Loses && who(f.Name, drivers) != nil {
			pick = append(pick, f)
			for range weight(f) - 1 {
				pick = append(pick, f)
			}
		}
	}
	around := func(d time.Duration) time.Duration { return d/2 + time.Duration(r.Int64N(int64(d))) }
	for at := around(s.Every) / 2; ; at += around(s.Every) {
		f := pick[r.IntN(len(pick))]
		step := Step{At: at, Fault: f.Name, Target: drawTarget(f, s.Targets, r), Hold: around(s.Hold)}
		if step.At+step.Hold > p.Duration {
			return out, nil
		}
		one, err := plan(step, drivers)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
		at += step.Hold
	}
}

// weight: nodes that go away find more than what the cluster does every day.
func weight(f nemesis.Fault) int {
	if f.Away {
		return 4
	}
	return 1
}

// drawTarget draws among the targets that the swarm and the fault have in common, or takes the fault's first.
func drawTarget(f nemesis.Fault, allowed []string, r *rand.Rand) string {
	var both []string
	for _, t := range allowed {
		if aimed(f, t) == nil {
			both = append(both, t)
		}
	}
	if len(both) == 0 {
		return string(f.Targets[0])
	}
	return both[r.IntN(len(both))]
}
