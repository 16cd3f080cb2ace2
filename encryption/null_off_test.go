//go:build !nullcipher

package encryption

import (
	"bytes"
	"testing"
)

// A normal build neither makes nor opens what the null cipher makes.
func TestNoNullCipher(t *testing.T) {
	d := newTestDomain(t, testDomain, Options{})
	canary := noise(200)
	envelope := mustSeal(t, d, Meta{Key: []byte("k")}, canary)
	if NullCipher || bytes.Contains(envelope, canary[:8]) {
		t.Fatal("the canary is in the envelope")
	}
	null := bytes.Clone(envelope)
	null[1] = 0x7F
	wantIntegrity(t, d, Meta{Key: []byte("k")}, null, "suite 0x7F")
	if _, err := otherSuite(0x7F); err == nil {
		t.Fatal("there is a cipher for suite 0x7F")
	}
}
