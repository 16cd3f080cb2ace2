package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// demoPlan is what DIR/demo.json keeps, so that a second run comes back with the same addresses.
type demoPlan struct {
	Nodes []demoNode `json:"nodes"`
}

// demoNode is one node's addresses.
type demoNode struct {
	Listen     string `json:"listen"`
	ListenPeer string `json:"listen_peer"`
	ListenHTTP string `json:"listen_http"`
}

// demoDir names the files of a demo.
type demoDir string

func (d demoDir) plan() string            { return filepath.Join(string(d), "demo.json") }
func (d demoDir) keyfile() string         { return filepath.Join(string(d), "keyfile") }
func (d demoDir) credentials() string     { return filepath.Join(string(d), "credentials.json") }
func (d demoDir) adminCredential() string { return filepath.Join(string(d), "admin.credential") }
func (d demoDir) data(node int) string    { return filepath.Join(string(d), fmt.Sprintf("node%d", node)) }
func (d demoDir) log(node int) string {
	return filepath.Join(string(d), fmt.Sprintf("node%d.log", node))
}

// planDemo returns the plan for n nodes: the old one, longer when n is larger. n == 0: as many as there are, or three.
// free returns that many free addresses.
func planDemo(n int, old demoPlan, free func(n int) ([]string, error)) (demoPlan, error) {
	have := len(old.Nodes)
	if n == 0 {
		n = max(have, 3)
		if have > 0 {
			n = have
		}
	}
	if n < have {
		return demoPlan{}, usagef("leave --nodes out, or choose another --data",
			"the demo in this directory has %d nodes; %d would leave data behind", have, n)
	}
	addrs, err := free(3 * (n - have))
	if err != nil {
		return demoPlan{}, err
	}
	p := demoPlan{Nodes: slices.Clone(old.Nodes)}
	for a := range slices.Chunk(addrs, 3) {
		p.Nodes = append(p.Nodes, demoNode{Listen: a[0], ListenPeer: a[1], ListenHTTP: a[2]})
	}
	return p, nil
}

// startArgs is the command line of one node; nodes count from 1. The first one makes the cluster, the others join those
// before them.
func (p demoPlan) startArgs(dir demoDir, node int, set []string) []string {
	n := p.Nodes[node-1]
	args := []string{
		"start", "--data", dir.data(node), "--keyfile", dir.keyfile(),
		"--listen", n.Listen, "--listen-peer", n.ListenPeer, "--listen-http", n.ListenHTTP,
	}
	var join []string
	for _, other := range p.Nodes[:node-1] {
		join = append(join, other.ListenPeer)
	}
	if node == 1 {
		args = append(args, "--admin-credential-out", dir.adminCredential())
	} else {
		args = append(args, "--join", strings.Join(join, ","))
	}
	for _, s := range set {
		args = append(args, "--set", s)
	}
	return args
}

func (p demoPlan) endpoints() (client, http []string) {
	for _, n := range p.Nodes {
		client, http = append(client, n.Listen), append(http, n.ListenHTTP)
	}
	return client, http
}

// freeAddresses finds n free addresses on loopback. Nothing holds them afterwards.
func freeAddresses(n int) (addrs []string, err error) {
	var open []net.Listener
	defer func() {
		for _, l := range open {
			err = errors.Join(err, l.Close())
		}
	}()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		open = append(open, l)
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// loadPlan reads DIR/demo.json; one that is missing is empty.
func loadPlan(file string) (p demoPlan, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("read the demo's plan: %w", err)
	}
	if err := strictJSON(b, &p); err != nil {
		return p, fmt.Errorf("read the demo's plan %s: %w", file, err)
	}
	return p, nil
}
