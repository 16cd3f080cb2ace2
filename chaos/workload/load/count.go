package load

import (
	"fmt"
	"time"

	"github.com/vipkv/vipkv/chaos/history"
)

// Counts of a history.
type Counts struct {
	OK, Unknown, Failed int
	Acked               int // writes and appends that were acknowledged
	Longest             time.Duration
}

// Count counts the operations that returned between two moments of the history's clock; to == 0: to the end.
func Count(ops []history.Op, from, to int64) (c Counts) {
	for i := range ops {
		o := &ops[i]
		if o.Return < from || to != 0 && o.Return > to {
			continue
		}
		c.Longest = max(c.Longest, time.Duration(o.Return-o.Invoke))
		switch o.Type {
		case history.OK:
			c.OK++
			if o.Writes() {
				c.Acked++
			}
		case history.Info:
			c.Unknown++
		case history.Fail:
			c.Failed++
		}
	}
	return c
}

func (c Counts) String() string {
	return fmt.Sprintf("%d ok (%d acknowledged writes), %d unknown, %d failed, longest %v",
		c.OK, c.Acked, c.Unknown, c.Failed, c.Longest.Round(time.Millisecond))
}
