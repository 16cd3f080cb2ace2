package tso

import (
	"errors"
	"fmt"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
)

const (
	logicalMax = 1 << proto.TimestampLogicalBits

	// DefaultWindowMs is how far the saved bound lies ahead. A new leader skips at most that much.
	DefaultWindowMs = 3000
	// DefaultForwardJumpMaxMs is how far the clock may be ahead of the saved bound: 24 hours.
	DefaultForwardJumpMaxMs = 24 * 3600 * 1000
	// CountMax is the most timestamps that one call may take: what fits into a millisecond.
	CountMax = logicalMax - 1
)

// ErrSuperseded: the incarnation is over; what it asked for does not count any more.
var ErrSuperseded = errors.New("the oracle was started or stopped again meanwhile")

// ClockAheadError refuses a start: the wall clock is so far ahead of the saved bound that it is more likely wrong than
// right. Timestamps can never go back, so a wrong year would stay for ever.
type ClockAheadError struct {
	NowMs, BoundMs, LimitMs int64
}

func (e *ClockAheadError) Error() string {
	return fmt.Sprintf("the wall clock (%d ms) is %d s ahead of the last saved timestamp bound (%d ms), the limit is "+
		"%d s: correct the clock, or, if the cluster was stopped for that long, start once with a higher limit",
		e.NowMs, (e.NowMs-e.BoundMs)/1000, e.BoundMs, e.LimitMs/1000)
}

type phase uint8

const (
	stopped phase = iota
	loading
	firstSave
	serving
)

// Save is a bound to be saved. At is a timestamp below the new bound and above all that were taken; no caller gets
// it. It is the version under which the record is written.
type Save struct {
	Generation uint64
	Term       uint64
	BoundMs    int64
	At         proto.Timestamp
}

// Core is one node's oracle as a state machine: no clock, no locks, no I/O. Steps are its methods; times are
// milliseconds since 1970. The zero value with NewCore's limits is stopped.
type Core struct {
	windowMs int64
	jumpMs   int64 // 0: no limit

	generation uint64 // grows with every Start and Stop
	term       uint64
	phase      phase
	retired    uint64 // terms up to here never start again

	// Taken so far: everything up to and including (physical, logical-1).
	physical int64
	logical  int64
	bound    int64 // I1: acknowledged
	saving   bool  // at most one save is under way
}

// NewCore returns a stopped core. jumpMs 0 accepts any clock.
func NewCore(windowMs, jumpMs int64) *Core {
	return &Core{windowMs: windowMs, jumpMs: jumpMs}
}

// Start begins an incarnation for a term of leadership. The caller loads the saved bound next and brings it to Loaded.
func (c *Core) Start(term uint64) (generation uint64, err error) {
	if term <= c.retired || (c.phase != stopped && term <= c.term) {
		return 0, fmt.Errorf("start the oracle in term %d: %w", term, ErrSuperseded)
	}
	c.generation++
	c.term, c.phase, c.saving = term, loading, false
	c.bound = 0 // physical stays: versions of saves whose outcome is unknown must not be used again
	return c.generation, nil
}

// Loaded takes the bound that was found (0: none, a new cluster) and answers with the first one to save (I2).
func (c *Core) Loaded(generation uint64, boundMs, nowMs int64) (Save, error) {
	if generation != c.generation || c.phase != loading {
		return Save{}, ErrSuperseded
	}
	if boundMs > 0 && c.jumpMs > 0 && nowMs-boundMs > c.jumpMs {
		return Save{}, &ClockAheadError{NowMs: nowMs, BoundMs: boundMs, LimitMs: c.jumpMs}
	}
	if fault.On(fault.ForgetBound) {
		boundMs = 0
	}
	c.physical, c.logical = max(nowMs, boundMs+1, c.physical+1), 1
	c.phase, c.saving = firstSave, true
	return Save{
		Generation: generation, Term: c.term,
		BoundMs: c.physical + c.windowMs, At: proto.MakeTimestamp(c.physical, 0),
	}, nil
}

// Saved takes the acknowledgement of a save. From the first one on the core serves.
func (c *Core) Saved(s Save) error {
	if s.Generation != c.generation || !c.saving {
		return ErrSuperseded
	}
	c.saving, c.phase = false, serving
	c.bound = max(c.bound, s.BoundMs)
	return nil
}

// SaveFailed takes the failure, or the unknown outcome, of a save. A serving core goes on below its old bound.
func (c *Core) SaveFailed(s Save) {
	if s.Generation == c.generation {
		c.saving = false
	}
}

// Abort ends an incarnation that could not start. It may be tried again in the same term.
func (c *Core) Abort(generation uint64) {
	if generation == c.generation && c.phase != serving {
		c.phase, c.saving = stopped, false
		c.generation++
	}
}

// Stop ends the incarnation of this term, or of an older one; a newer one is left alone. The term itself may start
// again: what was loaded then is above all that was handed out before.
func (c *Core) Stop(term uint64) {
	if term > 0 {
		c.retired = max(c.retired, term-1)
	}
	if c.phase == stopped || c.term > term {
		return
	}
	c.phase, c.saving = stopped, false
	c.generation++
}

// Serving tells for which term, in which incarnation, timestamps can be taken.
func (c *Core) Serving() (term, generation uint64, ok bool) {
	return c.term, c.generation, c.phase == serving
}

// Take takes count timestamps in a row, 1 to CountMax. ok is false when they do not fit below the bound: a save has to
// come first, and nothing was taken.
func (c *Core) Take(count uint32, nowMs int64) (first proto.Timestamp, ok bool) {
	if c.phase != serving || count == 0 || count > CountMax {
		return 0, false
	}
	physical, logical := c.next(int64(count), nowMs)
	// The last millisecond below the bound is kept for the versions of saves.
	if physical >= c.bound-1 {
		fault.Reached("oracle-save-late")
		return 0, false
	}
	c.physical, c.logical = physical, logical+int64(count)
	return proto.MakeTimestamp(physical, logical), true
}

// next is where count timestamps in a row go. The clock is followed while it is ahead and the bound permits; when
// saves are late, or the clock is out of its mind, the milliseconds below the bound are used up one by one (I3).
func (c *Core) next(count, nowMs int64) (physical, logical int64) {
	physical, logical = c.physical, c.logical
	fault.Sometimes("oracle-clock-behind", nowMs < physical)
	if (nowMs > physical || fault.On(fault.FollowClock)) && nowMs < c.bound-1 {
		return nowMs, 0
	}
	if logical+count > logicalMax {
		return physical + 1, 0
	}
	return physical, logical
}

// Extend answers the next save, when one is due: less than half of the window is left, and none is under way.
func (c *Core) Extend(nowMs int64) (Save, bool) {
	if c.phase != serving || c.saving {
		return Save{}, false
	}
	base := c.physical
	if c.ClockUsable(nowMs) {
		base = max(base, nowMs)
	}
	if c.bound-base > c.windowMs/2 {
		return Save{}, false
	}
	// The version of a save may lie at or above the old bound: only callers' timestamps must not (I1).
	physical, logical := c.next(1, nowMs)
	c.physical, c.logical, c.saving = physical, logical+1, true
	return Save{
		Generation: c.generation, Term: c.term,
		BoundMs: max(base+c.windowMs, physical+2), At: proto.MakeTimestamp(physical, logical),
	}, true
}

// ClockUsable tells whether the clock is within the limit of the bound. One that is not is ignored: timestamps go on
// from where they were.
func (c *Core) ClockUsable(nowMs int64) bool {
	return c.jumpMs == 0 || nowMs-c.bound <= c.jumpMs
}
