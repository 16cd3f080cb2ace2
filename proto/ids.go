package proto

import "fmt"

// RangeID names a range for ever; ids are handed out by the placement driver and never used again.
type RangeID uint64

// ReplicaID names one copy of a range for ever: a copy that is removed and added again to the same store has a new
// id. It is the id that Raft sees. It grows within its range.
type ReplicaID uint64

// StoreID names one disk's data. It is written into the store when the store joins.
type StoreID uint64

// NodeID names a process. In this version a node has one store and their ids are equal.
type NodeID uint64

// TenantID names a customer's isolated space. Tenant 0 is the system.
type TenantID uint32

// SystemTenant owns the placement driver's state: registries, the oracle's bound, wrapped keys.
const SystemTenant TenantID = 0

// SystemRange is the range that holds the span of tenant 0. It is made at bootstrap and never split.
const SystemRange RangeID = 1

// FirstUserRange is the range that holds everything else when a cluster is made.
const FirstUserRange RangeID = 2

// Timestamp is a moment handed out by the timestamp oracle: milliseconds since 1970 shifted left by
// TimestampLogicalBits, plus a counter. Zero means "none".
type Timestamp uint64

// TimestampLogicalBits is the width of the counter in a Timestamp: 262,144 timestamps a millisecond.
const TimestampLogicalBits = 18

// MakeTimestamp joins a physical part in milliseconds and a logical part.
func MakeTimestamp(physicalMillis int64, logical int64) Timestamp {
	return Timestamp(uint64(physicalMillis)<<TimestampLogicalBits | uint64(logical))
}

// Physical is the millisecond part.
func (t Timestamp) Physical() int64 { return int64(t >> TimestampLogicalBits) }

// Logical is the counter part.
func (t Timestamp) Logical() int64 { return int64(t & (1<<TimestampLogicalBits - 1)) }

func (t Timestamp) String() string { return fmt.Sprintf("%d.%d", t.Physical(), t.Logical()) }

// Epoch versions a descriptor: Version grows by one with each split and merge, Conf with each change of membership.
// A command carries the Version under which it was evaluated and is refused at apply when it has changed; changes of
// the descriptor itself carry both.
type Epoch struct {
	Version uint64
	Conf    uint64
}

func (e Epoch) String() string { return fmt.Sprintf("v%d.c%d", e.Version, e.Conf) }
