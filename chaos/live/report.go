package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/workload/load"
)

// Outcome is what a run concludes.
type Outcome string

// The outcomes. Only Pass is green.
const (
	Pass    Outcome = "pass"
	Fail    Outcome = "fail"    // a promise or a budget is broken
	Void    Outcome = "void"    // too little happened for a verdict
	Aborted Outcome = "aborted" // it was ended early
)

// Skipped is a fault that did not come.
type Skipped struct {
	Fault  string `json:"fault"`
	Target string `json:"target"`
	Reason string `json:"reason"`
}

// Report is what a run saw.
type Report struct {
	Run      string          `json:"run"`
	Outcome  Outcome         `json:"outcome"`
	Reasons  []string        `json:"reasons,omitempty"` // in words, when it is not a pass
	Cluster  string          `json:"cluster"`
	Version  string          `json:"version"`
	Nodes    int             `json:"nodes"`
	Tenant   string          `json:"tenant"`
	Suite    string          `json:"suite"`
	Seed     uint64          `json:"seed"`
	Began    time.Time       `json:"began"`
	Ended    time.Time       `json:"ended"`
	Load     load.Counts     `json:"load"`
	Probes   load.Counts     `json:"probes"`
	Recovery time.Duration   `json:"recovery_ns"` // the longest, from an undo to healthy
	Verdicts []check.Verdict `json:"verdicts"`
	Budgets  []Budget        `json:"budgets,omitempty"`
	Faults   []history.Fault `json:"faults"`
	Skipped  []Skipped       `json:"skipped,omitempty"`

	problems []string
	ops      []history.Op
}

func (r *Report) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// opsMin is how many acknowledged operations a verdict needs.
const opsMin = 100

// conclude judges what was seen. cause is why the run ended early; nil: it did not.
func (r *run) conclude(recovery time.Duration, cause error) {
	rep := r.report
	rep.Ended, rep.Recovery = time.Now().UTC(), recovery
	probes := r.probes.Ops()
	for i := range probes {
		probes[i].Invoke, probes[i].Return = probes[i].Invoke+r.shift, probes[i].Return+r.shift
	}
	rep.ops = append(r.work.Ops(), probes...)
	rep.Load, rep.Probes = load.Count(r.work.Ops(), 0, 0), load.Count(probes, 0, 0)
	rep.Verdicts = append(r.work.Check(), r.probes.Check()...)
	r.mu.Lock()
	rep.Faults, rep.Skipped = r.mu.faults, r.mu.skipped
	rep.problems = append(rep.problems, r.mu.failed...)
	r.mu.Unlock()
	var writes []history.Op
	for i := range probes {
		if probes[i].Kind == history.Write {
			writes = append(writes, probes[i])
		}
	}
	m := &measured{probes: writes, faults: rep.Faults, recovery: recovery, acked: rep.Load.OK}
	if len(writes) > 0 {
		m.end = writes[len(writes)-1].Return
	}
	rep.Budgets = m.judge(r.budgets)
	rep.settle(len(r.steps), cause)
}

// settle finds the outcome: the first of broken, broken off, too little, that is true.
func (r *Report) settle(planned int, cause error) {
	r.Reasons = r.problems
	var void []string
	for _, v := range r.Verdicts {
		switch v.Outcome {
		case check.Pass:
		case check.Fail:
			r.Reasons = append(r.Reasons, fmt.Sprintf("%s: %s failed: %s", v.Workload, v.Checker, story(v)))
		default:
			void = append(void, fmt.Sprintf("%s: %s is %s: %s", v.Workload, v.Checker, v.Outcome, v.Reason))
		}
	}
	for _, b := range r.Budgets {
		if !b.OK {
			r.Reasons = append(r.Reasons,
				fmt.Sprintf("budget %s: %s, the limit is %s", b.Name, b.Value, b.Limit))
		}
	}
	if r.Load.OK < opsMin {
		void = append(void, fmt.Sprintf("only %d operations succeeded", r.Load.OK))
	}
	void = append(void, r.toothless(planned)...)
	switch {
	case len(r.Reasons) > 0:
		r.Outcome = Fail
	case cause != nil:
		r.Outcome, r.Reasons = Aborted, []string{whyEnded(cause)}
	case len(void) > 0:
		r.Outcome, r.Reasons = Void, void
	default:
		r.Outcome = Pass
	}
}

func whyEnded(cause error) string {
	if errors.Is(cause, context.Canceled) {
		return "it was interrupted"
	}
	return cause.Error()
}

// toothless says which faults had no effect that was seen, and whether any came.
func (r *Report) toothless(planned int) (out []string) {
	if planned > 0 && len(r.Faults) == 0 {
		return []string{"no fault came"}
	}
	for _, f := range r.Faults {
		if !f.Bit {
			out = append(out,
				fmt.Sprintf("%s on %s had no effect that was seen: %s", f.Name, f.Target, f.Evidence))
		}
	}
	return out
}

func story(v check.Verdict) string {
	if len(v.Anomalies) > 0 {
		return v.Anomalies[0].Name + ": " + v.Anomalies[0].Text
	}
	return v.Reason
}

// Write writes the report, the history and the faults into a directory, which is made.
func (r *Report) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "report.json"), append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	f, err := os.Create(filepath.Join(dir, "history.ndjson"))
	if err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	w := history.NewWriter(f)
	for i := range r.ops {
		err = errors.Join(err, w.Write(&r.ops[i]))
	}
	if err := errors.Join(err, w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	return nil
}

// Text is the report for a terminal.
func (r *Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: run %s of suite %s, seed %d, on cluster %s, %v\n",
		strings.ToUpper(string(r.Outcome)), r.Run, r.Suite, r.Seed, r.Cluster,
		r.Ended.Sub(r.Began).Round(time.Second))
	for _, why := range r.Reasons {
		fmt.Fprintf(&b, "  %s\n", why)
	}
	fmt.Fprintf(&b, "\nworkloads  %v\nprobes     %v\n", r.Load, r.Probes)
	if r.Recovery > 0 {
		fmt.Fprintf(&b, "recovery   %v\n", r.Recovery.Round(10*time.Millisecond))
	}
	for _, v := range r.Verdicts {
		fmt.Fprintf(&b, "%-10s %-14s %-9s %d operations\n", v.Workload, v.Checker, v.Outcome, v.Ops)
	}
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "fault      %-16s %-22s %5.1fs  %s\n", f.Name, f.Target,
			time.Duration(f.End-f.Start).Seconds(), f.Evidence)
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "skipped    %-16s %-22s %s\n", s.Fault, s.Target, s.Reason)
	}
	for _, x := range r.Budgets {
		verdict := "kept"
		if !x.OK {
			verdict = "BROKEN"
		}
		fmt.Fprintf(&b, "budget     %-16s %-22s %s of %s\n", x.Name, verdict, x.Value, x.Limit)
	}
	return b.String()
}
