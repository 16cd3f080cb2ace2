//go:build nullcipher

package encryption

import (
	"bytes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
)

// NullCipher tells whether this build seals without encrypting. It does so only with the build tag nullcipher, which is
// for one test: a search of the disk for plaintext must find it in such a build.
const NullCipher = true

const (
	suiteNull = 0x7F
	sealSuite = suiteNull
)

func otherSuite(suite byte) (cipher.AEAD, error) {
	if suite != suiteNull {
		return nil, errors.New("unknown suite")
	}
	return nullAEAD{}, nil
}

// nullAEAD has the layout of AES-256-GCM with a random nonce: 12 zero bytes, the plaintext, and a checksum of 16 bytes
// in place of the tag.
type nullAEAD struct{}

func (nullAEAD) NonceSize() int { return 0 }

func (nullAEAD) Overhead() int { return nonceLength + tagLength }

func (nullAEAD) Seal(dst, _, plaintext, aad []byte) []byte {
	dst = append(dst, make([]byte, nonceLength)...)
	dst = append(dst, plaintext...)
	return append(dst, nullSum(plaintext, aad)...)
}

func (nullAEAD) Open(dst, _, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < nonceLength+tagLength {
		return nil, errors.New("too short")
	}
	if !bytes.Equal(sealed[:nonceLength], make([]byte, nonceLength)) {
		return nil, errors.New("nonce")
	}
	end := len(sealed) - tagLength
	plaintext := sealed[nonceLength:end]
	if !bytes.Equal(sealed[end:], nullSum(plaintext, aad)) {
		return nil, errors.New("checksum")
	}
	return append(dst, plaintext...), nil
}

func nullSum(plaintext, aad []byte) []byte {
	sum := sha256.Sum256(append(append([]byte{}, aad...), plaintext...))
	return sum[:tagLength]
}
