package authz

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/vipkv/vipkv/proto"
)

// Space is the part of a tenant's keys that a key lies in: the byte after the tenant id.
type Space byte

// The spaces, in key order.
const (
	SpaceInternal Space = 'i'
	SpaceKeys     Space = 'k'
	SpaceStreams  Space = 's'
)

const (
	tenantLength = 4
	prefixLength = tenantLength + 1
)

// MaxTenant is the largest tenant id. One more is left, so that every tenant's span has an end.
const MaxTenant proto.TenantID = 1<<32 - 2

// Key is the replicated key of a user key.
func Key(tenant proto.TenantID, space Space, user []byte) []byte {
	return appendKey(make([]byte, 0, prefixLength+len(user)), tenant, space, user)
}

func appendKey(dst []byte, tenant proto.TenantID, space Space, user []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(tenant))
	dst = append(dst, byte(space))
	return append(dst, user...)
}

// SplitKey is the inverse of Key. user aliases key.
func SplitKey(key []byte) (tenant proto.TenantID, space Space, user []byte, err error) {
	if len(key) < prefixLength {
		return 0, 0, nil, fmt.Errorf("not a replicated key: %d bytes", len(key))
	}
	space = Space(key[tenantLength])
	if space != SpaceKeys && space != SpaceStreams && space != SpaceInternal {
		return 0, 0, nil, fmt.Errorf("not a replicated key: space %#x", byte(space))
	}
	return proto.TenantID(binary.BigEndian.Uint32(key)), space, key[prefixLength:], nil
}

// TenantSpan bounds all replicated keys of a tenant.
func TenantSpan(tenant proto.TenantID) (start, end []byte) {
	start = binary.BigEndian.AppendUint32(nil, uint32(tenant))
	return start, binary.BigEndian.AppendUint32(nil, uint32(tenant)+1)
}

// Clip is what a tenant may see of a span of replicated keys: the part in its prefix, without the prefix (routing form:
// space byte, user key). An empty start is the tenant's first key, an empty end the end of the tenant; in the span
// given, an empty end is the end of all keys. ok is false when nothing of it is the tenant's.
func (p Principal) Clip(start, end []byte) (from, to []byte, ok bool) {
	if p.role == 0 {
		return nil, nil, false
	}
	first, last := TenantSpan(p.tenant)
	if bytes.Compare(start, last) >= 0 || len(end) > 0 && bytes.Compare(end, first) <= 0 {
		return nil, nil, false
	}
	if bytes.Compare(start, first) > 0 {
		if !bytes.HasPrefix(start, first) {
			return nil, nil, false // a short bound behind all of the tenant's keys
		}
		from = bytes.Clone(start[tenantLength:])
	}
	if len(end) > 0 && bytes.HasPrefix(end, first) {
		to = bytes.Clone(end[tenantLength:])
	}
	return from, to, len(end) == 0 || bytes.Compare(start, end) < 0
}
