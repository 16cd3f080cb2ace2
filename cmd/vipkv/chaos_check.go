package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/check/cycle"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/judge"
)

const chaosCheckHelp = `Judges a history again, without a cluster. HISTORY is the history.ndjson
that vipkv chaos run --report writes, or any file of its form; "-" is standard input.

Every checker that knows the kinds of the operations is asked. Its verdict is a line; beneath it are
the broken promises in words, each with the few operations that show it. A verdict is void when too
little happened for one, and undecided when the search for one was given up.

The exit code is 0 when every verdict is a pass, and 11 otherwise.`

type chaosCheck struct {
	a      *app
	faults string
	dump   string
	html   string
	level  string
	minOK  int
	limit  time.Duration
}

func newChaosCheck(a *app) *cobra.Command {
	k := &chaosCheck{a: a}
	c := &cobra.Command{
		Use: "check HISTORY", Short: "Judge the history of a run again", Long: chaosCheckHelp,
		Args: argsBetween(1, 1),
		RunE: func(_ *cobra.Command, args []string) error { return k.run(args[0]) },
	}
	f := c.Flags()
	f.StringVar(&k.faults, "faults", "",
		"file of the faults that were injected, one a line; each must have bitten")
	f.StringVar(&k.dump, "dump", "",
		"file of the store's final state: it is compared, and resolves unknown outcomes")
	f.StringVar(&k.html, "html", "", "directory for pictures of registers that fail")
	f.StringVar(&k.level, "level", string(cycle.StrictSerializable),
		"isolation that transactions are held to: strict-serializable, serializable, snapshot-isolation")
	f.IntVar(&k.minOK, "min-ok", 1, "acknowledged operations below which nothing is proven")
	f.DurationVar(&k.limit, "register-limit", 20*time.Second, "time for the search for one register")
	return c
}

func (k *chaosCheck) run(file string) error {
	o := judge.Options{Level: cycle.Level(k.level), RegisterLimit: k.limit, HTML: k.html,
		Guard: &check.Guard{MinOK: k.minOK}}
	switch o.Level {
	case cycle.StrictSerializable, cycle.Serializable, cycle.SnapshotIsolation:
	default:
		return usagef("it is strict-serializable, serializable or snapshot-isolation",
			"unknown --level %q", k.level)
	}
	if k.limit <= 0 {
		return usagef("20s is the default", "--register-limit must be positive")
	}
	ops, err := fromFile(k.a, file, history.ReadAll)
	if err != nil {
		return err
	}
	var faults []history.Fault
	if k.faults != "" {
		if faults, err = fromFile(k.a, k.faults, history.ReadFaults); err != nil {
			return err
		}
	}
	if k.dump != "" {
		if o.Dump, err = fromFile(k.a, k.dump, readDump); err != nil {
			return err
		}
	}
	if k.html != "" {
		if err := os.MkdirAll(k.html, 0o755); err != nil {
			return err
		}
	}
	verdicts := judge.All(ops, faults, o)
	if k.a.json {
		err = k.a.printJSON(object{
			"passed": judge.Passed(verdicts), "operations": len(ops), "verdicts": verdicts})
	} else {
		err = k.a.printf("%s", verdictText(verdicts))
	}
	if err != nil || judge.Passed(verdicts) {
		return err
	}
	n := 0
	for _, v := range verdicts {
		if v.Outcome != check.Pass {
			n++
		}
	}
	return failf(exitVerdict, "", "%d of %d verdicts are no pass", n, len(verdicts))
}

// fromFile reads a file, or standard input; what is wrong in it is the user's to mend.
func fromFile[T any](a *app, file string, read func(io.Reader) (T, error)) (result T, err error) {
	in := a.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return result, err
		}
		defer f.Close()
		in = f
	}
	if result, err = read(in); err != nil {
		return result, usagef("", "%s: %s", file, err)
	}
	return result, nil
}

func readDump(r io.Reader) (*check.Dump, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var d check.Dump
	if err := dec.Decode(&d); err != nil {
		return nil, fmt.Errorf("read the final state: %w", err)
	}
	if err := dec.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("read the final state: there is more than one document")
	}
	return &d, nil
}

// verdictText is a line a verdict, with its anomalies beneath.
func verdictText(verdicts []check.Verdict) string {
	var b strings.Builder
	for i := range verdicts {
		v := &verdicts[i]
		of := "the whole history"
		if v.Workload != "" {
			of = v.Workload
		}
		fmt.Fprintf(&b, "%-9s  %s of %s, %d operations", v.Outcome, v.Checker, of, v.Ops)
		if v.Reason != "" {
			fmt.Fprintf(&b, ": %s", v.Reason)
		}
		b.WriteString("\n")
		for k := range v.Anomalies {
			b.WriteString(anomalyText(&v.Anomalies[k]))
		}
	}
	return b.String()
}

// anomalyText is what is wrong, and then each operation on a line of its own.
func anomalyText(a *check.Anomaly) string {
	var b strings.Builder
	text := a.Text
	if len(a.Ops) > 0 {
		if what, _, ok := strings.Cut(text, ". "+a.Ops[0].String()); ok {
			text = what + ":"
		}
	}
	fmt.Fprintf(&b, "    %s: %s\n", a.Name, strings.ReplaceAll(text, "\n", "\n        "))
	if text != a.Text {
		for i := range a.Ops {
			fmt.Fprintf(&b, "        %s\n", &a.Ops[i])
		}
	}
	return b.String()
}
