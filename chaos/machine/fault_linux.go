package machine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/proc"
)

// Fault is one way to break machines.
type Fault struct {
	Name string // of the vocabulary of all rungs
	Text string // one sentence
	// Minority tells that a majority of each range's replicas goes on, so writes must, too.
	Minority bool
	// Once tells that a long run does it only at its end, since it makes the cluster another one.
	Once bool
	// Ends tells that a node's process may end by it; elsewhere that is an error.
	Ends bool
	aim  func(ctx context.Context, c *Cluster, r *rand.Rand) ([]int, error)
	hurt func(ctx context.Context, h *hurt) error
}

// hurt is one injection in the making: what a fault's function fills in.
type hurt struct {
	c     *Cluster
	nodes []int
	r     *rand.Rand
	// mend ends the fault. Before, or by it, it says whether the fault was seen, and by what.
	mend func(ctx context.Context) (bit bool, evidence string, err error)
}

// node is the only node that is hurt.
func (h *hurt) node() int { return h.nodes[0] }

func (h *hurt) box() *box { return h.c.boxes[h.node()] }

// Injection is a fault while it lasts.
type Injection struct {
	fault Fault
	hurt  *hurt
	done  history.Fault
}

// Aim picks the nodes that a fault is to hit.
func (c *Cluster) Aim(ctx context.Context, f Fault, r *rand.Rand) ([]int, error) {
	nodes, err := f.aim(ctx, c, r)
	if err != nil {
		return nil, fmt.Errorf("aim %s: %w", f.Name, err)
	}
	return nodes, nil
}

// Inject breaks nodes. Mend must be called, also after ctx has ended.
func (c *Cluster) Inject(ctx context.Context, f Fault, nodes []int, r *rand.Rand) (
	*Injection, error) {
	i := &Injection{fault: f, hurt: &hurt{c: c, nodes: nodes, r: r}}
	i.done.Name = f.Name
	var names []string
	for _, n := range nodes {
		i.done.Nodes = append(i.done.Nodes, uint64(n))
		names = append(names, fmt.Sprint(n))
	}
	if i.done.Target = "node " + strings.Join(names, ", "); len(nodes) == len(c.Nodes()) {
		i.done.Target = "all"
	}
	if err := f.hurt(ctx, i.hurt); err != nil {
		return nil, fmt.Errorf("inject %s into %s: %w", f.Name, i.done.Target, err)
	}
	return i, nil
}

// Mend ends the fault and says whether it bit. It starts the nodes that the fault has ended; a node that
// ended without leave is an error. Times are the caller's to fill in.
func (i *Injection) Mend(ctx context.Context) (history.Fault, error) {
	var err error
	i.done.Bit, i.done.Evidence, err = i.hurt.mend(ctx)
	if err != nil {
		return i.done, fmt.Errorf("mend %s of %s: %w", i.done.Name, i.done.Target, err)
	}
	ended, err := i.hurt.c.startEnded()
	for n, code := range ended {
		if !i.fault.Ends {
			err = errors.Join(err, fmt.Errorf("%s of %s: node %d ended with code %d",
				i.done.Name, i.done.Target, n, code))
		}
	}
	return i.done, err
}

// Target says what is hit, for people.
func (i *Injection) Target() string { return i.done.Target }

// anyone is a random node.
func anyone(_ context.Context, c *Cluster, r *rand.Rand) ([]int, error) {
	nodes := c.Nodes()
	return nodes[r.IntN(len(nodes)):][:1], nil
}

// everyone is all nodes.
func everyone(_ context.Context, c *Cluster, _ *rand.Rand) ([]int, error) { return c.Nodes(), nil }

// leader is the node that leads most ranges.
func leader(ctx context.Context, c *Cluster, _ *rand.Rand) ([]int, error) {
	ranges, err := c.Ranges(ctx)
	if err != nil {
		return nil, err
	}
	n := proc.MostLeaders(ranges)
	if n == 0 {
		return nil, errors.New("no range has a leader")
	}
	return []int{n}, nil
}

// Faults are all that can be done to machines.
func Faults() []Fault {
	var all []Fault
	for _, some := range [][]Fault{
		processFaults(), netFaults(), diskFaults(), limitFaults(), memberFaults(),
	} {
		all = append(all, some...)
	}
	return all
}

// FaultNamed finds a fault by its name.
func FaultNamed(name string) (Fault, error) {
	for _, f := range Faults() {
		if f.Name == name {
			return f, nil
		}
	}
	return Fault{}, fmt.Errorf("no fault %q", name)
}
