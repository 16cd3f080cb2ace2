//go:build nullcipher

package encryption

import (
	"bytes"
	"testing"
)

// The control of every search for plaintext: in this build there is plaintext to be found.
func TestNullCipherShowsPlaintext(t *testing.T) {
	d := newTestDomain(t, testDomain, Options{})
	canary := noise(200)
	envelope := mustSeal(t, d, Meta{Key: []byte("k")}, canary)
	if !NullCipher || !bytes.Contains(envelope, canary) || envelope[1] != 0x7F || len(envelope) != 200+Overhead {
		t.Fatal("the canary is not in the envelope")
	}
}
