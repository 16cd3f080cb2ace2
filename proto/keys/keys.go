// Package keys is the layout of keys in one store's engine, and the order in which they sort. It is PURE. It is on the
// bottom floor because the engine (its comparer), the replica (local keys) and mvcc (versions) must agree on it without
// knowing each other. docs/formats.md has the byte tables; TestFormat pins them.
//
// Every engine key is  prefix | suffix.  The prefix ends with a zero byte, the sentinel. A key without a suffix is the
// prefix alone, so its last byte is 0. A suffix is a timestamp, 8 bytes big endian of its complement (newest first),
// and a last byte 9, its own length. So the last byte of any key tells where its prefix ends. Appending a zero byte
// keeps the order of byte strings, so user keys need no escaping.
package keys

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/vipkv/vipkv/proto"
)

// The first byte of an engine key.
const (
	storeByte = 0x01 // the store's own records
	localByte = 0x02 // a range's local records: never inside its span
	dataByte  = 0x03 // replicated data
)

const (
	sentinel     = 0x00
	suffixLength = 9
)

// Kinds of range-local records.
const (
	KindHardState = 'h' // Raft's term, vote, commit
	KindLog       = 'l' // entries of the log, by index
	KindApplied   = 'a' // RangeState: descriptor, applied index and term, counters
	KindTruncated = 't' // TruncatedState: index and term before the first entry of the log
	KindTombstone = 'x' // smallest replica id that this store may still host
)

// Compare orders engine keys: prefixes as bytes, then no suffix before any suffix, then newer timestamps first.
func Compare(a, b []byte) int {
	ap, bp := Split(a), Split(b)
	if c := bytes.Compare(a[:ap], b[:bp]); c != 0 {
		return c
	}
	return bytes.Compare(a[ap:], b[bp:])
}

// Split returns the length of k's prefix, sentinel included. A malformed key is all prefix.
func Split(k []byte) int {
	if len(k) == 0 {
		return 0
	}
	n := int(k[len(k)-1])
	if n != suffixLength || len(k) < suffixLength+1 || k[len(k)-n-1] != sentinel {
		return len(k)
	}
	return len(k) - n
}

// Store is the key of a store's own record.
func Store(name string) []byte {
	return append(append([]byte{storeByte}, name...), sentinel)
}

// Local is the key of a range's local record of the given kind; KindLog has LogEntry.
func Local(id proto.RangeID, kind byte) []byte {
	k := make([]byte, 0, 16)
	k = append(k, localByte)
	k = binary.BigEndian.AppendUint64(k, uint64(id))
	return append(k, kind, sentinel)
}

// LogEntry is the key of one entry of a range's log.
func LogEntry(id proto.RangeID, index uint64) []byte {
	k := make([]byte, 0, 24)
	k = append(k, localByte)
	k = binary.BigEndian.AppendUint64(k, uint64(id))
	k = append(k, KindLog)
	k = binary.BigEndian.AppendUint64(k, index)
	return append(k, sentinel)
}

// LogIndex is the index in a key made by LogEntry.
func LogIndex(k []byte) (uint64, error) {
	if len(k) != 19 || k[0] != localByte || k[9] != KindLog {
		return 0, fmt.Errorf("not a log key: %x", k)
	}
	return binary.BigEndian.Uint64(k[10:]), nil
}

// LocalSpan bounds all local records of a range.
func LocalSpan(id proto.RangeID) (start, end []byte) {
	start = binary.BigEndian.AppendUint64([]byte{localByte}, uint64(id))
	end = binary.BigEndian.AppendUint64([]byte{localByte}, uint64(id)+1)
	return append(start, sentinel), append(end, sentinel)
}

// AllLocal bounds the local records of all ranges.
func AllLocal() (start, end []byte) { return []byte{localByte, sentinel}, []byte{dataByte, sentinel} }

// ParseLocal is the inverse of Local and LogEntry.
func ParseLocal(k []byte) (id proto.RangeID, kind byte, err error) {
	if len(k) < 11 || k[0] != localByte {
		return 0, 0, fmt.Errorf("not a range-local key: %x", k)
	}
	return proto.RangeID(binary.BigEndian.Uint64(k[1:])), k[9], nil
}

// Data is the engine key of a replicated key without a version: where its intent lies, and the bound of spans.
func Data(key []byte) []byte {
	k := make([]byte, 0, len(key)+2)
	k = append(k, dataByte)
	k = append(k, key...)
	return append(k, sentinel)
}

// Version is the engine key of a replicated key's version at ts.
func Version(key []byte, ts proto.Timestamp) []byte {
	k := make([]byte, 0, len(key)+2+suffixLength)
	k = append(k, dataByte)
	k = append(k, key...)
	k = append(k, sentinel)
	return AppendSuffix(k, ts)
}

// AppendSuffix appends the suffix of a version to a prefix.
func AppendSuffix(k []byte, ts proto.Timestamp) []byte {
	k = binary.BigEndian.AppendUint64(k, ^uint64(ts))
	return append(k, suffixLength)
}

// ParseData takes a data key apart; ts is 0 when there is no suffix. key aliases k.
func ParseData(k []byte) (key []byte, ts proto.Timestamp, err error) {
	n := Split(k)
	if n < 2 || k[0] != dataByte || k[n-1] != sentinel {
		return nil, 0, fmt.Errorf("not a data key: %x", k)
	}
	if n < len(k) {
		ts = proto.Timestamp(^binary.BigEndian.Uint64(k[n:]))
	}
	return k[1 : n-1], ts, nil
}

// DataSpan turns a span of replicated keys into engine bounds. An empty end means the end of all data.
func DataSpan(start, end []byte) (lower, upper []byte) {
	if len(end) == 0 {
		return Data(start), []byte{dataByte + 1, sentinel}
	}
	return Data(start), Data(end)
}
