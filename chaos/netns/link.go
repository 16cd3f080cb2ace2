package netns

import "time"

// Host is a machine on the network; nodes count from 1.
type Host int

// Clients is the host that this program itself is on.
const Clients Host = 250

// Link is what happens to packets from one host to another. The zero Link passes all at once.
type Link struct {
	// Cut drops everything, silently.
	Cut bool
	// Loss and Duplicate are probabilities for one packet.
	Loss, Duplicate float64
	// Delay is added to each packet, and a random part of Jitter more, which reorders packets.
	Delay, Jitter time.Duration
}

// Counters of one direction of one pair.
type Counters struct {
	Passed     uint64 // handed on, at once or later; each copy counts
	Bytes      uint64 // of what was handed on
	Cut        uint64 // dropped because the link was cut
	Lost       uint64 // dropped by Loss
	Duplicated uint64
	Delayed    uint64
	Overflow   uint64 // dropped because too much was delayed already
	Matched    uint64 // packets that held what Watch looks for
}

func (c *Counters) add(o Counters) {
	c.Passed += o.Passed
	c.Bytes += o.Bytes
	c.Cut += o.Cut
	c.Lost += o.Lost
	c.Duplicated += o.Duplicated
	c.Delayed += o.Delayed
	c.Overflow += o.Overflow
	c.Matched += o.Matched
}

// Minus is what was counted since before.
func (c Counters) Minus(before Counters) Counters {
	return Counters{
		Passed: c.Passed - before.Passed, Bytes: c.Bytes - before.Bytes, Cut: c.Cut - before.Cut,
		Lost: c.Lost - before.Lost, Duplicated: c.Duplicated - before.Duplicated,
		Delayed: c.Delayed - before.Delayed, Overflow: c.Overflow - before.Overflow,
		Matched: c.Matched - before.Matched,
	}
}

// pair is one direction.
type pair struct{ from, to Host }
