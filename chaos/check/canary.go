package check

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// A canary is text that is one tenant's own. It goes into values only: keys, stream names and client ids are not
// sealed. Its token does not compress, so that a search of disks finds it wherever it lies open.
const (
	canaryMark  = "canary:"
	canaryToken = 24 // characters, 18 bytes of a hash
)

// CanaryToken is the part of all values of a tenant that nobody else's have.
func CanaryToken(tenant string) string {
	sum := sha256.Sum256([]byte("canary of " + tenant))
	return base64.RawURLEncoding.EncodeToString(sum[:])[:canaryToken]
}

// CanaryValue is a tenant's value: its canary, then unique. CanaryValue(tenant, "") is what all its values begin with.
// The tenant's name has neither colon nor space.
func CanaryValue(tenant, unique string) string {
	return canaryMark + tenant + ":" + CanaryToken(tenant) + ":" + unique
}

// CanaryTenant says whose canary is in a value: the first one that is whole.
func CanaryTenant(value string) (tenant string, ok bool) {
	for {
		_, rest, found := strings.Cut(value, canaryMark)
		if !found {
			return "", false
		}
		tenant, after, _ := strings.Cut(rest, ":")
		if strings.HasPrefix(after, CanaryToken(tenant)+":") {
			return tenant, true
		}
		value = rest
	}
}
