package report

import (
	"cmp"
	"slices"

	"github.com/vipkv/vipkv/chaos/history"
)

// counts are operations by outcome.
type counts struct {
	OK   int `json:"ok"`
	Fail int `json:"fail"`
	Info int `json:"info"`
}

func (c *counts) add(t history.Type) {
	switch t {
	case history.OK:
		c.OK++
	case history.Fail:
		c.Fail++
	case history.Info:
		c.Info++
	}
}

func (c *counts) all() int { return c.OK + c.Fail + c.Info }

// quantiles are of the time that acknowledged operations took, in nanoseconds.
type quantiles struct {
	P50  int64 `json:"p50_ns"`
	P95  int64 `json:"p95_ns"`
	P99  int64 `json:"p99_ns"`
	P999 int64 `json:"p999_ns"`
	Max  int64 `json:"max_ns"`
}

// quantilesOf sorts times.
func quantilesOf(times []int64) quantiles {
	if len(times) == 0 {
		return quantiles{}
	}
	slices.Sort(times)
	at := func(share float64) int64 { return times[min(len(times)-1, int(share*float64(len(times))))] }
	return quantiles{at(.5), at(.95), at(.99), at(.999), times[len(times)-1]}
}

// groupFact is what is counted for one group of keys.
type groupFact struct {
	Name string `json:"group"`
	counts
	// Gap is the longest time without an acknowledged operation between the first call and the last return of the group,
	// and GapAt when it began.
	Gap   int64 `json:"longest_gap_ns"`
	GapAt int64 `json:"longest_gap_at_ns"`

	ops []*history.Op // in the order of their returns
}

// summary is what is drawn and counted.
type summary struct {
	from, to int64 // the first and the last moment; to is greater
	counts   counts
	latency  quantiles
	groups   []groupFact // the longest gap first
	byReturn []*history.Op
}

func summarize(r *Run) *summary {
	s := &summary{}
	first := true
	see := func(times ...int64) {
		for _, t := range times {
			if first {
				s.from, s.to, first = t, t, false
			}
			s.from, s.to = min(s.from, t), max(s.to, t)
		}
	}
	var times []int64
	for i := range r.Ops {
		op := &r.Ops[i]
		see(op.Invoke, op.Return)
		s.counts.add(op.Type)
		s.byReturn = append(s.byReturn, op)
		if op.Type == history.OK {
			times = append(times, op.Return-op.Invoke)
		}
	}
	for i := range r.Faults {
		see(r.Faults[i].Start)
		if r.Faults[i].End > 0 {
			see(r.Faults[i].End)
		}
	}
	for i := range r.Events {
		see(r.Events[i].At)
	}
	s.to = max(s.to, s.from+1)
	s.latency = quantilesOf(times)
	slices.SortStableFunc(s.byReturn, func(a, b *history.Op) int {
		return cmp.Compare(a.Return, b.Return)
	})
	s.findGroups(r)
	return s
}

func (s *summary) findGroups(r *Run) {
	group := r.Group
	if group == nil {
		group = func(op *history.Op) string {
			switch {
			case op.Tenant == "":
				return op.Workload
			case op.Workload == "":
				return op.Tenant
			}
			return op.Workload + " " + op.Tenant
		}
	}
	by := map[string]int{}
	for _, op := range s.byReturn {
		name := group(op)
		if name == "" {
			if r.Group != nil {
				continue
			}
			name = "all"
		}
		i, ok := by[name]
		if !ok {
			i = len(s.groups)
			by[name] = i
			s.groups = append(s.groups, groupFact{Name: name})
		}
		g := &s.groups[i]
		g.add(op.Type)
		g.ops = append(g.ops, op)
	}
	for i := range s.groups {
		s.groups[i].measure()
	}
	slices.SortStableFunc(s.groups, func(a, b groupFact) int {
		return cmp.Or(cmp.Compare(b.Gap, a.Gap), cmp.Compare(a.Name, b.Name))
	})
}

// measure finds the longest gap.
func (g *groupFact) measure() {
	last := g.ops[0].Invoke
	for _, op := range g.ops {
		last = min(last, op.Invoke)
	}
	for i, op := range g.ops {
		if op.Type != history.OK && i+1 < len(g.ops) {
			continue
		}
		if op.Return-last > g.Gap {
			g.Gap, g.GapAt = op.Return-last, last
		}
		last = op.Return
	}
}
