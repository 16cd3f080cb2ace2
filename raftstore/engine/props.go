package engine

import (
	"encoding/binary"
	"math"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
)

// timeProperty names the block property that holds the smallest and largest timestamp of a block's versions. Never
// change what it means under this name.
const timeProperty = "vipkv.ts.1"

// newTimeCollector computes timeProperty.
func newTimeCollector() pebble.BlockPropertyCollector {
	return sstable.NewBlockIntervalCollector(timeProperty, timeMapper{}, nil)
}

// timeMapper maps a version to its timestamp and a key without a suffix to all timestamps, so that its block is never
// skipped. It looks at the key alone: a tombstone must be skipped with exactly the versions that it hides.
type timeMapper struct{}

func (timeMapper) MapPointKey(key pebble.InternalKey, _ []byte) (sstable.BlockInterval, error) {
	n := keys.Split(key.UserKey)
	if n == len(key.UserKey) {
		return sstable.BlockInterval{Lower: 0, Upper: math.MaxUint64}, nil
	}
	ts := clampTime(^binary.BigEndian.Uint64(key.UserKey[n:]))
	return sstable.BlockInterval{Lower: ts, Upper: ts + 1}, nil
}

func (timeMapper) MapRangeKeys(sstable.Span) (sstable.BlockInterval, error) {
	return sstable.BlockInterval{Lower: 0, Upper: math.MaxUint64}, nil // there are none
}

// clampTime makes room for the exclusive upper bound of an interval.
func clampTime(ts uint64) uint64 { return min(ts, math.MaxUint64-1) }

func timeFilter(o storage.IterOptions) []pebble.BlockPropertyFilter {
	if o.MaxTS == 0 {
		return nil
	}
	f := sstable.NewBlockIntervalFilter(timeProperty, clampTime(o.MinTS), clampTime(o.MaxTS)+1, nil)
	return []pebble.BlockPropertyFilter{f}
}
