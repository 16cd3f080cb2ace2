package sim

import (
	"slices"

	"github.com/vipkv/vipkv/proto/fault"
)

// shrinker makes a run that fails smaller while it still fails in the eyes of the same checker.
type shrinker struct {
	run     func(Options) Result
	log     func(string, ...any)
	checker string
	left    int // runs that may still be made
	best    Options
	failed  Result
}

// Shrink looks for less that fails like res: fewer faults (ddmin: Zeller and Hildebrandt, 2002), fewer quirks, fewer
// clients, a shorter run. It makes at most runs runs. The second result is the run of what it found.
func Shrink(
	res Result, runs int, run func(Options) Result, log func(string, ...any),
) (Options, Result) {
	s := &shrinker{
		run: run, log: log, checker: res.Checker, left: runs, best: res.Options, failed: res,
	}
	s.best.Planned, s.best.Plan = true, res.Plan
	if !s.fails(s.best) {
		log("the plan alone does not fail: nothing is shrunk")
		return s.best, s.failed
	}
	s.cutEnd()
	s.faults()
	s.quirks()
	s.clients()
	s.cutEnd()
	return s.best, s.failed
}

// fails runs o and takes it over when it fails alike.
func (s *shrinker) fails(o Options) bool {
	if s.left == 0 {
		return false
	}
	s.left--
	r := s.run(o)
	if r.Err == nil || r.Checker != s.checker {
		return false
	}
	s.best, s.failed = o, r
	s.log("%d faults, %d quirks, %d workloads of %d clients, %.1f s: %v", len(o.Plan), len(o.Quirks),
		len(o.Upper.Workloads), o.Upper.Clients, float64(o.Duration)/1e9, r.Err)
	return true
}

// cutEnd lets the run end soon after it fails.
func (s *shrinker) cutEnd() {
	all := s.best.Duration
	for _, d := range []int64{s.failed.Time, s.failed.Time + 2*sec, all / 2, all * 3 / 4} {
		o := s.best
		if d >= o.Duration {
			continue
		}
		o.Duration = d
		o.Plan = slices.DeleteFunc(slices.Clone(o.Plan), func(e Entry) bool { return e.At >= d })
		if s.fails(o) {
			return
		}
	}
}

// faults is ddmin over the plan.
func (s *shrinker) faults() {
	for n := 2; len(s.best.Plan) > 0; {
		plan, less := s.best.Plan, false
		size := (len(plan) + n - 1) / n
		for from := 0; from < len(plan) && !less; from += size {
			o := s.best
			o.Plan = slices.Delete(slices.Clone(plan), from, min(from+size, len(plan)))
			less = s.fails(o)
		}
		switch {
		case less:
			n = max(2, n-1)
		case size == 1:
			return
		default:
			n = min(len(plan), 2*n)
		}
	}
}

func (s *shrinker) quirks() {
	o := s.best
	if o.Quirks = nil; len(s.best.Quirks) == 0 || s.fails(o) {
		return
	}
	for _, q := range slices.Clone(s.best.Quirks) {
		o := s.best
		o.Quirks = slices.DeleteFunc(slices.Clone(o.Quirks), func(p fault.Quirk) bool { return p == q })
		s.fails(o)
	}
}

func (s *shrinker) clients() {
	for _, w := range slices.Clone(s.best.Upper.Workloads) {
		o := s.best
		other := func(v string) bool { return v == w }
		o.Upper.Workloads = slices.DeleteFunc(slices.Clone(o.Upper.Workloads), other)
		if len(o.Upper.Workloads) > 0 {
			s.fails(o)
		}
	}
	for s.best.Upper.Clients > 1 {
		o := s.best
		if o.Upper.Clients--; !s.fails(o) {
			break
		}
	}
}
