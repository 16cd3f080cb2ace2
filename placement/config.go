package placement

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/vipkv/vipkv/placement/schedule"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/wait"
)

// KV is a record of the system range: a plain key of tenant 0 and its value.
type KV struct {
	Key, Value []byte
}

// State is the driver's part of the system range. Both calls are fenced by the term: they fail, without effect, when
// this node does not lead the system range in that term.
type State interface {
	// Load returns all records whose key begins with prefix, sorted by key. It sees every save that was acknowledged, in
	// this term or an earlier one.
	Load(ctx context.Context, term uint64, prefix string) ([]KV, error)
	// Save writes and deletes records in one atomic step. After an error the outcome is open, but a save that failed
	// never takes effect after a later one was acknowledged.
	Save(ctx context.Context, term uint64, puts []KV, deletes [][]byte) error
}

// Config of a Driver.
type Config struct {
	// NodeID and ClusterID are this node's; they are shown, not used.
	NodeID    proto.NodeID
	ClusterID []byte
	// Tick is how often decisions are made: 200 ms by default.
	Tick time.Duration
	// FlushEvery is how often changed records are saved: 200 ms by default. A new driver learns what was not saved from
	// heartbeats, so longer costs only routing right after a failover.
	FlushEvery time.Duration
	// FlushMax is how many records one save may hold: 256 by default.
	FlushMax int
	// SaveTimeout bounds a flush: 5 s by default.
	SaveTimeout time.Duration
	// UnreachableAfter without a heartbeat a store takes no replicas: 5 s by default.
	UnreachableAfter time.Duration
	// LostAfter without a heartbeat a store's replicas are replaced: 60 s by default. Shorter copies data for every
	// long restart, longer leaves ranges with less redundancy.
	LostAfter time.Duration
	// IDBlock is how many ids are saved ahead: 1000 by default. As many are lost at a failover.
	IDBlock uint64
	// LocalityLevels names the keys of a node's locality, the outermost first: region, zone, rack, host by default.
	LocalityLevels []string
	// Schedule configures decisions.
	Schedule schedule.Config
	// NowMs is a clock in milliseconds that only has to run evenly; its zero does not matter.
	NowMs func() int64
	// Logger gets the events: who was moved where, and why. Nil: none.
	Logger *slog.Logger
	// Wait is how its loops and its writers wait. Default wait.Real.
	Wait wait.Scheduler
}

// DefaultConfig has every field but NodeID, ClusterID and NowMs.
func DefaultConfig() Config {
	return Config{
		Tick: 200 * time.Millisecond, FlushEvery: 200 * time.Millisecond,
		FlushMax: 256, SaveTimeout: 5 * time.Second,
		UnreachableAfter: 5 * time.Second, LostAfter: time.Minute, IDBlock: 1000,
		LocalityLevels: []string{"region", "zone", "rack", "host"},
		Schedule:       schedule.DefaultConfig(),
	}
}

// Validate checks the config.
func (c Config) Validate() error {
	switch {
	case c.Tick <= 0 || c.FlushEvery <= 0 || c.SaveTimeout <= 0:
		return fmt.Errorf("placement: intervals must be positive")
	case c.FlushMax < 1 || c.IDBlock < 1:
		return fmt.Errorf("placement: flush size and id block must be positive")
	case c.UnreachableAfter < 2*c.Tick || c.LostAfter < c.UnreachableAfter:
		return fmt.Errorf("placement: a store is unreachable after two ticks at the earliest, lost later: %v, %v",
			c.UnreachableAfter, c.LostAfter)
	case c.NowMs == nil:
		return fmt.Errorf("placement: a clock is needed")
	}
	return c.Schedule.Validate()
}
