package machine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
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
	fillTenant     = "filler"
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
			Minority: true, Ends: true, aim: filled, hurt: full},
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

// fillKey is a key that a writer fills a disk with.
func fillKey(writer int) []byte { return fmt.Appendf(nil, "filler-%d", writer) }

// filled is the node whose disk the writers of full write to: the one that leads their range.
func filled(ctx context.Context, c *Cluster, _ *rand.Rand) ([]int, error) {
	if _, err := c.Tenant(ctx, fillTenant); err != nil {
		return nil, err
	}
	n, err := c.LeaderOf(ctx, fillTenant, fillKey(0))
	return []int{n}, err
}

// full fills the disk, and then writes: a store has room left in the files that it has allocated. The
// values are random, for a store compresses.
func full(ctx context.Context, h *hurt) error {
	d, p := h.box().disk, h.c.Process(h.node())
	cl, err := h.c.Tenant(ctx, fillTenant)
	if err != nil {
		return err
	}
	if err := d.Fill(0); err != nil {
		return err
	}
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var writers sync.WaitGroup
	var written atomic.Int64
	for i := range fillWriters {
		source := rand.NewChaCha8([32]byte{byte(i), byte(h.r.Uint32())})
		writers.Go(func() {
			value := make([]byte, fillBytes)
			for writing.Err() == nil && p.Running() {
				_, _ = source.Read(value) // it does not fail
				if _, err := cl.Put(writing, fillKey(i), value, client.PutOptions{}); err == nil {
					written.Add(1)
				}
			}
		})
	}
	h.mend = func(context.Context) (bool, string, error) {
		code, err := p.Wait(fullWithin)
		stop()
		writers.Wait()
		said := fmt.Sprintf("%d values of %d bytes written", written.Load(), fillBytes)
		if err != nil {
			return false, "it did not end, " + said + ": " + err.Error(), d.Empty()
		}
		return code == exitDiskFull, fmt.Sprintf("it ended with code %d, %s", code, said), d.Empty()
	}
	return nil
}
