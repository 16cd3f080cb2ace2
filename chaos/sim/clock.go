package sim

// epochMS is the true time, in milliseconds since 1970, at which a run begins: 2026-01-01.
const epochMS = int64(1_767_225_600_000)

// clock is what a machine believes the time to be: true time at a rate of its own, and off by an amount that jumps.
// The rate drives its ticks too; a jump does not, since ticks come from a clock that only goes forward.
type clock struct {
	k       *kernel
	rate    float64 // seconds that it counts in a second
	started int64   // when the rate began to count
	offset  int64   // ns; jumps change it
}

// newClock returns a clock that is right.
func newClock(k *kernel) clock { return clock{k: k, rate: 1} }

// wall is the time on this clock, in nanoseconds since 1970.
func (c *clock) wall() int64 {
	return epochMS*ms + c.started + int64(float64(c.k.now-c.started)*c.rate) + c.offset
}

// wallMs is the time on the store's clock in milliseconds since 1970.
func (s *store) wallMs() int64 { return s.clock.wall() / ms }

// setRate changes how fast the clock goes from now on, without a jump.
func (c *clock) setRate(rate float64) {
	c.offset += int64(float64(c.k.now-c.started)*c.rate) - (c.k.now - c.started)
	c.started, c.rate = c.k.now, rate
}

// jump moves the clock by d, at once. It is how people and badly run time services set clocks.
func (c *clock) jump(d int64) { c.offset += d }

// interval is how long something takes in true time that takes d on this clock.
func (c *clock) interval(d int64) int64 { return int64(float64(d) / c.rate) }
