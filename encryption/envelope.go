package encryption

import (
	"encoding/binary"
	"slices"
)

// The layout of an envelope; doc.go has the table.
const (
	envelopeV1   = 0xE1
	suiteGCM     = 0x01
	flagZstd     = 0x01
	flagStart    = 0x08
	aadSchema    = 1
	headerLength = 20 // without the nonce
	prefixLength = 12
	nonceLength  = 12
	tagLength    = 16
)

// Overhead is how much longer an envelope is than the (compressed) value in it, in bytes.
const Overhead = headerLength + nonceLength + tagLength

const aadLabel = "VIPKVENC1"

// Meta is what an envelope is bound to besides the domain. Key is the key of the value, in the same form for Seal and
// Open: space byte and user key. The tenant is bound by the domain, so that it can be restored under another id.
type Meta struct {
	Key          []byte
	ExpiryMillis int64  // milliseconds since 1970; 0: never
	Start        uint64 // the timestamp under which the version is stored
}

// header is bytes 0 to 19 of an envelope, parsed.
type header struct {
	suite  byte
	flags  byte
	dek    uint32
	prefix [prefixLength]byte
}

func (h *header) encode(b *[headerLength]byte) {
	b[0], b[1], b[2], b[3] = envelopeV1, h.suite, h.flags, aadSchema
	binary.BigEndian.PutUint32(b[4:], h.dek)
	copy(b[8:], h.prefix[:])
}

// parseHeader refuses all that this version does not know (I1). reason is empty when all is well.
func parseHeader(envelope []byte) (h header, reason string) {
	if len(envelope) < Overhead {
		return h, "too short"
	}
	if envelope[0] != envelopeV1 {
		return h, "unknown version"
	}
	h.suite, h.flags = envelope[1], envelope[2]
	if h.suite != sealSuite && h.suite != suiteGCM {
		return h, "unknown suite"
	}
	if h.flags&^flagZstd != flagStart {
		return h, "unknown flags"
	}
	if envelope[3] != aadSchema {
		return h, "unknown schema of associated data"
	}
	if h.dek = binary.BigEndian.Uint32(envelope[4:]); h.dek == 0 {
		return h, "data key 0"
	}
	copy(h.prefix[:], envelope[8:headerLength])
	return h, ""
}

// appendAAD appends the associated data. Each field follows its length, so different input never gives equal output.
func appendAAD(dst []byte, domain uint64, m Meta, header []byte) []byte {
	dst = appendField(dst, aadLabel)
	dst = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(dst, 8), domain)
	dst = appendField(dst, m.Key)
	dst = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(dst, 8), m.Start)
	dst = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(dst, 8), uint64(m.ExpiryMillis))
	return appendField(dst, header)
}

func appendField[T ~string | ~[]byte](dst []byte, field T) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(field)))
	return append(dst, field...)
}

// Seal appends the envelope of plaintext to dst and returns the result. The memory behind dst must not overlap
// plaintext or m.Key. It fails only when the domain is closed.
func (d *Domain) Seal(dst []byte, m Meta, plaintext []byte) ([]byte, error) {
	key, err := d.sealingKey()
	if err != nil {
		return nil, err
	}
	s := d.opts.Codec.get()
	defer d.opts.Codec.put(s)
	h := header{suite: sealSuite, flags: flagStart, dek: key.id.dek, prefix: key.id.prefix}
	if !d.opts.NoCompression {
		if compressed, saved := d.opts.Codec.deflate(s, plaintext); saved {
			plaintext, h.flags = compressed, h.flags|flagZstd
		}
	}
	h.encode(&s.header)
	s.aad = appendAAD(s.aad[:0], d.id, m, s.header[:])
	dst = slices.Grow(dst, Overhead+len(plaintext))
	dst = append(dst, s.header[:]...)
	return key.aead.Seal(dst, nil, plaintext, s.aad), nil
}

// Open appends what the envelope holds to dst and returns the result. The memory behind dst must not overlap the
// envelope or m.Key. Anything but an envelope made by this domain's Seal with an equal Meta is an *IntegrityError.
func (d *Domain) Open(dst []byte, m Meta, envelope []byte) ([]byte, error) {
	h, reason := parseHeader(envelope)
	if reason != "" {
		return nil, &IntegrityError{Domain: d.id, DEK: h.dek, Reason: reason}
	}
	key, err := d.openingKey(subkeyID{suite: h.suite, dek: h.dek, prefix: h.prefix})
	if err != nil {
		return nil, err
	}
	s := d.opts.Codec.get()
	defer d.opts.Codec.put(s)
	s.aad = appendAAD(s.aad[:0], d.id, m, envelope[:headerLength])
	if h.flags&flagZstd == 0 {
		out, err := key.aead.Open(dst, nil, envelope[headerLength:], s.aad)
		if err != nil {
			return nil, &IntegrityError{Domain: d.id, DEK: h.dek, Reason: "the tag does not match"}
		}
		return out, nil
	}
	s.compressed, err = key.aead.Open(s.compressed[:0], nil, envelope[headerLength:], s.aad)
	if err != nil {
		return nil, &IntegrityError{Domain: d.id, DEK: h.dek, Reason: "the tag does not match"}
	}
	out, err := d.opts.Codec.inflate(dst, s.compressed)
	if err != nil {
		reason := "the compressed value is not valid or inflates to more than any value"
		return nil, &IntegrityError{Domain: d.id, DEK: h.dek, Reason: reason}
	}
	return out, nil
}
