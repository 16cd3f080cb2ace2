package tenant

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"strings"
)

const (
	credentialScheme = "vipkv1"
	keyIDLength      = 12
	secretLength     = 43 // 62^43 > 2^256
	checksumLength   = 8
	credentialLength = len(credentialScheme) + 1 + keyIDLength + 1 + secretLength + 1 + checksumLength

	alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// Credential is an API key. It prints without its secret. The zero value is none.
type Credential struct{ keyID, secret string }

func newCredential() Credential {
	return Credential{keyID: randomText(keyIDLength), secret: randomText(secretLength)}
}

// randomText draws n characters, each of the alphabet's 62 with the same odds.
func randomText(n int) string {
	const fair = 256 - 256%len(alphabet)
	text := make([]byte, 0, n)
	for buf := make([]byte, 64); len(text) < n; {
		rand.Read(buf)
		for _, b := range buf {
			if int(b) < fair && len(text) < n {
				text = append(text, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(text)
}

// KeyID names the credential in records, logs and answers. It is no secret.
func (c Credential) KeyID() string { return c.keyID }

// Reveal is the whole credential, to be shown once to its owner.
func (c Credential) Reveal() string {
	body := credentialScheme + "_" + c.keyID + "_" + c.secret
	return fmt.Sprintf("%s_%08x", body, crc32.ChecksumIEEE([]byte(body)))
}

// String hides the secret.
func (c Credential) String() string { return credentialScheme + "_" + c.keyID + "_<secret>" }

// GoString hides the secret.
func (c Credential) GoString() string { return c.String() }

// ParseCredential reads what Reveal wrote. The error is an *UnauthenticatedError that says what is wrong, without the
// secret.
func ParseCredential(text string) (Credential, error) {
	parts := strings.Split(text, "_")
	switch {
	case text == "":
		return Credential{}, missing()
	case parts[0] != credentialScheme:
		return Credential{}, malformed("does not start with vipkv1_")
	case len(text) != credentialLength:
		why := fmt.Sprintf("has %d characters, not %d", len(text), credentialLength)
		return Credential{}, malformed(why)
	case len(parts) != 4 || len(parts[1]) != keyIDLength || len(parts[2]) != secretLength ||
		strings.Trim(parts[1]+parts[2], alphabet) != "":
		return Credential{}, malformed("is not well formed")
	}
	c := Credential{keyID: parts[1], secret: parts[2]}
	if c.Reveal() != text {
		return Credential{}, malformed("has a typing error (its checksum does not match)")
	}
	return c, nil
}

// seal is what is stored of the secret.
func (c Credential) seal(pepper []byte) []byte {
	mac := hmac.New(sha256.New, pepper)
	mac.Write([]byte(c.secret))
	return mac.Sum(nil)
}
