package live

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/report"
	"github.com/vipkv/vipkv/chaos/workload/load"
)

// opsMin is how many acknowledged operations a verdict needs.
const opsMin = 100

// facts are what is known beforehand.
func (r *run) facts(v *view) []report.Fact {
	return []report.Fact{
		{Name: "run", Value: r.id}, {Name: "suite", Value: r.p.Suite},
		{Name: "seed", Value: fmt.Sprint(r.p.Seed)},
		{Name: "cluster",
			Value: fmt.Sprintf("%s, version %s, %d nodes", v.cluster, v.version, len(v.nodes))},
		{Name: "workloads", Value: strings.Join(r.p.Workloads, ", ")},
		{Name: "rate", Value: fmt.Sprintf("%v operations a second; %d probes a second of each of %d keys",
			r.p.Rate, probeRate, r.probeKeys())},
		{Name: "harness",
			Value: fmt.Sprintf("%s/%s, %d CPUs", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())},
	}
}

func (r *run) fact(name, value string) {
	r.report.Facts = append(r.report.Facts, report.Fact{Name: name, Value: value})
}

// conclude judges what was seen. cause is why the run ended early; nil: it did not.
func (r *run) conclude(recovery time.Duration, cause error) {
	rep := r.report
	rep.Ended = time.Now().UTC()
	probes, work := r.probes.Ops(), r.work.Ops()
	for i := range probes {
		probes[i].Invoke, probes[i].Return = probes[i].Invoke+r.shift, probes[i].Return+r.shift
	}
	rep.Verdicts = append(r.work.Check(), r.probes.Check()...)
	r.mu.Lock()
	rep.Faults, rep.Skipped, rep.Events = r.mu.faults, r.mu.skipped, r.mu.events
	rep.Problems = append(rep.Problems, r.mu.failed...)
	r.mu.Unlock()
	rep.Group = groupOf
	counts := load.Count(work, 0, 0)
	r.fact("workloads saw", counts.String())
	r.fact("probes saw", load.Count(probes, 0, 0).String())
	r.fact("recovery", fmt.Sprintf("%v at most, from an undo until the cluster was healthy",
		recovery.Round(100*time.Millisecond)))
	rep.Ops = append(work, probes...)
	m := &measured{faults: rep.Faults, recovery: recovery, acked: counts.OK}
	for i := range probes {
		if probes[i].Kind == history.Write {
			m.probes = append(m.probes, probes[i])
			m.end = probes[i].Return
		}
	}
	r.gapFacts(m)
	rep.Budgets = m.judge(r.budgets)
	if cause != nil {
		rep.Aborted = whyEnded(cause)
	}
	rep.Doubts = doubts(rep.Faults, len(r.steps), counts.OK)
}

// gapFacts say for each fault how long writes were not acknowledged: the longest of all injections.
func (r *run) gapFacts(m *measured) {
	count := map[string]int{}
	for _, f := range m.faults {
		count[f.Name]++
	}
	for _, name := range slices.Sorted(maps.Keys(count)) {
		gap := m.longest(func(f history.Fault) bool { return f.Name == name }, false)
		r.fact("gap: "+name, fmt.Sprintf("%v without an acknowledged write at most, of %d",
			gap.Round(time.Millisecond), count[name]))
	}
}

// groupOf puts each probed key, which has a range of its own, and each workload into a row of the report's strip.
func groupOf(op *history.Op) string {
	switch {
	case op.Workload == probeName:
		return "probe" + op.Key[strings.LastIndexByte(op.Key, '/'):]
	case op.Tenant != "":
		return op.Workload + " " + op.Tenant
	}
	return op.Workload
}

// doubts say what of a run proves nothing.
func doubts(faults []history.Fault, planned, ok int) (out []string) {
	if ok < opsMin {
		out = append(out, fmt.Sprintf("only %d operations succeeded", ok))
	}
	if planned > 0 && len(faults) == 0 {
		out = append(out, "no fault came")
	}
	for _, f := range faults {
		if !f.Bit {
			out = append(out,
				fmt.Sprintf("%s on %s had no effect that was seen: %s", f.Name, f.Target, f.Evidence))
		}
	}
	return out
}

func whyEnded(cause error) string {
	if errors.Is(cause, context.Canceled) {
		return "it was interrupted"
	}
	return cause.Error()
}

// Text is a report for a terminal.
func Text(r *report.Run) string {
	var b strings.Builder
	outcome, reasons := r.Conclude()
	took := r.Ended.Sub(r.Began).Round(time.Second)
	fmt.Fprintf(&b, "%s: %s, %v\n", strings.ToUpper(string(outcome)), r.Name, took)
	for _, why := range reasons {
		fmt.Fprintf(&b, "  %s\n", why)
	}
	b.WriteByte('\n')
	for _, f := range r.Facts {
		fmt.Fprintf(&b, "%-22s %s\n", f.Name, f.Value)
	}
	b.WriteByte('\n')
	for i := range r.Verdicts {
		v := &r.Verdicts[i]
		fmt.Fprintf(&b, "checked  %-11s %-26s %-9s %d operations\n",
			v.Workload, v.Checker, v.Outcome, v.Ops)
		if v.Outcome == check.Fail && len(v.Anomalies) > 0 {
			fmt.Fprintf(&b, "         %s: %s\n", v.Anomalies[0].Name, v.Anomalies[0].Text)
		}
	}
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "fault    %-16s %-16s %5.1fs  %s\n", f.Name, f.Target,
			time.Duration(f.End-f.Start).Seconds(), f.Evidence)
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "skipped  %-16s %-16s         %s\n", s.Fault, s.Target, s.Reason)
	}
	for _, x := range r.Budgets {
		verdict := "kept"
		if !x.OK {
			verdict = "BROKEN"
		}
		fmt.Fprintf(&b, "budget   %-16s %-16s         %s of %s\n", x.Name, verdict, x.Value, x.Limit)
	}
	return b.String()
}
