package txntest

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// Sealer hides plaintexts and refuses envelopes under another meta. It is no encryption.
type Sealer struct{}

const sealerTag = 8

func (Sealer) pad(m mvcc.ValueMeta) []byte {
	h := sha256.New()
	var b [8]byte
	for _, n := range []uint64{uint64(m.Tenant), uint64(m.ExpiryMillis), uint64(m.Start)} {
		binary.BigEndian.PutUint64(b[:], n)
		h.Write(b[:])
	}
	h.Write(m.Key)
	return h.Sum(nil)
}

// Seal implements mvcc.Sealer.
func (s Sealer) Seal(dst []byte, m mvcc.ValueMeta, plaintext []byte) ([]byte, error) {
	pad := s.pad(m)
	tag := sha256.Sum256(append(s.pad(m), plaintext...))
	dst = append(append(dst, 0xE1), tag[:sealerTag]...)
	for i, b := range plaintext {
		dst = append(dst, b^pad[i%len(pad)])
	}
	return dst, nil
}

// Open implements mvcc.Sealer.
func (s Sealer) Open(dst []byte, m mvcc.ValueMeta, envelope []byte) ([]byte, error) {
	if len(envelope) < 1+sealerTag || envelope[0] != 0xE1 {
		return nil, rpcerr.Integrity("not an envelope")
	}
	pad, sealed := s.pad(m), envelope[1+sealerTag:]
	plain := make([]byte, len(sealed))
	for i, b := range sealed {
		plain[i] = b ^ pad[i%len(pad)]
	}
	tag := sha256.Sum256(append(s.pad(m), plain...))
	if string(tag[:sealerTag]) != string(envelope[1:1+sealerTag]) {
		return nil, rpcerr.Integrity("the tag differs")
	}
	return append(dst, plain...), nil
}
