package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/vipkv/vipkv/proto/keys"
)

// comparerName is in every manifest and table: it names the order of package keys and never changes.
const comparerName = "vipkv.keys.1"

const sentinel = 0x00

func compare(a, b []byte) int { return keys.Compare(a, b) }

// newComparer describes the order of package keys to Pebble.
func newComparer() *pebble.Comparer {
	return &pebble.Comparer{
		Compare:              keys.Compare,
		Equal:                bytes.Equal, // two keys that compare as equal have the same prefix and suffix bytes
		Split:                keys.Split,
		ComparePointSuffixes: bytes.Compare,
		CompareRangeSuffixes: bytes.Compare,
		AbbreviatedKey:       abbreviate,
		Separator:            separator,
		Successor:            successor,
		ImmediateSuccessor:   immediateSuccessor,
		FormatKey:            func(k []byte) fmt.Formatter { return redactedKey(k) },
		ValidateKey:          validateKey,
		Name:                 comparerName,
	}
}

// abbreviate is the first 8 bytes of the prefix, which order as it does; the suffix must not reach in.
func abbreviate(k []byte) uint64 {
	var first [8]byte
	copy(first[:], k[:keys.Split(k)])
	return binary.BigEndian.Uint64(first[:])
}

// body is the prefix of k without its sentinel; ok is false for a malformed key.
func body(k []byte) (b []byte, ok bool) {
	n := keys.Split(k)
	if n == 0 || k[n-1] != sentinel {
		return nil, false
	}
	return k[:n-1], true
}

// separator appends a short key s with a <= s < b. Bodies order as prefixes do, so a byte separator of the bodies,
// with a sentinel, is one of the keys.
func separator(dst, a, b []byte) []byte {
	ab, aok := body(a)
	bb, bok := body(b)
	if !aok || !bok || len(ab) == 0 || len(bb) == 0 || bytes.Equal(ab, bb) {
		return append(dst, a...)
	}
	n := len(dst)
	dst = pebble.DefaultComparer.Separator(dst, ab, bb)
	if bytes.Equal(dst[n:], ab) {
		return append(dst[:n], a...)
	}
	return append(dst, sentinel)
}

// successor appends a short key that is not smaller than a.
func successor(dst, a []byte) []byte {
	if len(a) == 0 {
		return append(dst, sentinel)
	}
	ab, ok := body(a)
	if !ok {
		return append(dst, a...)
	}
	n := len(dst)
	dst = pebble.DefaultComparer.Successor(dst, ab)
	if bytes.Equal(dst[n:], ab) {
		return append(dst[:n], a...)
	}
	return append(dst, sentinel)
}

// immediateSuccessor appends the smallest prefix above prefix a: no byte string lies between p and p+0.
func immediateSuccessor(dst, a []byte) []byte { return append(append(dst, a...), sentinel) }

func validateKey(k []byte) error {
	if _, ok := body(k); !ok {
		return fmt.Errorf("%w: %d bytes", ErrBadKey, len(k))
	}
	return nil
}

// redactedKey prints a key without the bytes that a user chose: what Pebble formats ends in logs and errors.
type redactedKey []byte

// shownBytes is how much of a data key is printed: the first byte and the tenant.
const shownBytes = 5

func (k redactedKey) Format(s fmt.State, _ rune) {
	n := keys.Split(k)
	user, _, err := keys.ParseData(k)
	if err != nil || len(user) < shownBytes {
		fmt.Fprintf(s, "%x", []byte(k[:min(len(k), 2*shownBytes)]))
		return
	}
	fmt.Fprintf(s, "%x..(%d bytes)/%x", []byte(k[:shownBytes]), n, []byte(k[n:]))
}
