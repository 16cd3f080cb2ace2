package schedule

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// StoreState is what the driver believes of a store.
type StoreState uint8

// The states of a store. The zero value is the most careful one.
const (
	// Unreachable: no heartbeat lately. Nothing new is placed on it, nothing is taken from it.
	Unreachable StoreState = iota
	// Live: it answers.
	Live
	// Lost: silent for so long, or declared dead, that its replicas are replaced.
	Lost
)

func (s StoreState) String() string {
	switch s {
	case Live:
		return "live"
	case Lost:
		return "lost"
	default:
		return "unreachable"
	}
}

// Store is one store as the driver knows it.
type Store struct {
	ID       proto.StoreID
	State    StoreState
	Draining bool     // gives its leaders away and takes nothing
	Locality []string // values from the outermost level in: region, zone, rack, host; all stores the same levels

	CapacityBytes, AvailableBytes uint64 // capacity 0: not known
}

// Range is one range as its leader reported it. The planner keeps no reference to it between calls.
type Range struct {
	Desc     *internalpb.Descriptor // never nil, never changed in place
	Reported bool                   // a leader reported it since the driver took office
	Leader   proto.StoreID          // 0: not known
	Term     uint64
	Applied  uint64
	Bytes    uint64
	Progress []*internalpb.ReplicaProgress
}

// ID is the range's id.
func (r *Range) ID() proto.RangeID { return proto.RangeID(r.Desc.GetRangeId()) }

// Cluster is everything that decisions are made from.
type Cluster struct {
	Stores []Store  // sorted by id
	Ranges []*Range // sorted by id
}

func (c *Cluster) byID(id proto.RangeID) *Range {
	i, ok := slices.BinarySearchFunc(c.Ranges, id, func(r *Range, id proto.RangeID) int {
		return cmp.Compare(r.ID(), id)
	})
	if !ok {
		return nil
	}
	return c.Ranges[i]
}

func (r *Range) replicaOn(store proto.StoreID) *internalpb.Replica {
	for _, rep := range r.Desc.GetReplicas() {
		if proto.StoreID(rep.GetStoreId()) == store {
			return rep
		}
	}
	return nil
}

func (r *Range) replica(id uint64) *internalpb.Replica {
	for _, rep := range r.Desc.GetReplicas() {
		if rep.GetReplicaId() == id {
			return rep
		}
	}
	return nil
}

func (r *Range) joint() bool {
	for _, rep := range r.Desc.GetReplicas() {
		switch rep.GetRole() {
		case internalpb.ReplicaRole_VOTER_INCOMING, internalpb.ReplicaRole_VOTER_OUTGOING:
			return true
		}
	}
	return false
}

// caughtUp tells whether a replica is active and at most lag entries behind the leader (I2).
func (r *Range) caughtUp(id uint64, lag uint64) bool {
	for _, p := range r.Progress {
		if p.GetReplicaId() == id {
			return p.GetRecentlyActive() && !p.GetInSnapshot() && p.GetMatch()+lag >= r.Applied
		}
	}
	return false
}

func (r *Range) match(id uint64) uint64 {
	for _, p := range r.Progress {
		if p.GetReplicaId() == id {
			return p.GetMatch()
		}
	}
	return 0
}

// inOldHalf and inNewHalf: the halves of a joint configuration; both are all voters outside of one.
func inOldHalf(rep *internalpb.Replica) bool {
	return rep.GetRole() == internalpb.ReplicaRole_VOTER || rep.GetRole() == internalpb.ReplicaRole_VOTER_OUTGOING
}

func inNewHalf(rep *internalpb.Replica) bool {
	return rep.GetRole() == internalpb.ReplicaRole_VOTER || rep.GetRole() == internalpb.ReplicaRole_VOTER_INCOMING
}

// Config of a Planner. A tick is what the driver makes it: 200 ms by default.
type Config struct {
	// Replicas is how many voters a range should have: 3. Odd.
	Replicas int
	// AddsPerStoreMax is how many replicas may be on their way to one store: 4. Moves for balance use half of it.
	AddsPerStoreMax int
	// ChecksPerTick is how many ranges that are not as wanted are looked at in one tick: 1000. It bounds the time of a
	// tick while much is to be repaired; the limits of the stores are reached long before.
	ChecksPerTick int
	// TransfersPerTick is how many leader transfers for balance begin in one tick: 4.
	TransfersPerTick int
	// DrainsPerTick is how many leader transfers off draining stores begin in one tick: 64.
	DrainsPerTick int
	// LeaderTolerance and ReplicaTolerance are differences between two stores that are left alone: 1, and never less
	// than TolerancePercent of the mean.
	LeaderTolerance, ReplicaTolerance int
	// TolerancePercent of the mean count: 2.
	TolerancePercent int
	// LagEntriesMax is how many entries a replica may be behind to be promoted or to take leadership: 1000.
	LagEntriesMax uint64
	// LowSpacePercent: a store with less of its capacity available takes no replicas: 10.
	LowSpacePercent int
	// StepTimeoutTicks ends an operator whose step is not done by then: 150.
	StepTimeoutTicks uint64
	// CatchUpTimeoutTicks ends an operator whose learner made no progress for so long: 3000.
	CatchUpTimeoutTicks uint64
	// RetryTicks is how long a range is left alone after its operator was ended that way: 25.
	RetryTicks uint64
}

// DefaultConfig has every field.
func DefaultConfig() Config {
	return Config{
		Replicas: 3, AddsPerStoreMax: 4, ChecksPerTick: 1000, TransfersPerTick: 4, DrainsPerTick: 64,
		LeaderTolerance: 1, ReplicaTolerance: 1, TolerancePercent: 2,
		LagEntriesMax: 1000, LowSpacePercent: 10,
		StepTimeoutTicks: 150, CatchUpTimeoutTicks: 3000, RetryTicks: 25,
	}
}

// Validate checks the config.
func (c Config) Validate() error {
	switch {
	case c.Replicas < 1 || c.Replicas%2 == 0:
		return fmt.Errorf("schedule: %d replicas wanted, must be odd", c.Replicas)
	case c.AddsPerStoreMax < 1 || c.ChecksPerTick < 1 || c.TransfersPerTick < 1 || c.DrainsPerTick < 1:
		return fmt.Errorf("schedule: limits must be positive")
	case c.LeaderTolerance < 1 || c.ReplicaTolerance < 1 || c.TolerancePercent < 0:
		return fmt.Errorf("schedule: a tolerance below 1 never comes to rest")
	case c.LowSpacePercent < 0 || c.LowSpacePercent > 99:
		return fmt.Errorf("schedule: low space of %d %%", c.LowSpacePercent)
	case c.StepTimeoutTicks == 0 || c.CatchUpTimeoutTicks == 0:
		return fmt.Errorf("schedule: timeouts must be positive")
	}
	return nil
}
