package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/vipkv/vipkv/encryption"
	"github.com/vipkv/vipkv/kv/client"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

const (
	demoTenant      = "demo"
	demoReadyWithin = 2 * time.Minute
	demoPoll        = 200 * time.Millisecond
	demoNodesMax    = 32
)

const demoHelp = `Runs a cluster on this machine: so many nodes as child processes, with a tenant "demo". All of it
lies in --data: the keyfile, credentials, addresses (demo.json), logs (nodeN.log) and the nodes' data (node1,
node2, ...). A second run comes back with all of it. Ctrl-C stops all nodes; a node that dies is started again
after 2 s, or left dead with --no-restart.

Under --json one line is printed when the cluster is ready, and later one line for each node that was started
again: {"event":"restarted","node":1,"pid":4711}; with --no-restart one for each that ended: {"event":"exited",...}.`

// demo is one run of the command.
type demo struct {
	a       *app
	dir     demoDir
	plan    demoPlan
	restart time.Duration // 0: never
	set     []string
	exe     string

	mu struct {
		sync.Mutex
		pids  []int // by node; 0: not running
		ready bool
	}
}

func newDemo(a *app) *cobra.Command {
	d := &demo{a: a}
	var nodes int
	var dir string
	var noRestart bool
	c := &cobra.Command{
		Use: "demo --data DIR", Short: "Run a cluster on this machine", Long: demoHelp, Args: argsBetween(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if dir == "" {
				return usagef("vipkv demo --nodes 3 --data ./demo", "--data is missing")
			}
			if nodes < 0 || nodes > demoNodesMax || (nodes == 0 && c.Flags().Changed("nodes")) {
				return usagef("", "--nodes must be 1 to %d", demoNodesMax)
			}
			if _, err := parsePairs("set", d.set); err != nil {
				return err
			}
			d.dir, d.restart = demoDir(dir), demoRestartAfter
			if noRestart {
				d.restart = 0
			}
			if err := d.prepare(nodes); err != nil {
				return err
			}
			return d.run(c.Context())
		},
	}
	f := c.Flags()
	f.IntVar(&nodes, "nodes", 0, "how many nodes (default: as many as there are, or 3)")
	f.StringVar(&dir, "data", "", "directory of the demo")
	f.BoolVar(&noRestart, "no-restart", false, "leave a node that ended dead")
	f.StringArrayVar(&d.set, "set", nil, "a tunable, passed to vipkv start; KEY=VALUE, once each")
	return c
}

// prepare makes what must be there before the first node starts.
func (d *demo) prepare(nodes int) (err error) {
	if d.exe, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if err := os.MkdirAll(string(d.dir), 0o700); err != nil {
		return err
	}
	old, err := loadPlan(d.dir.plan())
	if err != nil {
		return err
	}
	if d.plan, err = planDemo(nodes, old, freeAddresses); err != nil {
		return err
	}
	if len(d.plan.Nodes) > len(old.Nodes) {
		if err := writeJSONFile(d.dir.plan(), d.plan); err != nil {
			return err
		}
	}
	if err := encryption.CreateKeyfile(d.dir.keyfile()); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	d.mu.pids = make([]int, len(d.plan.Nodes))
	return nil
}

// run runs the nodes until ctx ends or one of them can not run.
func (d *demo) run(ctx context.Context) error {
	g, groupCtx := errgroup.WithContext(ctx)
	start := func(node int) {
		child := &demoChild{
			node: node, exe: d.exe, args: d.plan.startArgs(d.dir, node, d.set), log: d.dir.log(node),
			restart: d.restart, report: d.event,
		}
		g.Go(func() error { return child.run(groupCtx) })
	}
	g.Go(func() error {
		err := d.bringUp(groupCtx, start)
		if err == nil || ctx.Err() != nil {
			<-groupCtx.Done() // stay, so that the group ends with its context alone
			return nil
		}
		return err
	})
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	d.say("stopped\n")
	return nil
}

// bringUp starts the nodes, waits until they are a healthy cluster, makes the tenant and tells the user.
func (d *demo) bringUp(ctx context.Context, start func(node int)) error {
	start(1)
	first := 2
	if _, err := os.Stat(d.dir.adminCredential()); err == nil {
		for node := 2; node <= len(d.plan.Nodes); node++ {
			start(node) // the cluster is there; it may need a majority to answer
		}
		first = len(d.plan.Nodes) + 1
	}
	readyBy := time.Now().Add(demoReadyWithin)
	admin, err := d.adminCredential(ctx, readyBy)
	if err != nil {
		return err
	}
	endpoints, http := d.plan.endpoints()
	cl, err := d.a.openWith(ctx, endpoints, admin, 5*time.Second)
	if err != nil {
		return err
	}
	defer cl.Close()
	for node := first; node <= len(d.plan.Nodes); node++ {
		// One after the other, so that their ids in the cluster are their numbers here.
		if err := d.wait(ctx, cl, readyBy, func(s *vipkvpb.StatusResponse) string {
			return notLive(s, node-1)
		}); err != nil {
			return err
		}
		start(node)
	}
	if err := d.wait(ctx, cl, readyBy, func(s *vipkvpb.StatusResponse) string {
		return notHealthy(s, len(d.plan.Nodes))
	}); err != nil {
		return err
	}
	keys, err := loadCredentials(d.dir.credentials())
	if err != nil {
		return err
	}
	credential, err := ensureTenant(ctx, cl.Admin(), demoTenant, keys.keys[demoTenant])
	if err != nil {
		return err
	}
	if err := keys.set(demoTenant, credential); err != nil {
		return err
	}
	return d.announce(demoReady{
		Endpoints: endpoints, HTTP: http, Tenant: demoTenant, Credential: credential, AdminCredential: admin,
	})
}

// adminCredential waits for the file that the first node writes when it makes the cluster.
func (d *demo) adminCredential(ctx context.Context, until time.Time) (string, error) {
	for {
		b, err := os.ReadFile(d.dir.adminCredential())
		if s := strings.TrimSpace(string(b)); err == nil && s != "" {
			return s, nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if err := d.tick(ctx, until, "node 1 makes the cluster"); err != nil {
			return "", err
		}
	}
}

// wait asks for the cluster's status until nothing is missing.
func (d *demo) wait(
	ctx context.Context, cl *client.Client, until time.Time, missingIn func(*vipkvpb.StatusResponse) string,
) error {
	for {
		s, err := cl.Admin().Status(ctx)
		if code, _ := explain(err); err != nil && code == exitDenied {
			return err
		}
		missing := ""
		if err != nil {
			missing = "an answer: " + err.Error()
		} else if missing = missingIn(s); missing == "" {
			return nil
		}
		if err := d.tick(ctx, until, missing); err != nil {
			return err
		}
	}
}

// notHealthy says what is missing; empty: nothing. How many replicas a range needs goes by the nodes that live.
func notHealthy(s *vipkvpb.StatusResponse, nodes int) string {
	missing := notLive(s, nodes)
	switch {
	case missing != "":
		return missing
	case s.WithoutLeader > 0:
		return fmt.Sprintf("%d ranges without a leader", s.WithoutLeader)
	case s.UnderReplicated > 0:
		return fmt.Sprintf("%d ranges under-replicated", s.UnderReplicated)
	}
	return ""
}

func notLive(s *vipkvpb.StatusResponse, nodes int) string {
	live := 0
	for _, n := range s.Nodes {
		if n.State == "live" {
			live++
		}
	}
	if live < nodes {
		return fmt.Sprintf("%d of %d nodes live", live, nodes)
	}
	return ""
}

// tick waits a moment and shows what for.
func (d *demo) tick(ctx context.Context, until time.Time, missing string) error {
	if time.Now().After(until) {
		return failf(exitUnavailable, "the nodes' logs tell more: "+d.dir.log(1), "the cluster is not ready after %v: %s",
			demoReadyWithin, missing)
	}
	d.progress(missing)
	t := time.NewTimer(demoPoll)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
