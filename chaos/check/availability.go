package check

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sort"

	"github.com/vipkv/vipkv/chaos/history"
)

// Availability is what clients could do, and when.
type Availability struct {
	Groups []GroupAvailability `json:"groups,omitempty"`
	Faults []FaultImpact       `json:"faults,omitempty"` // in the order of the faults
}

// GroupAvailability is that of keys that share a fate: those of one range, or of one workload.
type GroupAvailability struct {
	Group  string `json:"group"`
	Acks   int    `json:"acks"`
	GapMax int64  `json:"gap_max_ns"` // the longest time between two acknowledgements
	GapAt  int64  `json:"gap_at_ns"`  // when it began
}

// FaultImpact is what one fault did to clients. Its window is from its start to its end; for a fault that was not
// mended, to the end of the history.
type FaultImpact struct {
	Fault       history.Fault `json:"fault"`
	OK          int           `json:"ok"` // operations that were asked for within the window
	Fail        int           `json:"fail"`
	Info        int           `json:"info"`
	SuccessRate float64       `json:"success_rate"` // OK of all; 1 when nobody asked
	// GapMax is the longest time without an acknowledgement that touches the window, in the worst group.
	GapMax   int64  `json:"gap_max_ns"`
	GapGroup string `json:"gap_group,omitempty"`
	// Recovery is the time from the fault's start until every group of which something was asked after it had
	// acknowledged such an operation; -1: some group never did.
	Recovery      int64  `json:"recovery_ns"`
	RecoveryGroup string `json:"recovery_group,omitempty"` // the last one
	// P50 and Max are latencies of the acknowledged operations that were asked for within the window; 0: none.
	P50 int64 `json:"p50_ns"`
	Max int64 `json:"max_ns"`
}

// Measure finds gaps and recovery times. group names the group of an operation's key; nil: all are one group. It looks
// at all kinds of operations: give it those of a steady load, or pauses of clients look like gaps.
func Measure(
	ops []history.Op, faults []history.Fault, group func(o *history.Op) string,
) Availability {
	if group == nil {
		group = func(*history.Op) string { return "all" }
	}
	groups := map[string]*served{}
	for i := range ops {
		o := &ops[i]
		name := group(o)
		s := groups[name]
		if s == nil {
			s = &served{name: name, begin: o.Invoke, end: o.Return, last: o.Invoke}
			groups[name] = s
		}
		s.begin, s.end, s.last = min(s.begin, o.Invoke), max(s.end, o.Return), max(s.last, o.Invoke)
		if o.Type == history.OK {
			s.acks = append(s.acks, o)
		}
	}
	var all []*served
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		all = append(all, groups[name])
	}
	a := Availability{}
	for _, s := range all {
		s.acks = byTime(s.acks, endedAt)
		s.findGaps()
		worst := slices.MaxFunc(s.gaps, func(x, y gap) int {
			return cmp.Compare(x.length(), y.length())
		})
		a.Groups = append(a.Groups, GroupAvailability{s.name, len(s.acks), worst.length(), worst.from})
	}
	for i := range faults {
		a.Faults = append(a.Faults, impact(&faults[i], ops, all))
	}
	return a
}

// served is one group's acknowledgements in the order of their ends, and the time in which something was asked of it.
type served struct {
	name             string
	acks             []*history.Op
	gaps             []gap
	begin, end, last int64 // first call, last return, last call
}

// gap is a time without an acknowledgement.
type gap struct{ from, to int64 }

func (g gap) length() int64 { return g.to - g.from }

// findGaps finds all gaps, with those before the first acknowledgement and after the last.
func (s *served) findGaps() {
	at := s.begin
	for _, o := range s.acks {
		s.gaps = append(s.gaps, gap{at, o.Return})
		at = o.Return
	}
	s.gaps = append(s.gaps, gap{at, max(at, s.end)})
}

func faultEnd(x *history.Fault) int64 {
	if x.End == 0 {
		return math.MaxInt64
	}
	return x.End
}

func impact(x *history.Fault, ops []history.Op, groups []*served) FaultImpact {
	f := FaultImpact{Fault: *x, SuccessRate: 1}
	var latencies []int64
	for i := range ops {
		o := &ops[i]
		if o.Invoke < x.Start || o.Invoke > faultEnd(x) {
			continue
		}
		switch o.Type {
		case history.OK:
			f.OK++
			latencies = append(latencies, o.Return-o.Invoke)
		case history.Fail:
			f.Fail++
		default:
			f.Info++
		}
	}
	if n := f.OK + f.Fail + f.Info; n > 0 {
		f.SuccessRate = float64(f.OK) / float64(n)
	}
	if len(latencies) > 0 {
		slices.Sort(latencies)
		f.P50, f.Max = latencies[len(latencies)/2], latencies[len(latencies)-1]
	}
	for _, g := range groups {
		for _, p := range g.gaps {
			if p.to > x.Start && p.from < faultEnd(x) && p.length() > f.GapMax {
				f.GapMax, f.GapGroup = p.length(), g.name
			}
		}
		if g.last < x.Start {
			continue // nothing was asked of it any more
		}
		if r := recovery(x, g.acks); f.Recovery >= 0 && (r < 0 || r > f.Recovery) {
			f.Recovery, f.RecoveryGroup = r, g.name
		}
	}
	return f
}

// recovery is the time from the fault's start to the first acknowledgement of what was asked for after it; -1: none.
func recovery(x *history.Fault, acks []*history.Op) int64 {
	i := sort.Search(len(acks), func(i int) bool { return acks[i].Return > x.Start })
	for _, o := range acks[i:] {
		if o.Invoke >= x.Start {
			return o.Return - x.Start
		}
	}
	return -1
}

// Budget is what faults of a name may cost.
type Budget struct {
	Fault       string  `json:"fault"`           // "": every fault
	GapMax      int64   `json:"gap_max_ns"`      // 0: no budget
	RecoveryMax int64   `json:"recovery_max_ns"` // 0: no budget
	SuccessMin  float64 `json:"success_min"`
}

// Check compares what was measured with budgets. A budget of a fault that was not injected is void.
//
// Anomalies: gap, recovery, success-rate.
func (a *Availability) Check(budgets []Budget) Verdict {
	f := &findings{ops: 1}
	for _, b := range budgets {
		used := false
		for i := range a.Faults {
			x := &a.Faults[i]
			if b.Fault != "" && b.Fault != x.Fault.Name {
				continue
			}
			used = true
			what := describe(&x.Fault)
			if b.GapMax > 0 && x.GapMax > b.GapMax {
				f.found("gap", nil, "During %s, %s was not served for %d ms; the budget is %d ms",
					what, x.GapGroup, x.GapMax/1e6, b.GapMax/1e6)
			}
			if b.RecoveryMax > 0 && x.Recovery < 0 {
				f.found("recovery", nil, "After %s, %s was never served again", what, x.RecoveryGroup)
			} else if b.RecoveryMax > 0 && x.Recovery > b.RecoveryMax {
				f.found("recovery", nil, "After %s, %s was served again after %d ms; the budget is %d ms",
					what, x.RecoveryGroup, x.Recovery/1e6, b.RecoveryMax/1e6)
			}
			if x.SuccessRate < b.SuccessMin {
				f.found("success-rate", nil,
					"During %s, %.1f %% of operations succeeded; at least %.1f %% must",
					what, 100*x.SuccessRate, 100*b.SuccessMin)
			}
		}
		if !used {
			f.tooLittle("no fault %s was injected", b.Fault)
		}
	}
	v := f.verdict()
	v.Checker, v.Ops = "availability", 0
	for i := range a.Groups {
		v.Ops += a.Groups[i].Acks
	}
	return v
}
