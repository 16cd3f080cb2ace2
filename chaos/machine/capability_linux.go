package machine

import (
	"fmt"
	"io"

	"github.com/vipkv/vipkv/chaos/disk"
	"github.com/vipkv/vipkv/chaos/limits"
	"github.com/vipkv/vipkv/chaos/netns"
	"github.com/vipkv/vipkv/chaos/sandbox"
)

// Capability is something that a run does to machines.
type Capability struct {
	Name string
	Err  error  // why this machine can not do it; nil: it can
	Not  string // why it is done on no machine by this package; "" when it is
}

// Capabilities tries what this machine can do. All that have no reason in Not are needed.
func Capabilities() []Capability {
	row := func(name string, probe func() error) Capability {
		err := sandbox.Missing()
		if err == nil {
			err = probe()
		}
		return Capability{Name: name, Err: err}
	}
	return []Capability{
		row("namespaces of its own", sandbox.Missing),
		row("networks: namespaces, TUN devices", netns.Probe),
		row("disks: loop devices, ext4 shutdown, freezing", disk.Probe),
		row("limits: control groups cpu, memory, blkio, freezer", limits.Probe),
		{Name: "clock of one process", Not: "time namespaces shift no wall clock, and the " +
			"product reads it without the C library: the simulator does it"},
		{Name: "one failing operation of the disk", Not: "there is no device mapper everywhere: " +
			"the build with fault points does it (TestDiskFails)"},
		{Name: "flipped bits in packets", Not: "TCP's checksum drops them, so it is loss"},
	}
}

// Probe is the first error among the capabilities.
func Probe() error {
	for _, c := range Capabilities() {
		if c.Err != nil {
			return fmt.Errorf("%s: %w", c.Name, c.Err)
		}
	}
	return nil
}

// WriteCapabilities prints what can be done, and what is not done and why.
func WriteCapabilities(w io.Writer) {
	for _, c := range Capabilities() {
		switch {
		case c.Not != "":
			fmt.Fprintf(w, "not done  %s: %s\n", c.Name, c.Not)
		case c.Err != nil:
			fmt.Fprintf(w, "CAN NOT   %s: %v\n", c.Name, c.Err)
		default:
			fmt.Fprintf(w, "can       %s\n", c.Name)
		}
	}
}
