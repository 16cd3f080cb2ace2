package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"
)

// demoReady is the line that --json prints when the cluster is ready; arrays are in node order.
type demoReady struct {
	Endpoints       []string `json:"endpoints"`
	HTTP            []string `json:"http"`
	Tenant          string   `json:"tenant"`
	Credential      string   `json:"credential"`
	AdminCredential string   `json:"admin_credential"`
	PIDs            []int    `json:"pids"`
	Data            []string `json:"data"`
}

// announce tells that the cluster is ready.
func (d *demo) announce(r demoReady) error {
	for node := range d.plan.Nodes {
		r.Data = append(r.Data, d.dir.data(node+1))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clearProgress()
	d.mu.ready = true
	r.PIDs = slices.Clone(d.mu.pids)
	if d.a.json {
		return d.a.printJSON(r)
	}
	rows := [][]string{{"NODE", "PID", "CLIENTS", "HTTP", "DATA"}}
	for i := range r.Endpoints {
		rows = append(rows, []string{
			fmt.Sprint(i + 1), fmt.Sprint(r.PIDs[i]), r.Endpoints[i], r.HTTP[i], r.Data[i]})
	}
	if err := d.a.table(rows); err != nil {
		return err
	}
	e := strings.Join(r.Endpoints, ",")
	return d.a.printf(`
tenant            %s
credential        %s
admin credential  %s

Paste these:

  export VIPKV_ENDPOINTS=%s VIPKV_CREDENTIAL=%s
  %s kv put hello world && %s kv get hello
  %s status --credential @%s

Ctrl-C stops the cluster.
`, r.Tenant, r.Credential, r.AdminCredential, e, r.Credential, d.exe, d.exe, d.exe, d.dir.adminCredential())
}

// event notes what happened to a child, and tells it once the cluster is ready.
func (d *demo) event(e demoEvent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.pids[e.Node-1] = e.PID
	if e.Event == "exited" {
		d.mu.pids[e.Node-1] = 0
	}
	if !d.mu.ready {
		if e.Event == "exited" {
			d.say("node %d ended with exit code %d; its log: %s\n", e.Node, e.Code, d.dir.log(e.Node))
		}
		return
	}
	if d.a.json {
		if e.Event == "exited" && d.restart > 0 {
			return // "restarted" follows
		}
		// A reader that is gone does not stop the cluster.
		_ = d.a.printJSON(e)
		return
	}
	d.say("node %d %s, pid %d\n", e.Node, e.Event, e.PID)
}

// say prints to standard error.
func (d *demo) say(format string, args ...any) {
	d.clearProgress()
	fmt.Fprintf(d.a.err, "demo: "+format, args...)
}

// progress shows what is waited for, on a terminal.
func (d *demo) progress(missing string) {
	if f, ok := d.a.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(f, "\r\x1b[Kwaiting: %s", missing)
	}
}

func (d *demo) clearProgress() {
	if f, ok := d.a.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(f, "\r\x1b[K")
	}
}
