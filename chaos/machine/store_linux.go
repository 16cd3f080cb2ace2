package machine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vipkv/vipkv/chaos/sandbox"
	"github.com/vipkv/vipkv/kv/client"
)

const (
	stallMax       = 2 * time.Minute // after which a frozen disk thaws whatever becomes of us
	slowWrites     = 5               // a second
	slowAtLeast    = 100 * time.Millisecond
	exitDiskFull   = 10 // the product's exit code
	fullWithin     = time.Minute
	fillWriters    = 4
	fillBytes      = 512 << 10 // a value
	latencyName    = "vkchaos-latency"
	latencySamples = 3
)

func diskFaults() []Fault {
	return []Fault{
		// Not of a minority: the node goes on leading, and its ranges wait (docs/recovery.md).
		{Name: "disk-stall", Text: "all writes of the node that leads most ranges block",
			aim: leader, hurt: stall},
		{Name: "disk-slow", Text: "the node that leads most ranges can make few writes a second",
			Minority: true, aim: leader, hurt: slow},
		{Name: "disk-full", Text: "the disk of a node is full, and emptied when its process has ended",
			Minority: true, Ends: true, aim: leader, hurt: full},
	}
}

func stall(_ context.Context, h *hurt) error {
	d, p := h.box().disk, h.c.Process(h.node())
	if err := d.Freeze(stallMax); err != nil {
		return err
	}
	h.mend = func(context.Context) (bool, string, error) {
		states, err := threadStates(p.PID())
		if err != nil {
			return false, "", err
		}
		blocked := strings.Count(states, "D")
		return blocked > 0 || !p.Running(),
			fmt.Sprintf("%d of %d threads waited for the disk", blocked, len(states)), d.Thaw()
	}
	return nil
}

// latency is how long one synced write takes on a node's disk, within the node's limits: the shortest of
// a few.
func (h *hurt) latency() (shortest time.Duration, err error) {
	b := h.box()
	err = sandbox.InThread(func() error {
		if err := b.group.Enter(); err != nil {
			return err
		}
		file := filepath.Join(b.disk.Path(), latencyName)
		f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|unix.O_DSYNC, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		for i := range latencySamples {
			began := time.Now()
			if _, err := f.WriteAt(make([]byte, 4096), 0); err != nil {
				return err
			}
			if took := time.Since(began); i == 0 || took < shortest {
				shortest = took
			}
		}
		return nil
	})
	return shortest, err
}

func slow(_ context.Context, h *hurt) error {
	device, err := h.box().disk.Device()
	if err != nil {
		return err
	}
	before, err := h.latency()
	if err != nil {
		return err
	}
	if err := h.box().group.SlowWrites(device, slowWrites); err != nil {
		return err
	}
	h.mend = func(context.Context) (bool, string, error) {
		during, err := h.latency()
		if err != nil {
			return false, "", err
		}
		return during > slowAtLeast && during > 2*before,
			fmt.Sprintf("a synced write took %v, %v before", during.Round(time.Millisecond),
				before.Round(time.Millisecond)), h.box().group.SlowWrites(device, 0)
	}
	return nil
}

// full fills the disk, and then writes: a store has room left in the files that it has allocated.
func full(ctx context.Context, h *hurt) error {
	d, p := h.box().disk, h.c.Process(h.node())
	cl, err := h.c.Tenant(ctx, "filler")
	if err != nil {
		return err
	}
	if err := d.Fill(0); err != nil {
		return err
	}
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var writers sync.WaitGroup
	for i := range fillWriters {
		writers.Go(func() {
			key, value := fmt.Appendf(nil, "filler-%d", i), make([]byte, fillBytes)
			for writing.Err() == nil && p.Running() {
				// What becomes of it does not matter.
				_, _ = cl.Put(writing, key, value, client.PutOptions{})
			}
		})
	}
	h.mend = func(context.Context) (bool, string, error) {
		code, err := p.Wait(fullWithin)
		stop()
		writers.Wait()
		if err != nil {
			return false, "it did not end: " + err.Error(), d.Empty()
		}
		return code == exitDiskFull, fmt.Sprintf("it ended with code %d", code), d.Empty()
	}
	return nil
}
