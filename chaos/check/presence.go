package check

import (
	"cmp"
	"math"
	"slices"
	"sort"

	"github.com/vipkv/vipkv/chaos/history"
)

// NewPresence checks values that live for a while. A value is not gone before its time nor there after it, is not one
// that was replaced. Time is that of the store's timestamps, so clocks may jump: the moment of a
// read lies between the timestamps of operations that ended before it and of those that began after it. Where the
// history has no timestamps nothing is said about time.
//
// Anomalies: gone-too-early, there-too-long, replaced-value, phantom-value, refused-value.
func NewPresence() Checker {
	return checker{"presence", func(ops []history.Op, f *findings) {
		keys := group(ops, f, history.Touch, history.Peek)
		if len(keys) == 0 {
			return
		}
		c := clockOf(ops)
		for _, name := range sorted(keys) {
			checkPresence(name, keys[name], c, f)
		}
	}}
}

// logicalBits of a timestamp count within a millisecond.
const logicalBits = 18

func checkPresence(name space, ops []*history.Op, c *storeClock, f *findings) {
	byValue := map[string]*history.Op{}
	var acked []*history.Op // in the order of their versions
	for _, o := range ops {
		if o.Kind != history.Touch {
			continue
		}
		byValue[o.Arg] = o
		if o.Type == history.OK && o.Version != 0 {
			acked = append(acked, o)
		}
	}
	slices.SortStableFunc(acked, func(a, b *history.Op) int {
		return cmp.Compare(a.Version, b.Version)
	})
	for _, o := range ops {
		if o.Kind == history.Peek && o.Type == history.OK {
			p := peek{o, byValue[o.Result], lastAcknowledged(acked, o.Invoke)}
			p.check(name, c, f)
		}
	}
}

// lastAcknowledged is the newest value of those that were acknowledged before a moment.
func lastAcknowledged(acked []*history.Op, t int64) *history.Op {
	for i := len(acked) - 1; i >= 0; i-- {
		if acked[i].Return < t {
			return acked[i]
		}
	}
	return nil
}

// peek is a read, who wrote what it saw, and the newest of what it must see unless that has expired.
type peek struct{ read, writer, newest *history.Op }

func (p *peek) check(name space, c *storeClock, f *findings) {
	o, writer, newest := p.read, p.writer, p.newest
	if o.Result == "" {
		if newest != nil && c.latest(o) < expiry(newest) {
			f.found("gone-too-early", because(newest, o),
				"%s: a value is gone %d ms before its time", name, expiry(newest)-c.latest(o))
		}
		return
	}
	switch {
	case writer == nil || writer.Invoke > o.Return:
		f.found("phantom-value", because(o), "%s: nobody wrote what is there", name)
	case writer.Type == history.Fail:
		f.found("refused-value", because(writer, o), "%s: what is there was refused", name)
	case writer.Version == 0:
	case newest != nil && writer.Version < newest.Version:
		f.found("replaced-value", because(writer, newest, o), "%s: what is there was replaced", name)
	case c.earliest(o) >= expiry(writer):
		f.found("there-too-long", because(writer, o),
			"%s: a value is there %d ms after its time", name, c.earliest(o)-expiry(writer))
	}
}

// expiry is the millisecond from which on a value is gone.
func expiry(touch *history.Op) int64 { return int64(touch.Version>>logicalBits) + touch.TTLMs }

// storeClock knows the store's time by the timestamps that it gave out.
type storeClock struct {
	ended peaks // timestamps, by the time at which their operations had ended
	begun []outlook
}

// outlook is the least timestamp of all operations that began at a moment or later.
type outlook struct {
	at    int64
	least uint64
}

func clockOf(ops []history.Op) *storeClock {
	c := &storeClock{}
	for i := range ops {
		o := &ops[i]
		at := o.At
		if at == 0 && o.Writes() && o.Kind != history.Append { // a record sent again has an old one
			at = o.Version
		}
		if o.Type != history.OK || at == 0 {
			continue
		}
		c.ended.add(o.Return, at, o)
		c.begun = append(c.begun, outlook{o.Invoke, at})
	}
	c.ended.sort()
	slices.SortStableFunc(c.begun, func(a, b outlook) int { return int(a.at - b.at) })
	for i := len(c.begun) - 2; i >= 0; i-- {
		c.begun[i].least = min(c.begun[i].least, c.begun[i+1].least)
	}
	return c
}

// earliest and latest bound the millisecond at which a read took place.
func (c *storeClock) earliest(o *history.Op) int64 {
	ts, _ := c.ended.before(o.Invoke)
	return int64(ts >> logicalBits)
}

func (c *storeClock) latest(o *history.Op) int64 {
	i := sort.Search(len(c.begun), func(i int) bool { return c.begun[i].at > o.Return })
	if i == len(c.begun) {
		return math.MaxInt64
	}
	return int64(c.begun[i].least >> logicalBits)
}
