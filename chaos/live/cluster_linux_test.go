package live

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/proc"
	"github.com/vipkv/vipkv/chaos/report"
	"github.com/vipkv/vipkv/kv/client"
)

// demo is a cluster of three real nodes, by vipkv demo, which starts a node again that has ended.
type demo struct {
	binary, dir string
	ready       struct {
		Endpoints []string `json:"endpoints"`
		Admin     string   `json:"admin_credential"`
		PIDs      []int    `json:"pids"`
	}
}

func startDemo(t *testing.T) *demo {
	t.Helper()
	d := &demo{dir: t.TempDir()}
	d.binary = filepath.Join(d.dir, "vipkv")
	build := exec.Command("go", "build", "-o", d.binary, "github.com/vipkv/vipkv/cmd/vipkv")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build vipkv: %v\n%s", err, out)
	}
	log := filepath.Join(d.dir, "demo.log")
	p, err := proc.Start{Binary: d.binary, Log: log, Args: []string{
		"demo", "--json", "--nodes", "3", "--data", filepath.Join(d.dir, "demo")}}.Process()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, err := os.ReadFile(log)
			t.Logf("%s %v", b[max(0, len(b)-4000):], err)
		}
		if err := p.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
		if _, err := p.Wait(30 * time.Second); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	for {
		b, err := os.ReadFile(log)
		if line, _, whole := bytes.Cut(b, []byte("\n")); err == nil && whole {
			if err := json.Unmarshal(line, &d.ready); err == nil {
				return d
			}
		}
		if !p.Running() || pause(ctx, 100*time.Millisecond) != nil {
			t.Fatalf("the demo is not ready: %s", b)
		}
	}
}

func (d *demo) cluster() Cluster {
	return Cluster{Endpoints: d.ready.Endpoints, AdminCredential: d.ready.Admin}
}

// command is vipkv with the admin credential.
func (d *demo) command(args ...string) *exec.Cmd {
	cmd := exec.Command(d.binary, args...)
	cmd.Dir = d.dir
	cmd.Env = append(os.Environ(), "VIPKV_CREDENTIAL="+d.ready.Admin,
		"VIPKV_ENDPOINTS="+strings.Join(d.ready.Endpoints, ","))
	return cmd
}

// run runs vipkv to its end and returns its exit code and what it printed.
func (d *demo) run(t *testing.T, args ...string) (int, string) {
	t.Helper()
	out, err := d.command(args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		return exit.ExitCode(), string(out)
	}
	return 0, string(out)
}

func (d *demo) write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(d.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// healthy waits for it.
func (d *demo) healthy(t *testing.T) {
	t.Helper()
	cl, err := d.cluster().dial(t.Context(), d.ready.Admin, callWithin)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := waitHealthy(t.Context(), cl.Admin(), time.Minute); err != nil {
		t.Fatal(err)
	}
}

// bystander is another tenant with some data.
type bystander struct{ cl *client.Client }

func (d *demo) bystander(t *testing.T) *bystander {
	t.Helper()
	admin, err := d.cluster().dial(t.Context(), d.ready.Admin, callWithin)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	_, key, err := admin.Admin().CreateTenant(t.Context(), "bystander")
	if err != nil {
		t.Fatal(err)
	}
	cl, err := d.cluster().dial(t.Context(), key, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	for i := range 100 {
		// Under the very names that a run would like, and around them.
		key := fmt.Appendf(nil, "%s/%d", []string{"a", "chaos/", "register", "z"}[i%4], i)
		if _, err := cl.Put(t.Context(), key, fmt.Append(nil, "value ", i), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		r := []client.Record{{ClientID: fmt.Sprint(i), Body: fmt.Append(nil, "record ", i)}}
		if _, err := cl.Append(t.Context(), "stream", r, client.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return &bystander{cl}
}

// everything is all that the tenant has, with versions and times.
func (b *bystander) everything(t *testing.T) (items []client.Item, records []client.Record) {
	t.Helper()
	o := client.ScanOptions{}
	for {
		page, err := b.cl.ScanPage(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, page.Items...)
		if o.ResumeToken = page.ResumeToken; len(o.ResumeToken) == 0 {
			break
		}
	}
	page, err := b.cl.Read(t.Context(), "stream", client.ReadOptions{Limit: 1000})
	if err != nil || page.More {
		t.Fatalf("%v %v", page.More, err)
	}
	return items, page.Records
}

// A user's runs against a cluster of real processes: each driver, a runner that is killed, and a bystander.
func TestAgainstACluster(t *testing.T) {
	d := startDemo(t)
	other := d.bystander(t)
	items, records := other.everything(t)
	if len(items) != 100 || len(records) != 100 {
		t.Fatalf("%d items, %d records", len(items), len(records))
	}
	t.Run("commands", func(t *testing.T) { testCommands(t, d) })
	t.Run("half injected", func(t *testing.T) { testHalfInjected(t, d) })
	t.Run("refusals", func(t *testing.T) { testRefusals(t, d) })
	t.Run("processes", func(t *testing.T) { testProcesses(t, d) })
	t.Run("stopped", func(t *testing.T) { testStopped(t, d) })
	t.Run("interrupted", func(t *testing.T) { testInterrupted(t, d) })
	t.Run("killed", func(t *testing.T) { testKilled(t, d, "--no-guard") })
	t.Run("guarded", func(t *testing.T) { testKilled(t, d) })
	itemsAfter, recordsAfter := other.everything(t)
	if !reflect.DeepEqual(items, itemsAfter) || !reflect.DeepEqual(records, recordsAfter) {
		t.Errorf("another tenant's data has changed: %d items, %d records", len(itemsAfter), len(recordsAfter))
	}
}

// The exec driver runs commands here; the ssh driver runs them by a program that stands in for ssh.
func testCommands(t *testing.T, d *demo) {
	calls := filepath.Join(d.dir, "ssh.calls")
	shim := d.write(t, "ssh", "#!/bin/sh\necho \"$1 $2\" >> "+calls+"\nshift 2\nexec sh -c \"$*\"\n")
	vars := map[uint64]map[string]string{}
	for i, pid := range d.ready.PIDs {
		vars[uint64(i+1)] = map[string]string{"pid": fmt.Sprint(pid)}
	}
	var progress bytes.Buffer
	seen, err := Run(t.Context(), d.cluster(), Plan{
		Seed: 1, WarmUp: time.Second, Workloads: []string{"register", "canary"}, Ranges: -1, Nodes: vars,
		Driver: DriverPlan{
			Exec: &ExecPlan{map[string]Template{"restart": {
				Do: "kill -TERM {{.Vars.pid}}", Undo: "true", Check: "! kill -0 {{.Vars.pid}} 2>&-"}}},
			SSH: &SSHPlan{Command: []string{shim, "-oBatchMode=yes", "user@{{.Host}}"},
				Faults: map[string]Template{"pause": {
					Do: "kill -STOP {{.Vars.pid}}", Undo: "kill -CONT {{.Vars.pid}}"}}},
		},
		Faults: FaultPlan{Script: []Step{
			{At: 0, Fault: "restart", Target: "node:2", Hold: 3 * time.Second},
			{At: 4 * time.Second, Fault: "pause", Target: "node:3", Hold: 3 * time.Second},
		}},
	}, Options{Journal: filepath.Join(d.dir, "commands.journal"), Understood: true, Progress: &progress})
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	if o, _ := seen.Conclude(); o != report.Pass || len(seen.Faults) != 2 ||
		!seen.Faults[0].Bit || !seen.Faults[1].Bit {
		t.Errorf("%s\n%s", progress.String(), Text(seen))
	}
	b, err := os.ReadFile(calls)
	if got := string(b); err != nil || got != strings.Repeat("-oBatchMode=yes user@127.0.0.1\n", 2) {
		t.Errorf("ssh was called with %q, %v", got, err)
	}
}

// A command that fails may have done half of its work: it is undone at once, and proves nothing.
func testHalfInjected(t *testing.T, d *demo) {
	mark := filepath.Join(d.dir, "undone")
	seen, err := Run(t.Context(), d.cluster(), Plan{WarmUp: 2 * time.Second, Workloads: []string{"set"},
		Driver: DriverPlan{Exec: &ExecPlan{map[string]Template{"isolate": {Do: "echo no; exit 3", Undo: "touch " + mark}}}},
		Faults: FaultPlan{Script: []Step{{Fault: "isolate", Target: "node:1", Hold: 3 * time.Second}}},
	}, Options{Journal: filepath.Join(d.dir, "half.journal"), Understood: true})
	if err != nil {
		t.Fatal(err)
	}
	if o, why := seen.Conclude(); o != report.Void || !strings.Contains(strings.Join(why, ""), "exit status 3: no") {
		t.Errorf("%s: %v\n%s", o, why, Text(seen))
	}
	if took := time.Duration(seen.Faults[0].End - seen.Faults[0].Start); took > 2*time.Second || !exists(mark) {
		t.Errorf("undone after %v: %v", took, exists(mark))
	}
}

const gentle = "suite: smoke\ndriver: {processes: {}}\nduration: 5s\n"

func testRefusals(t *testing.T, d *demo) {
	_, made := d.run(t, "tenant", "credential", "demo")
	full := fmt.Sprintf("tenant: {name: demo, credential: %s}\n", strings.TrimSpace(made))
	put := d.command("kv", "put", "k", "v", "--credential", strings.TrimSpace(made))
	if out, err := put.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	plan := d.write(t, "refused.yaml", gentle+"faults: {script: [{fault: kill, target: all}]}\n")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 2, "--i-understand"},
		{[]string{"--dry-run"}, 0, "would lose a quorum"},
		{[]string{"--i-understand", "--plan", d.write(t, "bad.yaml", "colour: red\n")}, 2, "colour not found"},
		{[]string{"--i-understand", "--credential", "wrong"}, 5, "credential"},
		{[]string{"--i-understand", "--plan", d.write(t, "wrong.yaml",
			gentle+"tenant: {name: demo, credential: x}\n")}, 5, "credential"},
		{[]string{"--i-understand", "--plan", d.write(t, "full.yaml", gentle+full)}, 2, "demo is not empty"},
	} {
		args := append([]string{"chaos", "run", "--plan", plan}, c.args...)
		if code, out := d.run(t, args...); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%v: exit %d, want %d: %s", c.args, code, c.code, out)
		}
	}
}

// A run by the command line, with kills and pauses and a report.
func testProcesses(t *testing.T, d *demo) {
	plan := d.write(t, "smoke.yaml", gentle+`warm-up: 1s
seed: 5
faults:
  script:
    - {at: 0s, fault: kill, target: leader, hold: 3s}
    - {at: 4s, fault: pause, target: placement, hold: 3s}
    - {at: 15s, fault: kill, target: all}
    - {at: 16s, fault: transfer-leader, hold: 1s}
    - {at: 17s, fault: split, hold: 1s}
    - {at: 18s, fault: disconnect, hold: 1s}
    - {at: 18s, fault: hot-key, hold: 1s}
budgets: {ops.min: "100", gap.kill.max: 30s}
`)
	dir := filepath.Join(d.dir, "report")
	code, out := d.run(t, "chaos", "run", "--plan", plan, "--i-understand", "--report", dir, "--json")
	var seen struct {
		report.Run
		Outcome report.Outcome `json:"outcome"`
	}
	b, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err == nil {
		err = json.Unmarshal(b, &seen)
	}
	if code != 0 || err != nil || seen.Outcome != report.Pass {
		t.Fatalf("exit %d, %v:\n%s", code, err, out)
	}
	if len(seen.Faults) != 6 || len(seen.Skipped) != 1 ||
		!strings.Contains(seen.Skipped[0].Reason, "quorum") {
		t.Errorf("%+v, skipped %+v", seen.Faults, seen.Skipped)
	}
	if _, err := os.Stat(filepath.Join(dir, "index.html")); err != nil {
		t.Error(err)
	}
	if code, out := d.run(t, "chaos", "check", filepath.Join(dir, "history.ndjson")); code != 0 {
		t.Errorf("checked again: exit %d: %s", code, out)
	}
}

// A plan that takes all quorums away, because it may, ends as soon as too little is acknowledged, and heals.
func testStopped(t *testing.T, d *demo) {
	d.healthy(t)
	plan := d.write(t, "stop.yaml", gentle+`warm-up: 3s
workloads: [set]
faults: {script: [{at: 0s, fault: pause, target: all, hold: 5m}]}
stop-if: {errors: 80%, for: 3s}
allow-quorum-loss: true
`)
	begin := time.Now()
	code, out := d.run(t, "chaos", "run", "--plan", plan, "--i-understand")
	if code != 1 || !strings.Contains(out, "ABORTED") || !strings.Contains(out, "stop-if: ") {
		t.Errorf("exit %d after %v: %s", code, time.Since(begin), out)
	}
	d.healthy(t)
}

// Ctrl-C ends a run early, and the faults with it.
func testInterrupted(t *testing.T, d *demo) {
	plan := d.write(t, "interrupt.yaml", gentle+
		"warm-up: 100ms\nfaults: {script: [{at: 0s, fault: pause, target: 'node:3', hold: 5m}]}\n")
	d.healthy(t)
	p, err := listener(d.ready.Endpoints[2])
	if err != nil {
		t.Fatal(err)
	}
	runner := d.command("chaos", "run", "--plan", plan, "--i-understand")
	var out bytes.Buffer
	runner.Stdout, runner.Stderr = &out, &out
	if err := runner.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the node is paused", func() bool {
		state, err := p.state()
		return err == nil && state == 'T'
	})
	if err := runner.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := runner.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 ||
		!strings.Contains(out.String(), "it was interrupted") {
		t.Errorf("%v: %s", err, out.String())
	}
	if state, err := p.state(); err != nil || state == 'T' {
		t.Errorf("the node is in state %c, %v", state, err)
	}
	open, err := ReadJournal(filepath.Join(d.dir, "vipkv-chaos.journal"))
	if err != nil || len(open) != 0 {
		t.Errorf("%v %v", open, err)
	}
}

// A runner that is killed leaves a paused node behind. Its journal, or its guard, brings the node back.
func testKilled(t *testing.T, d *demo, flags ...string) {
	plan := d.write(t, "pause.yaml", gentle+
		"warm-up: 100ms\nfaults: {script: [{at: 0s, fault: pause, target: 'node:2', hold: 5m}]}\n")
	d.healthy(t)
	p, err := listener(d.ready.Endpoints[1])
	if err != nil {
		t.Fatal(err)
	}
	paused := func() bool {
		state, err := p.state()
		return err == nil && state == 'T'
	}
	journal := filepath.Join(d.dir, t.Name()[strings.LastIndexByte(t.Name(), '/')+1:]+".journal")
	args := append([]string{"chaos", "run", "--plan", plan, "--i-understand", "--journal", journal}, flags...)
	runner := d.command(args...)
	runner.Stderr = t.Output()
	if err := runner.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the node is paused", paused)
	if err := runner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = runner.Wait() // it was killed
	if len(flags) == 0 {
		waitFor(t, "the guard heals", func() bool { return !paused() })
		waitFor(t, "the guard notes it", func() bool {
			open, err := ReadJournal(journal)
			return err == nil && len(open) == 0
		})
		d.healthy(t)
		return
	}
	if open, err := ReadJournal(journal); err != nil || len(open) != 1 || !paused() {
		t.Fatalf("after the kill: %v %v, paused: %v", open, err, paused())
	}
	if code, out := d.run(t, append(args, "--timeout", "30s")...); code != 4 && code != 6 {
		t.Errorf("a run on top of it: exit %d: %s", code, out)
	}
	for range 2 {
		if code, out := d.run(t, "chaos", "heal", "--journal", journal); code != 0 {
			t.Errorf("heal: exit %d: %s", code, out)
		}
	}
	if paused() {
		t.Error("the node is still paused")
	}
	d.healthy(t)
}
