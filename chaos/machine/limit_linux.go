package machine

import (
	"context"
	"fmt"
)

const (
	starvedShare = 0.05    // of one processor
	memorySlack  = 2 << 20 // above what is in use
)

func limitFaults() []Fault {
	return []Fault{
		{Name: "cpu", Text: "the node that leads most ranges has little processor time",
			Minority: true, aim: leader, hurt: starve},
		{Name: "memory", Text: "a node has hardly more memory than it uses, and may be killed for it",
			Minority: true, Ends: true, aim: anyone, hurt: squeeze},
	}
}

func starve(_ context.Context, h *hurt) error {
	g := h.box().group
	before, err := g.Throttled()
	if err != nil {
		return err
	}
	if err := g.LimitCPU(starvedShare); err != nil {
		return err
	}
	h.mend = func(context.Context) (bool, string, error) {
		after, err := g.Throttled()
		if err != nil {
			return false, "", err
		}
		return after > before, fmt.Sprintf("it had to wait for its share %d times", after-before),
			g.LimitCPU(0)
	}
	return nil
}

func squeeze(_ context.Context, h *hurt) error {
	g, p := h.box().group, h.c.Process(h.node())
	used, err := g.Anonymous()
	if err != nil {
		return err
	}
	_, before, err := g.Memory()
	if err != nil {
		return err
	}
	if err := g.LimitMemory(used + memorySlack); err != nil {
		return err
	}
	h.mend = func(context.Context) (bool, string, error) {
		_, after, err := g.Memory()
		if err != nil {
			return false, "", err
		}
		evidence := fmt.Sprintf("it ran against its limit of %d MiB %d times", (used+memorySlack)>>20,
			after-before)
		if !p.Running() {
			evidence += ", and was killed for it"
		}
		return after > before, evidence, g.LimitMemory(0)
	}
	return nil
}
