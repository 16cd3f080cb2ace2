//go:build !nullcipher

package encryption

import (
	"crypto/cipher"
	"errors"
)

// NullCipher tells whether this build seals without encrypting. It does so only with the build tag nullcipher, which is
// for one test: a search of the disk for plaintext must find it in such a build.
const NullCipher = false

const sealSuite = suiteGCM

// otherSuite knows no further suite: 0x7F is as unknown as any other.
func otherSuite(byte) (cipher.AEAD, error) {
	return nil, errors.New("unknown suite")
}
