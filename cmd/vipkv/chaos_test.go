package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vipkv/vipkv/chaos/live"
)

// The example is a plan, and says what a plan that says nothing does.
func TestExamplePlan(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plan.yaml")
	for _, args := range [][]string{{file}, {"--force", file}} {
		if code, _, errs := vipkv(t, "", append([]string{"chaos", "plan", "init"}, args...)...); code != exitOK {
			t.Fatalf("%v: exit %d: %s", args, code, errs)
		}
	}
	if code, _, errs := vipkv(t, "", "chaos", "plan", "init", file); code != exitConflict {
		t.Errorf("a plan was replaced: exit %d: %s", code, errs)
	}
	p, err := loadChaosPlan(file)
	if err != nil {
		t.Fatal(err)
	}
	if p, err = p.Complete(); err != nil {
		t.Fatal(err)
	}
	plain, err := live.Plan{}.Complete()
	if err != nil {
		t.Fatal(err)
	}
	if p.Suite != plain.Suite || p.Rate != plain.Rate || p.Duration != 100_000_000_000 ||
		p.Faults.Swarm.Every != 12_000_000_000 || strings.Join(p.Workloads, " ") != strings.Join(plain.Workloads, " ") ||
		p.Ranges != plain.Ranges || p.WarmUp != plain.WarmUp || p.Driver.Processes == nil {
		t.Errorf("the example says %+v, a plan that says nothing means %+v", p, plain)
	}
	// What is commented out is right, too.
	var uncommented []string
	in := false
	for _, l := range strings.Split(examplePlan, "\n") {
		in = l != "" && (in || l == "  # exec:" || l == "  # ssh:")
		if in {
			l = strings.Replace(l, "  # ", "  ", 1)
		}
		uncommented = append(uncommented, l)
	}
	var whole live.Plan
	if err := decodePlan([]byte(strings.Join(uncommented, "\n")), &whole); err != nil {
		t.Fatal(err)
	}
	if whole.Driver.Exec == nil || whole.Driver.SSH == nil || len(whole.Driver.Exec.Faults) != 2 {
		t.Errorf("%+v", whole.Driver)
	}
}

func TestPlanIsStrict(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"unknown key":   {"suite: smoke\ncolour: red\n", "line 2: field colour not found"},
		"unknown inner": {"driver: {processes: {pids: [1]}}\n", "field pids not found"},
		"no duration":   {"duration: soon\n", "line 1"},
		"two documents": {"suite: smoke\n---\nsuite: soak\n", "more than one document"},
		"bad target":    {"faults: {script: [{at: 1s, fault: kill, target: two}]}\n", "unknown target"},
	} {
		code, _, errs := vipkv(t, "", "--credential", "x", "chaos", "run", "--plan", writeFile(t, "p.yaml", c.text))
		if code != exitUsage || !strings.Contains(errs, c.says) {
			t.Errorf("%s: exit %d: %s", name, code, errs)
		}
	}
}

func TestChaosCommands(t *testing.T) {
	journal := filepath.Join(t.TempDir(), "journal")
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no plan":       {[]string{"run"}, exitUsage, "--plan is missing"},
		"plan not here": {[]string{"run", "--plan", journal}, exitOther, "read the plan"},
		"no credential": {[]string{"run", "--plan", writeFile(t, "p.yaml", "")}, exitUsage, "admin credential"},
		"no journal":    {[]string{"heal", "--journal", journal}, exitNotFound, "that of the run"},
	} {
		if code, _, errs := vipkv(t, "", append([]string{"chaos"}, c.args...)...); code != c.code ||
			!strings.Contains(errs, c.says) {
			t.Errorf("%s: exit %d: %s", name, code, errs)
		}
	}
	code, out, errs := vipkv(t, "", "chaos", "faults")
	if code != exitOK || !strings.Contains(out, "transfer-leader  api") || !strings.Contains(out, "pause            processes") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if err := os.WriteFile(journal, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := vipkv(t, "", "chaos", "heal", "--journal", journal); code != exitOK || out != "nothing to undo\n" {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}
