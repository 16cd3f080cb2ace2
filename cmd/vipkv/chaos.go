package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/vipkv/vipkv/chaos/live"
	"github.com/vipkv/vipkv/chaos/nemesis"
)

// defaultJournal is where a run keeps what must be undone, when it is told no place: one for all runs from a directory.
const defaultJournal = "vipkv-chaos.journal"

func newChaos(a *app) *cobra.Command {
	return newGroup("chaos", "Break a cluster on purpose, and judge what its clients saw",
		newChaosRun(a), newChaosCheck(a), newChaosHeal(a), newChaosGuard(a), newChaosFaults(a),
		newChaosPlan(a))
}

func newChaosHeal(a *app) *cobra.Command {
	var journal string
	c := &cobra.Command{
		Use: "heal", Short: "Undo what a run that died left behind",
		Long: "Undoes every fault that the journal of a run says is there, and notes it. Doing it\n" +
			"again is harmless. What can not be undone is named and stays in the journal.",
		Args: argsBetween(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			err := live.Heal(c.Context(), journal, a.out)
			switch {
			case errors.Is(err, os.ErrNotExist):
				return failf(exitNotFound, "--journal FILE is that of the run", "%v", err)
			case errors.Is(err, live.ErrInUse):
				return failf(exitConflict, "a run undoes its own faults; stop it with Ctrl-C", "%v", err)
			}
			return err
		},
	}
	c.Flags().StringVar(&journal, "journal", defaultJournal, "the journal of the run")
	return c
}

// newChaosGuard is the process that a run starts beside itself.
func newChaosGuard(a *app) *cobra.Command {
	var journal string
	c := &cobra.Command{
		Use: "guard", Short: "Heal when the run at the other end of standard input dies",
		Args: argsBetween(0, 0), Hidden: true,
		RunE: func(c *cobra.Command, _ []string) error {
			log := &lateFile{path: journal + ".log"}
			return errors.Join(live.Guard(c.Context(), journal, a.in, log), log.close())
		},
	}
	c.Flags().StringVar(&journal, "journal", defaultJournal, "the journal of the run")
	return c
}

// lateFile is a file that is made when something is written to it. The guard's standard error would end with the run.
type lateFile struct {
	path string
	f    *os.File
}

func (l *lateFile) Write(b []byte) (n int, err error) {
	if l.f == nil {
		if l.f, err = os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
			return 0, err
		}
	}
	return l.f.Write(b)
}

func (l *lateFile) close() error {
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}

func newChaosFaults(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "faults", Short: "List the faults and who can inject them", Args: argsBetween(0, 0),
		Long: "Lists the faults. DRIVER is who can inject them in vipkv chaos run without\n" +
			"further ado; every fault can be injected by the exec and ssh drivers, when the plan\n" +
			"has commands for it. Faults of nodes are aimed at one, a minority, leader, leader:KEY,\n" +
			"placement, all or node:ID.",
		RunE: func(*cobra.Command, []string) error {
			rows := [][]string{{"FAULT", "DRIVER", "AIMED AT", "QUORUM", "WHAT HAPPENS"}}
			var out []object
			for _, f := range nemesis.Faults() {
				quorum, targets := "", make([]string, len(f.Targets))
				for i, t := range f.Targets {
					targets[i] = string(t)
				}
				if f.Away {
					quorum = "can lose"
				}
				driver := live.Builtin(f.Name)
				rows = append(rows, []string{
					f.Name, or(driver, "exec, ssh"), aimedAt(targets), quorum, f.Text})
				out = append(out, object{
					"fault": f.Name, "driver": driver, "needs": f.Needs, "targets": targets,
					"can_lose_quorum": f.Away, "loses_data": f.Loses, "text": f.Text})
			}
			if a.json {
				return a.printJSON(object{"faults": out})
			}
			return a.table(rows)
		},
	}
}

// aimedAt is short for the targets that most faults have.
func aimedAt(targets []string) string {
	if len(targets) > 2 {
		return "nodes"
	}
	return strings.Join(targets, ", ")
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func newChaosPlan(a *app) *cobra.Command {
	var force bool
	initialize := &cobra.Command{
		Use: "init [FILE]", Short: "Write an example plan, with comments (default: to standard output)",
		Args: argsBetween(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.printf("%s", examplePlan)
			}
			flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
			if force {
				flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
			}
			f, err := os.OpenFile(args[0], flags, 0o644)
			if errors.Is(err, os.ErrExist) {
				return failf(exitConflict, "--force replaces it", "%s is there already", args[0])
			}
			if err != nil {
				return err
			}
			_, err = f.WriteString(examplePlan)
			return errors.Join(err, f.Close())
		},
	}
	initialize.Flags().BoolVar(&force, "force", false, "replace FILE")
	return newGroup("plan", "Plans of vipkv chaos run", initialize)
}

// loadChaosPlan reads a plan strictly: an unknown key is an error that names its line.
func loadChaosPlan(file string) (live.Plan, error) {
	var p live.Plan
	b, err := os.ReadFile(file)
	if err != nil {
		return p, fmt.Errorf("read the plan: %w", err)
	}
	if err := decodePlan(b, &p); err != nil {
		return p, usagef("vipkv chaos plan init writes an example", "plan %s: %s", file, err)
	}
	return p, nil
}

func decodePlan(b []byte, p *live.Plan) error {
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(p); err != nil && !errors.Is(err, io.EOF) { // EOF: an empty file
		return err
	}
	if err := d.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return errors.New("more than one document")
	}
	_, err := p.Complete()
	return err
}
