//go:build linux

package failover_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/failover"
	"github.com/vipkv/vipkv/chaos/machine"
	"github.com/vipkv/vipkv/chaos/sandbox"
	"github.com/vipkv/vipkv/chaos/sandbox/sandboxtest"
)

type settings struct {
	trials *int
	modes  *string
	hold   *time.Duration
	doc    *string
	json   *string
	set    *string
}

// set is written once, before the first test.
var set settings

func TestMain(m *testing.M) {
	set = settings{
		trials: flag.Int("trials", 0, "injections of each fault; 0: nothing is measured"),
		modes:  flag.String("modes", "", "names, parted by commas; empty: all"),
		hold:   flag.Duration("hold", 15*time.Second, "how long a fault lasts at most"),
		doc:    flag.String("doc", "", "file between whose markers the table is put; empty: it is printed only"),
		json:   flag.String("figures", "", "file for what was measured; empty: none"),
		set:    flag.String("set", "", "tunables of the nodes, KEY=VALUE, parted by commas"),
	}
	flag.Parse()
	os.Exit(sandbox.Main(m.Run))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Write gaps by what fails, in a table. It has no limit of its own: docs/recovery.md names the budgets.
func TestFailover(t *testing.T) {
	if *set.trials == 0 {
		t.Skip("needs -trials=1 or more, and half a minute for each: make failover")
	}
	modes := chosen(t)
	sandboxtest.Need(t, "machines", machine.Probe)
	ctx := t.Context()
	dir := t.TempDir()
	binary := filepath.Join(dir, "vipkv")
	out, err := exec.Command("go", "build", "-o", binary, "github.com/vipkv/vipkv/cmd/vipkv").CombinedOutput()
	if err != nil {
		t.Fatalf("build vipkv: %v\n%s", err, out)
	}
	o := machine.Options{Binary: binary, Dir: dir}
	if *set.set != "" {
		o.Set = strings.Split(*set.set, ",")
	}
	c, err := machine.New(ctx, o)
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	b, err := failover.Prepare(ctx, c, *set.hold, uint64(time.Now().UnixNano()))
	must(t, err)
	t.Cleanup(func() { must(t, b.Close()) })
	table := failover.Table{
		When: time.Now().UTC().Format(time.DateOnly), Host: host(), Build: build(),
		Ranges: b.Ranges(), Hold: set.hold.Milliseconds(),
	}
	for _, m := range modes {
		table.Rows = append(table.Rows, measure(t, b, m))
	}
	t.Logf("\n%s", table.Markdown())
	text, err := json.MarshalIndent(table, "", "  ")
	must(t, err)
	if *set.json != "" {
		must(t, os.WriteFile(*set.json, append(text, '\n'), 0o644))
	}
	if *set.doc != "" {
		must(t, failover.WriteInto(*set.doc, table.Markdown()))
	}
}

// chosen are the modes that -modes names.
func chosen(t *testing.T) (modes []failover.Mode) {
	t.Helper()
	if *set.modes == "" {
		return failover.Modes()
	}
	for _, name := range strings.Split(*set.modes, ",") {
		i := slices.IndexFunc(failover.Modes(), func(m failover.Mode) bool { return m.Name == name })
		if i < 0 {
			t.Fatalf("-modes: there is no mode %q", name)
		}
		modes = append(modes, failover.Modes()[i])
	}
	return modes
}

func measure(t *testing.T, b *failover.Bench, m failover.Mode) failover.Row {
	t.Helper()
	row := failover.Row{Mode: m.Name, Text: m.Text}
	for n := range *set.trials {
		began := time.Now()
		ctx, done := context.WithTimeout(t.Context(), 4*time.Minute)
		trial, err := b.Trial(ctx, m)
		done()
		must(t, err)
		t.Logf("%-12s trial %d, %s: gap %d ms (open %v), %d before, %d after; %d acknowledged, %d failed; %s; "+
			"took %v", m.Name, n+1, trial.Target, trial.Gap, trial.Open, trial.Quiet, trial.After, trial.Acked,
			trial.Failed, trial.Evidence, time.Since(began).Round(time.Second))
		for text, times := range trial.Errors {
			t.Logf("  %d times: %s", times, text)
		}
		row.Trials = append(row.Trials, trial)
	}
	return row
}

func host() string {
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("Linux")
	}
	return fmt.Sprintf("%d CPUs, Linux %s", runtime.NumCPU(), strings.TrimSpace(string(kernel)))
}

// build is the commit that was measured.
func build() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
