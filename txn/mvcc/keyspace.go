package mvcc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
)

// The space byte of a replicated key, after the tenant.
const (
	SpaceInternal = 'i'
	SpacePlain    = 'k'
	SpaceStream   = 's'
)

const (
	tenantBytes = 4
	seqBytes    = 8

	partRecords = 'm'
	partTail    = 'z'
)

// TenantPrefix is what all replicated keys of a tenant begin with: its id, 4 bytes big endian.
func TenantPrefix(tenant proto.TenantID) []byte {
	return binary.BigEndian.AppendUint32(make([]byte, 0, tenantBytes), uint32(tenant))
}

// TenantSpan bounds all replicated keys of a tenant. The end of the last tenant is empty: the end of all data.
func TenantSpan(tenant proto.TenantID) (start, end []byte) {
	if tenant == math.MaxUint32 {
		return TenantPrefix(tenant), nil
	}
	return TenantPrefix(tenant), TenantPrefix(tenant + 1)
}

// PlainKey is the replicated key of a tenant's plain key.
func PlainKey(tenant proto.TenantID, key []byte) []byte {
	k := make([]byte, 0, tenantBytes+1+len(key))
	k = binary.BigEndian.AppendUint32(k, uint32(tenant))
	k = append(k, SpacePlain)
	return append(k, key...)
}

// PlainSpan is the span of replicated keys for plain keys in [start, end); an empty end is the end of the space.
func PlainSpan(tenant proto.TenantID, start, end []byte) (from, to []byte) {
	from = PlainKey(tenant, start)
	if len(end) == 0 {
		return from, append(TenantPrefix(tenant), SpacePlain+1)
	}
	return from, PlainKey(tenant, end)
}

// StreamPrefix is what all replicated keys of a stream begin with. A zero byte in the name becomes 0x00 0xFF, and
// 0x00 0x01 ends it, so no stream's prefix begins another's.
func StreamPrefix(tenant proto.TenantID, name []byte) []byte {
	k := make([]byte, 0, tenantBytes+1+len(name)+16)
	k = binary.BigEndian.AppendUint32(k, uint32(tenant))
	k = append(k, SpaceStream)
	for _, b := range name {
		k = append(k, b)
		if b == 0 {
			k = append(k, 0xFF)
		}
	}
	return append(k, 0x00, 0x01)
}

// StreamRecordKey is the replicated key of a record. Record keys of a stream sort by sequence number, before its tail.
func StreamRecordKey(tenant proto.TenantID, name []byte, seq uint64) []byte {
	return recordKey(StreamPrefix(tenant, name), seq)
}

// StreamTailKey is where a stream's tail block begins. Append, Head, and the first command of Read and Truncate go to
// the range that holds it.
func StreamTailKey(tenant proto.TenantID, name []byte) []byte {
	return append(StreamPrefix(tenant, name), partTail)
}

// StreamEnd is the first possible key after all of a stream's.
func StreamEnd(tenant proto.TenantID, name []byte) []byte {
	return prefixEnd(StreamPrefix(tenant, name))
}

func recordKey(prefix []byte, seq uint64) []byte {
	k := make([]byte, 0, len(prefix)+1+seqBytes+16)
	k = append(k, prefix...)
	k = append(k, partRecords)
	return binary.BigEndian.AppendUint64(k, seq)
}

// prefixEnd turns the 0x01 that ends a stream's prefix into 0x02.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	end[len(end)-1]++
	return end
}

// seqCeil is the smallest sequence number whose record key is at or after key; ok is false when all are before it.
func seqCeil(prefix, key []byte) (seq uint64, ok bool) {
	base := append(bytes.Clone(prefix), partRecords)
	if !bytes.HasPrefix(key, base) {
		return 0, bytes.Compare(key, base) < 0
	}
	var b [seqBytes]byte
	n := copy(b[:], key[len(base):])
	seq = binary.BigEndian.Uint64(b[:])
	if n < len(key)-len(base) { // longer than any record key
		if seq == math.MaxUint64 {
			return 0, false
		}
		seq++
	}
	return seq, true
}

// streamPart cuts a replicated key of the stream space into the stream's prefix and the rest. ok is false when the key
// lies in no stream.
func streamPart(key []byte) (prefix, rest []byte, ok bool) {
	if len(key) <= tenantBytes || key[tenantBytes] != SpaceStream {
		return nil, nil, false
	}
	for i := tenantBytes + 1; i+1 < len(key); i++ {
		if key[i] != 0 {
			continue
		}
		if key[i+1] == 0x01 {
			return key[:i+2], key[i+2:], true
		}
		i++
	}
	return nil, nil, false
}

// AdjustSplitKey returns a key at or after the candidate at which a range may be split, nil when there is none: never
// between the place of a stream's next record and the end of its tail block, and never in the system tenant. A
// candidate inside a stream's records must be the key of a record that is there (SplitPoint checks it).
func AdjustSplitKey(key []byte) []byte {
	if len(key) < tenantBytes || binary.BigEndian.Uint32(key) == uint32(proto.SystemTenant) {
		return nil
	}
	prefix, rest, ok := streamPart(key)
	if !ok || len(rest) == 0 || rest[0] < partRecords {
		return bytes.Clone(key)
	}
	if rest[0] == partRecords && len(rest) == 1+seqBytes {
		return bytes.Clone(key)
	}
	return prefixEnd(prefix)
}

// SplitPoint is AdjustSplitKey for any candidate: one among a stream's records, where no record is, becomes the end of
// the stream, because its next records might have to go left of it.
func SplitPoint(r storage.Reader, key []byte) ([]byte, error) {
	key = AdjustSplitKey(key)
	prefix, rest, ok := streamPart(key)
	if !ok || len(rest) == 0 || rest[0] != partRecords {
		return key, nil
	}
	lower, upper := keys.Data(key), keys.Data(prefixEnd(prefix))
	it, err := r.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	if err != nil {
		return nil, fmt.Errorf("look for the record at a split key: %w", err)
	}
	there := false
	if it.SeekGE(lower) {
		k, _ := it.Item()
		there = bytes.HasPrefix(k, lower)
	}
	if err := it.Close(); err != nil {
		return nil, fmt.Errorf("look for the record at a split key: %w", err)
	}
	if !there {
		return prefixEnd(prefix), nil
	}
	return key, nil
}

// ClipSpan cuts a range's span to a tenant's keys and puts it into routing form: without the tenant's prefix; empty
// bounds are the tenant's own. ok is false when they share no key.
func ClipSpan(tenant proto.TenantID, start, end []byte) (from, to []byte, ok bool) {
	lo, hi := TenantSpan(tenant)
	if (len(end) > 0 && bytes.Compare(end, lo) <= 0) || (len(hi) > 0 && bytes.Compare(start, hi) >= 0) {
		return nil, nil, false
	}
	if bytes.HasPrefix(start, lo) {
		from = bytes.Clone(start[tenantBytes:])
	}
	if bytes.HasPrefix(end, lo) {
		to = bytes.Clone(end[tenantBytes:])
	}
	return from, to, true
}

var errForeignKey = errors.New("not a plain key of the tenant")

// plainUserKey is the inverse of PlainKey. It aliases key.
func plainUserKey(tenant proto.TenantID, key []byte) ([]byte, error) {
	if len(key) <= tenantBytes || binary.BigEndian.Uint32(key) != uint32(tenant) || key[tenantBytes] != SpacePlain {
		return nil, errForeignKey
	}
	return key[tenantBytes+1:], nil
}
