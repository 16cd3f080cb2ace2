package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/vipkv/vipkv/chaos/live"
	chaosreport "github.com/vipkv/vipkv/chaos/report"
)

const chaosRunHelp = `Breaks a cluster on purpose while clients work in a tenant of the run's
own, and judges what they saw.

It needs the admin credential. It refuses to start when the cluster is not healthy, or an earlier
run left something behind. Before each fault it checks that no range loses its quorum; what it is
about to do is in the journal, on disk, before it is done, with how to undo it. Everything is undone
when the run ends, also by Ctrl-C or an error; a guard, a process of its own, undoes it when the run
is killed. vipkv chaos heal does the same by hand.

  vipkv chaos plan init plan.yaml
  vipkv chaos run --plan plan.yaml --dry-run
  vipkv chaos run --plan plan.yaml --i-understand --report ./report

The exit code is 0 when all promises and budgets were kept, 1 when one was broken, when too little
happened for a verdict or when the run was broken off.`

type chaosRun struct {
	a       *app
	plan    string
	report  string
	options live.Options
	noGuard bool
}

func newChaosRun(a *app) *cobra.Command {
	r := &chaosRun{a: a}
	c := &cobra.Command{
		Use: "run --plan FILE", Short: "Carry a plan out against a cluster (needs the admin credential)",
		Long: chaosRunHelp, Args: argsBetween(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if r.plan == "" {
				return usagef("vipkv chaos plan init plan.yaml writes one", "--plan is missing")
			}
			return r.run(c)
		},
	}
	f := c.Flags()
	f.StringVar(&r.plan, "plan", "", "the plan, a YAML file")
	f.StringVar(&r.report, "report", "", "directory for the report (a page, JSON, JUnit) and history")
	f.StringVar(&r.options.Journal, "journal", defaultJournal, "file that keeps what must be undone")
	f.BoolVar(&r.options.DryRun, "dry-run", false, "say what would be done, and do nothing")
	f.BoolVar(&r.options.Understood, "i-understand", false, "yes, break this cluster")
	f.BoolVar(&r.noGuard, "no-guard", false, "start no process that heals when this one is killed")
	return c
}

func (r *chaosRun) run(c *cobra.Command) error {
	plan, err := loadChaosPlan(r.plan)
	if err != nil {
		return err
	}
	credential, err := r.a.resolveCredential()
	if err != nil {
		return err
	}
	if credential == "" {
		return usagef("give the admin credential: --credential KEY or @FILE, or VIPKV_CREDENTIAL",
			"no credential")
	}
	if r.options.Journal, err = filepath.Abs(r.options.Journal); err != nil {
		return err
	}
	if !r.noGuard {
		exe, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		r.options.Guard = []string{exe, "chaos", "guard", "--journal", r.options.Journal}
	}
	began := time.Now()
	r.options.Progress = &stamped{to: r.a.err, began: began}
	if r.options.DryRun {
		r.options.Progress = r.a.out
	}
	cluster := live.Cluster{
		Endpoints: r.a.resolveEndpoints(), AdminCredential: credential, Insecure: r.a.plaintext}
	seen, err := live.Run(c.Context(), cluster, plan, r.options)
	if err != nil {
		return r.refused(err)
	}
	if seen == nil {
		return nil // a dry run
	}
	return r.finish(seen)
}

// refused finds the exit code of a run that did not take place, and what to do next.
func (r *chaosRun) refused(err error) error {
	var plan *live.PlanError
	var unhealthy *live.UnhealthyError
	switch {
	case errors.As(err, &plan):
		return usagef("vipkv chaos plan init writes an example", "%v", err)
	case errors.Is(err, live.ErrNotUnderstood):
		return usagef("--dry-run shows what it would do; --i-understand does it", "%v", err)
	case errors.As(err, &unhealthy):
		return failf(exitUnavailable, "wait until vipkv status shows no problems", "%v", err)
	case errors.Is(err, live.ErrUnhealed):
		return failf(exitConflict, "vipkv chaos heal --journal "+r.options.Journal, "%v", err)
	case errors.Is(err, live.ErrInUse):
		return failf(exitConflict, "wait for it, or give another --journal", "%v", err)
	}
	return err
}

// finish writes and prints what the run saw.
func (r *chaosRun) finish(run *chaosreport.Run) error {
	if r.report != "" {
		if err := chaosreport.Write(r.report, run); err != nil {
			return err
		}
	}
	outcome, reasons := run.Conclude()
	if r.a.json {
		o := object{"outcome": outcome, "run": run}
		if len(reasons) > 0 {
			o["reasons"] = reasons
		}
		if err := r.a.printJSON(o); err != nil {
			return err
		}
	} else if err := r.a.printf("%s", live.Text(run)); err != nil {
		return err
	}
	hint := "give --report DIR to keep the history"
	if r.report != "" {
		hint = "look at " + filepath.Join(r.report, "index.html")
	}
	if outcome == chaosreport.Pass {
		if !r.a.json && r.report != "" {
			return r.a.printf("\n%s\n", hint)
		}
		return nil
	}
	code := exitVerdict
	if outcome == chaosreport.Aborted { // it was ended before there was one
		code = exitOther
	}
	return failf(code, hint, "the run is no pass: %s", outcome)
}

// stamped puts the time since the beginning before each line.
type stamped struct {
	to    io.Writer
	began time.Time
}

func (s *stamped) Write(line []byte) (int, error) {
	_, err := fmt.Fprintf(s.to, "%6.1fs  %s", time.Since(s.began).Seconds(), line)
	return len(line), err
}
