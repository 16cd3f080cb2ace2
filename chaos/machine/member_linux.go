package machine

import (
	"context"
	"fmt"
	"time"

	"github.com/vipkv/vipkv/chaos/proc"
)

// replaceWithin is for all replicas of a lost node to be made anew, after the silence that makes it
// lost (tunable lost-after).
const replaceWithin = 2 * time.Minute

func memberFaults() []Fault {
	return []Fault{
		{Name: "wipe", Text: "a node is lost with its disk, and a new one takes its place",
			Minority: true, Ends: true, Once: true, aim: anyone, hurt: wipe},
		{Name: "add-node", Text: "a node joins while packets are lost, doubled and late",
			Minority: true, Once: true, aim: everyone, hurt: addNode},
	}
}

// wipe ends the node for ever and adds another at once.
func wipe(ctx context.Context, h *hurt) error {
	lost := h.node()
	if err := h.c.Kill(lost); err != nil {
		return err
	}
	h.c.gone[lost] = true
	if err := h.c.boxes[lost].disk.Replace(); err != nil {
		return err
	}
	fresh, err := h.c.AddNode(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	h.mend = func(ctx context.Context) (bool, string, error) {
		err := h.c.WaitReplaced(ctx, lost, replaceWithin)
		took := time.Since(began).Round(time.Second)
		return err == nil, fmt.Sprintf("no range counts on node %d, whose disk is empty, %v after node "+
			"%d joined", lost, took, fresh), err
	}
	return nil
}

func addNode(ctx context.Context, h *hurt) error {
	net := h.c.Net
	before := net.Total(nil)
	net.SetAll(badLink(h.r))
	fresh, err := h.c.AddNode(ctx)
	if err != nil {
		net.Mend()
		return err
	}
	net.SetAll(badLink(h.r)) // its links, too
	h.mend = func(ctx context.Context) (bool, string, error) {
		n := net.Total(nil).Minus(before)
		err := h.c.waitReplicas(ctx, fresh)
		net.Mend()
		evidence := fmt.Sprintf("node %d holds replicas; %d packets were lost meanwhile", fresh, n.Lost)
		return err == nil && n.Lost > 0, evidence, err
	}
	return nil
}

// waitReplicas waits until a node has been given replicas.
func (c *Cluster) waitReplicas(ctx context.Context, node int) error {
	what := fmt.Sprintf("node %d is given replicas", node)
	return proc.WaitFor(ctx, replaceWithin, what, func() (string, error) {
		ranges, err := c.Ranges(ctx)
		if err != nil {
			return err.Error(), nil
		}
		for _, r := range ranges {
			for _, p := range r.Replicas {
				if p.StoreId == uint64(node) {
					return "", nil
				}
			}
		}
		return fmt.Sprintf("none of %d ranges", len(ranges)), nil
	})
}
