package mvcc

import (
	"encoding/binary"
	"fmt"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
)

// valueKind is the first byte of every stored version. The numbers are on disks: never change one.
type valueKind byte

const (
	kindPut       valueKind = 1
	kindTombstone valueKind = 2
	kindRecord    valueKind = 3 // of a stream
	kindRow       valueKind = 4 // of a stream's tail block
	kindRollback  valueKind = 5 // a transaction that started at the version's timestamp will never commit here
)

const (
	flagExpiry  = 1
	flagRequest = 2
	flagAhead   = 4
	flagsKnown  = flagExpiry | flagRequest | flagAhead

	headerBytes = 2 + 8
	digestBytes = 8

	// shapeDigest is set in the first sealed byte when a digest follows it.
	shapeDigest = 0x80
)

type requestID [requestIDBytes]byte

// header is what a stored version says in clear.
type header struct {
	kind    valueKind
	start   proto.Timestamp
	expiry  int64 // milliseconds since 1970; 0: never
	request bool
	id      requestID
	issued  int64
	ahead   uint32 // (I6) milliseconds; 0: none
}

func (h *header) append(b []byte) []byte {
	flags := byte(0)
	if h.expiry != 0 {
		flags |= flagExpiry
	}
	if h.request {
		flags |= flagRequest
	}
	if h.ahead != 0 {
		flags |= flagAhead
	}
	b = append(b, byte(h.kind), flags)
	b = binary.BigEndian.AppendUint64(b, uint64(h.start))
	if h.expiry != 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(h.expiry))
	}
	if h.request {
		b = append(b, h.id[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(h.issued))
	}
	if h.ahead != 0 {
		b = binary.BigEndian.AppendUint32(b, h.ahead)
	}
	return b
}

// parseVersion takes a stored version apart. rest aliases b.
func parseVersion(b []byte) (h header, rest []byte, err error) {
	if len(b) < headerBytes || b[0] < byte(kindPut) || b[0] > byte(kindRollback) || b[1]&^flagsKnown != 0 {
		return header{}, nil, badVersion(b)
	}
	h.kind, h.start = valueKind(b[0]), proto.Timestamp(binary.BigEndian.Uint64(b[2:]))
	flags, rest := b[1], b[headerBytes:]
	if flags&flagExpiry != 0 {
		if len(rest) < 8 {
			return header{}, nil, badVersion(b)
		}
		h.expiry = int64(binary.BigEndian.Uint64(rest))
		rest = rest[8:]
	}
	if flags&flagRequest != 0 {
		if len(rest) < requestIDBytes+8 {
			return header{}, nil, badVersion(b)
		}
		h.request, h.id = true, requestID(rest[:requestIDBytes])
		h.issued = int64(binary.BigEndian.Uint64(rest[requestIDBytes:]))
		rest = rest[requestIDBytes+8:]
	}
	if flags&flagAhead != 0 {
		if len(rest) < 4 {
			return header{}, nil, badVersion(b)
		}
		h.ahead = binary.BigEndian.Uint32(rest)
		rest = rest[4:]
	}
	return h, rest, nil
}

func badVersion(b []byte) error {
	return rpcerr.Integrity(fmt.Sprintf("a stored version of %d bytes is malformed", len(b)))
}

// shape is the first byte under the seal, so that nobody who can write to the disk turns one kind into another.
func (h *header) shape() byte {
	s := byte(h.kind)
	if h.request {
		s |= shapeDigest
	}
	return s
}

func (h *header) meta(tenant proto.TenantID, key []byte) ValueMeta {
	return ValueMeta{Tenant: tenant, Key: key, ExpiryMillis: h.expiry, Start: h.start}
}

// seal appends to b the envelope of shape, digest (when there is a request id) and value.
func (e *eval) seal(b []byte, h *header, key, digest, value []byte) ([]byte, error) {
	plain := make([]byte, 0, 1+len(digest)+len(value))
	plain = append(plain, h.shape())
	plain = append(plain, digest...)
	plain = append(plain, value...)
	b, err := e.Sealer.Seal(b, h.meta(e.Tenant, key), plain)
	if err != nil {
		return nil, fmt.Errorf("seal a value: %w", err)
	}
	return b, nil
}

// open is the inverse of seal.
func (e *eval) open(h *header, key, envelope []byte) (digest, value []byte, err error) {
	plain, err := e.Sealer.Open(nil, h.meta(e.Tenant, key), envelope)
	if err != nil {
		return nil, nil, fmt.Errorf("open a value: %w", err)
	}
	if len(plain) == 0 || plain[0] != h.shape() {
		return nil, nil, rpcerr.Integrity("a sealed value is of another kind")
	}
	plain = plain[1:]
	if !h.request {
		return nil, plain, nil
	}
	if len(plain) < digestBytes {
		return nil, nil, rpcerr.Integrity("a sealed value is too short")
	}
	return plain[:digestBytes], plain[digestBytes:], nil
}
