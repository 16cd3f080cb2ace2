package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/vipkv/vipkv/chaos/netns"
)

// Audit stops all nodes in good order and looks at what they leave: replicas that differ, and a text
// that must lie nowhere in clear. Then it starts them again.
func (c *Cluster) Audit(ctx context.Context, secret []byte) (*Comparison, error) {
	if err := c.WaitCaughtUp(ctx); err != nil {
		return nil, err
	}
	nodes := c.Nodes()
	for _, n := range nodes { // all at once, so that hardly an election comes in between
		if err := c.Process(n).Signal(syscall.SIGTERM); err != nil {
			return nil, err
		}
	}
	var dirs []string
	for _, n := range nodes {
		code, err := c.Process(n).Wait(stopWithin)
		if err == nil && code != 0 {
			err = fmt.Errorf("node %d stopped with code %d", n, code)
		}
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, c.DataDir(n))
	}
	compared, err := CompareReplicas(dirs)
	if err != nil {
		return nil, err
	}
	if err := c.searchAll(secret); err != nil {
		return compared, err
	}
	for _, n := range nodes {
		if err := c.Start(n); err != nil {
			return compared, err
		}
	}
	return compared, c.Healthy(ctx)
}

// searchAll looks for a secret on all disks and in all logs.
func (c *Cluster) searchAll(secret []byte) error {
	var errs []error
	for _, n := range c.Nodes() {
		found, err := c.search(n, secret)
		if err != nil {
			return err
		}
		if found > 0 {
			errs = append(errs, fmt.Errorf("the secret lies %d times on the disk of node %d", found, n))
		}
		text, err := os.ReadFile(c.Log(n))
		if err != nil {
			return err
		}
		if found := strings.Count(string(text), string(secret)); found > 0 {
			errs = append(errs, fmt.Errorf("the secret is %d times in the log of node %d", found, n))
		}
	}
	return errors.Join(errs...)
}

// Seen counts the packets that held the watched text: between nodes, and to and from clients.
func (c *Cluster) Seen() (nodes, clients uint64) {
	nodes = c.Net.Total(func(from, to netns.Host) bool {
		return from != netns.Clients && to != netns.Clients
	}).Matched
	return nodes, c.Net.Total(nil).Matched - nodes
}
