package machine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/vipkv/vipkv/chaos/disk"
	"github.com/vipkv/vipkv/chaos/limits"
	"github.com/vipkv/vipkv/chaos/netns"
	"github.com/vipkv/vipkv/chaos/proc"
)

const diskBytesDefault = 1 << 30 // an image takes room as it is written

// Options of a Cluster.
type Options struct {
	// Binary is the path of vipkv. Required.
	Binary string
	// Dir is where all files go; it exists. Required.
	Dir string
	// Nodes is how many there are at the start. Default 3.
	Nodes int
	// Set are tunables of all nodes, KEY=VALUE.
	Set []string
	// Env, when set, returns what is added to a node's environment.
	Env func(node int) []string
	// DiskBytes is the size of a node's disk. Default 1 GiB.
	DiskBytes int64
	// Seed decides which packets are lost.
	Seed uint64
}

// box is the machine of one node.
type box struct {
	disk  *disk.Disk
	group *limits.Group
}

// Cluster is a cluster whose nodes have machines of their own. This program is its clients' machine.
type Cluster struct {
	*proc.Cluster
	Net *netns.Network

	opts  Options
	boxes map[int]*box
	gone  map[int]bool // nodes that are lost for ever
}

// New makes and starts a cluster and waits until it is healthy. After an error there is nothing to
// close.
func New(ctx context.Context, o Options) (c *Cluster, err error) {
	if o.DiskBytes == 0 {
		o.DiskBytes = diskBytesDefault
	}
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	c = &Cluster{opts: o, boxes: map[int]*box{}, gone: map[int]bool{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.Net, err = netns.New(o.Seed); err != nil {
		return c, err
	}
	c.Cluster, err = proc.New(ctx, proc.Options{
		Binary: o.Binary, Dir: o.Dir, Nodes: o.Nodes, Set: o.Set, Env: o.Env, Site: c.site,
	})
	return c, err
}

// site makes a machine for a node.
func (c *Cluster) site(n int) (s proc.Site, err error) {
	host := netns.Host(n)
	if err := c.Net.AddHost(host); err != nil {
		return s, err
	}
	b := &box{}
	c.boxes[n] = b
	b.disk, err = disk.New(filepath.Join(c.opts.Dir, "disk"+strconv.Itoa(n)), c.opts.DiskBytes)
	if err != nil {
		return s, err
	}
	if b.group, err = limits.New("node" + strconv.Itoa(n)); err != nil {
		return s, err
	}
	return proc.Site{
		IP: c.Net.Addr(host).String(), Data: filepath.Join(b.disk.Path(), "data"),
		Enter: func() error { return errors.Join(b.group.Enter(), c.Net.Enter(host)) },
	}, nil
}

// Close mends what holds processes, kills all of them, and gives the machines up.
func (c *Cluster) Close() error {
	var errs []error
	for _, b := range c.boxes {
		if b.disk != nil {
			errs = append(errs, b.disk.Thaw())
		}
		if b.group != nil {
			errs = append(errs, b.group.Thaw())
		}
	}
	if c.Cluster != nil {
		errs = append(errs, c.Cluster.Close())
	}
	for _, b := range c.boxes {
		if b.disk != nil {
			errs = append(errs, b.disk.Close())
		}
		if b.group != nil {
			errs = append(errs, b.group.Close())
		}
	}
	if c.Net != nil {
		errs = append(errs, c.Net.Close())
	}
	return errors.Join(errs...)
}

// Nodes are the nodes that are not lost for ever.
func (c *Cluster) Nodes() (out []int) {
	for n := 1; n <= c.Len(); n++ {
		if !c.gone[n] {
			out = append(out, n)
		}
	}
	return out
}

// hosts are the machines of nodes.
func hosts(nodes []int) (out []netns.Host) {
	for _, n := range nodes {
		out = append(out, netns.Host(n))
	}
	return out
}

// others are the nodes but one.
func (c *Cluster) others(n int) (out []int) {
	for _, o := range c.Nodes() {
		if o != n {
			out = append(out, o)
		}
	}
	return out
}

// Healthy waits until all nodes that are not lost for ever are live, and all ranges have a leader and
// all their replicas.
func (c *Cluster) Healthy(ctx context.Context) error { return c.WaitHealthy(ctx, len(c.Nodes())) }

// startEnded starts the nodes that do not run and returns how they had ended.
func (c *Cluster) startEnded() (ended map[int]int, err error) {
	ended = map[int]int{}
	for _, n := range c.Nodes() {
		if c.Running(n) {
			continue
		}
		code, err := c.Process(n).Wait(time.Second) // it has ended
		if err != nil {
			return ended, err
		}
		ended[n] = code
		if err := c.Start(n); err != nil {
			return ended, err
		}
	}
	return ended, nil
}

// Node returns the directory of a node's disk, for a search.
func (c *Cluster) search(n int, pattern []byte) (int, error) {
	found, err := c.boxes[n].disk.Search(pattern)
	if err != nil {
		return 0, fmt.Errorf("search the disk of node %d: %w", n, err)
	}
	return found, nil
}
