package load

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/workload"
)

// worker is one client of a workload.
type worker struct {
	load   *Load
	of     workload.Workload
	place  int
	r      *rand.Rand
	period time.Duration // of an open loop; 0: closed
}

func (c *worker) run(ctx context.Context) {
	number := c.load.newClient()
	due := time.Now().Add(c.first())
	for pause(ctx, time.Until(due)) == nil {
		op := c.load.draw(c.of, c.r, c.place)
		op.Client = number
		c.load.carryOut(context.Background(), c.of, &op)
		if op.Type == history.Info {
			number = c.load.newClient()
		}
		due = c.next(due)
	}
}

// first spreads the clients.
func (c *worker) first() time.Duration {
	if c.period > 0 {
		return time.Duration(c.r.Int64N(int64(c.period)))
	}
	return time.Duration(c.r.Int64N(int64(c.load.cfg.Pace)))
}

func (c *worker) next(due time.Time) time.Time {
	now := time.Now()
	if c.period > 0 {
		if due = due.Add(c.period); now.Sub(due) > lateMax {
			due = now.Add(-lateMax)
		}
		return due
	}
	pace := c.load.cfg.Pace
	return now.Add(pace/2 + time.Duration(c.r.Int64N(int64(pace))))
}
