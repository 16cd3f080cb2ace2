package limits

import (
	"fmt"
	"strconv"
)

// LimitCPU lets the group use so much of one processor, 0.1 for a tenth; 0 lifts the limit.
func (g *Group) LimitCPU(share float64) error {
	quota := unlimited
	if share > 0 {
		quota = strconv.Itoa(int(share * period))
		if err := g.write("cpu", "cpu.cfs_period_us", strconv.Itoa(period)); err != nil {
			return err
		}
	}
	return g.write("cpu", "cpu.cfs_quota_us", quota)
}

// Throttled is how many periods of a tenth of a second the group had to wait in for its share.
func (g *Group) Throttled() (uint64, error) { return g.field("cpu", "cpu.stat", "nr_throttled") }

// LimitMemory bounds the group's memory, page cache included; 0 lifts the limit. The kernel first takes
// back what it can, and fails when the group uses more still.
func (g *Group) LimitMemory(bytes uint64) error {
	limit := unlimited
	if bytes > 0 {
		limit = strconv.FormatUint(bytes, 10)
	}
	return g.write("memory", "memory.limit_in_bytes", limit)
}

// Memory is what the group uses, and how often it ran against its limit.
func (g *Group) Memory() (used, refused uint64, err error) {
	text, err := g.read("memory", "memory.usage_in_bytes")
	if err != nil {
		return 0, 0, err
	}
	if used, err = strconv.ParseUint(text, 10, 64); err != nil {
		return 0, 0, err
	}
	if text, err = g.read("memory", "memory.failcnt"); err != nil {
		return 0, 0, err
	}
	refused, err = strconv.ParseUint(text, 10, 64)
	return used, refused, err
}

// Anonymous is the memory of the group that is no page cache, in bytes.
func (g *Group) Anonymous() (uint64, error) { return g.field("memory", "memory.stat", "rss") }

// SlowWrites lets the group make so many writes a second to a device (major:minor); 0 lifts the limit.
func (g *Group) SlowWrites(device string, perSecond int) error {
	limit := fmt.Sprintf("%s %d", device, perSecond)
	return g.write("blkio", "blkio.throttle.write_iops_device", limit)
}

// Freeze stops all threads of the group; Thaw lets them go on. Frozen tells whether all have stopped.
func (g *Group) Freeze() error { return g.write("freezer", "freezer.state", "FROZEN") }

// Thaw lets a frozen group go on.
func (g *Group) Thaw() error { return g.write("freezer", "freezer.state", "THAWED") }

// Frozen tells whether all threads of the group have stopped.
func (g *Group) Frozen() (bool, error) {
	text, err := g.read("freezer", "freezer.state")
	return text == "FROZEN", err
}
