package encryption

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// KeyState says whether a key service would use a root key now.
type KeyState int

// The states of a root key.
const (
	KeyOK       KeyState = iota + 1
	KeyDisabled          // the service denies its use
	KeyMissing           // the service does not have it
)

// KeyService wraps KEKs with root keys that it never shows. Every error is ErrUnreachable, ErrDenied or ErrBadBlob
// (errors.Is), or the end of the context. The encryption context ec is bound: what was wrapped with one does not unwrap
// with another. ref names a root key of the service; empty means its default.
type KeyService interface {
	// Name is what WrappedKek.service says: "keyfile".
	Name() string
	// Status returns the state of a root key and the version that Wrap would use.
	Status(ctx context.Context, ref string) (KeyState, string, error)
	// Wrap returns plain under the newest version of the root key, and that version.
	Wrap(
		ctx context.Context, ref string, plain []byte, ec map[string]string,
	) (blob []byte, version string, err error)
	// Unwrap is the inverse of Wrap. The version is where to look first.
	Unwrap(ctx context.Context, ref string, w Wrapped, ec map[string]string) ([]byte, error)
}

// Wrapped is a blob made by KeyService.Wrap and the version that it answered.
type Wrapped struct {
	Version string
	Blob    []byte
}

const wrapInfo = "vipkv/keyfile/wrap/v1"

// Name implements KeyService.
func (k *Keyfile) Name() string { return "keyfile" }

// Status implements KeyService. ref is the id of a root key; empty: the active one.
func (k *Keyfile) Status(_ context.Context, ref string) (KeyState, string, error) {
	root := k.root(ref)
	if root == nil {
		return KeyMissing, "", nil
	}
	return KeyOK, root.id, nil
}

// Wrap implements KeyService.
func (k *Keyfile) Wrap(
	_ context.Context, ref string, plain []byte, ec map[string]string,
) ([]byte, string, error) {
	root := k.root(ref)
	if root == nil {
		return nil, "", fmt.Errorf("%w: the keyfile has no key %q", ErrDenied, ref)
	}
	blob, err := sealBox(root.key, wrapInfo, contextAAD(ec), plain)
	if err != nil {
		return nil, "", fmt.Errorf("wrap with key %q of the keyfile: %w", root.id, err)
	}
	return blob, root.id, nil
}

// Unwrap implements KeyService. When the named version does not open the blob, all others are tried.
func (k *Keyfile) Unwrap(
	_ context.Context, _ string, w Wrapped, ec map[string]string,
) ([]byte, error) {
	aad := contextAAD(ec)
	roots := slices.Clone(k.roots)
	slices.SortStableFunc(roots, func(a, b rootKey) int {
		return rank(a.id == w.Version) - rank(b.id == w.Version)
	})
	for _, root := range roots {
		if plain, err := openBox(root.key, wrapInfo, aad, w.Blob); err == nil {
			return plain, nil
		}
	}
	if k.root(w.Version) == nil {
		return nil, fmt.Errorf("%w: it was wrapped by key %q, which is not in the keyfile; put it back",
			ErrBadBlob, w.Version)
	}
	return nil, fmt.Errorf("%w with key %q of the keyfile", ErrBadBlob, w.Version)
}

func rank(first bool) int {
	if first {
		return 0
	}
	return 1
}

// contextAAD is the encryption context in bytes: label, number of pairs, and the pairs in the order of their names.
func contextAAD(ec map[string]string) []byte {
	aad := appendField(nil, "VIPKVWRAP1")
	aad = binary.BigEndian.AppendUint32(aad, uint32(len(ec)))
	for _, name := range slices.Sorted(maps.Keys(ec)) {
		aad = appendField(appendField(aad, name), ec[name])
	}
	return aad
}

// sealBox seals a key under another: nonce (12), ciphertext, tag (16).
func sealBox(secret []byte, info string, aad, plain []byte) ([]byte, error) {
	aead, err := deriveAEAD(secret, nil, info)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, aad), nil
}

func openBox(secret []byte, info string, aad, sealed []byte) ([]byte, error) {
	aead, err := deriveAEAD(secret, nil, info)
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.Overhead() {
		return nil, errors.New("too short")
	}
	return aead.Open(nil, nil, sealed, aad)
}
