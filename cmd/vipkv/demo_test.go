package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

func ports(from int) func(int) ([]string, error) {
	return func(n int) (out []string, err error) {
		for i := range n {
			out = append(out, fmt.Sprintf("127.0.0.1:%d", from+i))
		}
		return out, nil
	}
}

func TestPlanDemo(t *testing.T) {
	first, err := planDemo(0, demoPlan{}, ports(100))
	if err != nil || len(first.Nodes) != 3 || first.Nodes[2].ListenHTTP != "127.0.0.1:108" {
		t.Fatalf("%+v %v", first, err)
	}
	again, err := planDemo(0, first, ports(200))
	if err != nil || !reflect.DeepEqual(again, first) {
		t.Errorf("a second run has other addresses: %+v %v", again, err)
	}
	five, err := planDemo(5, first, ports(200))
	if err != nil || len(five.Nodes) != 5 || !reflect.DeepEqual(five.Nodes[:3], first.Nodes) ||
		five.Nodes[3].Listen != "127.0.0.1:200" {
		t.Errorf("%+v %v", five, err)
	}
	if _, err := planDemo(2, first, ports(1)); err == nil {
		t.Error("a node with data was left out")
	}
	one, err := planDemo(1, demoPlan{}, freeAddresses)
	if err != nil || len(one.Nodes) != 1 || one.Nodes[0].Listen == one.Nodes[0].ListenPeer {
		t.Errorf("%+v %v", one, err)
	}
}

func TestPlanIsKept(t *testing.T) {
	p, err := planDemo(2, demoPlan{}, ports(1))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "demo.json")
	if err := writeJSONFile(file, p); err != nil {
		t.Fatal(err)
	}
	got, err := loadPlan(file)
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("%+v %v", got, err)
	}
}

func TestStartArgsOfADemo(t *testing.T) {
	p, err := planDemo(3, demoPlan{}, ports(1))
	if err != nil {
		t.Fatal(err)
	}
	set := []string{"split-bytes=1", "lost-after=2s"}
	first := strings.Join(p.startArgs("d", 1, set), " ")
	want := "start --data d/node1 --keyfile d/keyfile --listen 127.0.0.1:1 --listen-peer 127.0.0.1:2" +
		" --listen-http 127.0.0.1:3 --admin-credential-out d/admin.credential --set split-bytes=1 --set lost-after=2s"
	if first != want {
		t.Errorf("got  %s\nwant %s", first, want)
	}
	third := strings.Join(p.startArgs("d", 3, nil), " ")
	if !strings.HasSuffix(third, "--join 127.0.0.1:2,127.0.0.1:5") || strings.Contains(third, "admin-credential") {
		t.Errorf("got %s", third)
	}
	// The command that they are for takes them.
	a := &app{err: &strings.Builder{}, out: &strings.Builder{}, env: func(string) string { return "" }}
	c, args, err := newRoot(a).Find(p.startArgs("d", 3, set))
	if err != nil || c.Name() != "start" {
		t.Fatal(err)
	}
	if err := c.ParseFlags(args); err != nil || len(c.Flags().Args()) != 0 {
		t.Errorf("%v %v", c.Flags().Args(), err)
	}
}

// A child is started again when it ends, and stopped with SIGTERM when the demo ends.
func TestDemoChild(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := make(chan demoEvent, 100)
	marker := filepath.Join(t.TempDir(), "ran")
	c := &demoChild{
		node: 1, exe: "/bin/sh", log: filepath.Join(t.TempDir(), "log"), restart: time.Millisecond,
		args:   []string{"-c", `if [ -e "$0" ]; then exec sleep 600; fi; touch "$0"; exit 3`, marker},
		report: func(e demoEvent) { events <- e },
	}
	done := make(chan error, 1)
	go func() { done <- c.run(ctx) }()
	for _, want := range []string{"started", "exited", "restarted"} {
		if e := <-events; e.Event != want || e.Node != 1 || e.PID == 0 || (want == "exited" && e.Code != 3) {
			t.Fatalf("got %+v, want %s", e, want)
		}
	}
	begin := time.Now()
	cancel()
	if err := <-done; err != nil || time.Since(begin) > demoStopWithin/2 {
		t.Errorf("stopped after %v: %v", time.Since(begin), err)
	}
	// One that can not run is not started again.
	c.args = []string{"-c", fmt.Sprintf("exit %d", exitDirectory)}
	err := c.run(t.Context())
	if code, _ := explain(err); code != exitDirectory {
		t.Errorf("got %v", err)
	}
	c.args, c.restart = []string{"-c", "exit 1"}, 0
	if err := c.run(t.Context()); err != nil {
		t.Error(err)
	}
}

// demoProcess is a demo in a process of its own.
type demoProcess struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	ready demoReady
}

func startDemo(t *testing.T, dir string, args ...string) *demoProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"demo", "--json", "--data", dir}, args...)...)
	cmd.Env = append(os.Environ(), beVipkv+"=1")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &demoProcess{cmd: cmd, lines: bufio.NewScanner(out)}
	t.Cleanup(func() { p.stop(t) })
	p.next(t, &p.ready)
	return p
}

func (p *demoProcess) next(t *testing.T, v any) {
	t.Helper()
	if !p.lines.Scan() {
		t.Fatalf("the demo printed no more: %v", p.lines.Err())
	}
	if err := json.Unmarshal(p.lines.Bytes(), v); err != nil {
		t.Fatalf("%v in %s", err, p.lines.Bytes())
	}
}

func (p *demoProcess) stop(t *testing.T) {
	if p.cmd.ProcessState != nil {
		return
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the demo ended with %v", err)
	}
	for _, pid := range p.ready.PIDs {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("process %d lives on", pid)
		}
	}
}

// A node that is killed comes back with its data, and so does the whole demo.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	d := startDemo(t, dir, "--nodes", "1", "--set", "tick-interval=20ms")
	tenant := []string{"-e", strings.Join(d.ready.Endpoints, ","), "--credential", d.ready.Credential}
	vipkvOK := func(args ...string) string {
		t.Helper()
		code, out, errs := vipkv(t, "", append(append([]string{}, tenant...), args...)...)
		if code != exitOK {
			t.Fatalf("%v: exit %d: %s", args, code, errs)
		}
		return out
	}
	vipkvOK("kv", "put", "a", "1")
	if err := syscall.Kill(d.ready.PIDs[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var e demoEvent
	d.next(t, &e)
	if e.Event != "restarted" || e.Node != 1 || e.PID == d.ready.PIDs[0] {
		t.Errorf("got %+v", e)
	}
	if got := vipkvOK("kv", "get", "a"); got != "1\n" {
		t.Errorf("after the kill: %q", got)
	}
	d.ready.PIDs[0] = e.PID
	d.stop(t)

	again := startDemo(t, dir, "--no-restart")
	if !reflect.DeepEqual(again.ready.Endpoints, d.ready.Endpoints) || again.ready.Credential != d.ready.Credential {
		t.Errorf("came back as %+v, was %+v", again.ready, d.ready)
	}
	if got := vipkvOK("kv", "get", "a"); got != "1\n" {
		t.Errorf("after the second start: %q", got)
	}
	if err := syscall.Kill(again.ready.PIDs[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	again.next(t, &e)
	if e.Event != "exited" || e.Node != 1 || e.Code != -1 {
		t.Errorf("got %+v", e)
	}
}
