package encryption

import (
	"errors"
	"fmt"

	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// ErrIntegrity is what every *IntegrityError is.
var ErrIntegrity = errors.New("the envelope does not authenticate")

// ErrClosed is returned by a Domain whose keys were cleared. It is also a *rpcerr.KeyUnavailableError.
var ErrClosed = errors.New("the key domain is closed")

// The classes of errors of a KeyService. Every error that one returns is (errors.Is) one of them, or the end of the
// context.
var (
	// ErrUnreachable: the service did not answer. Cached keys stay in use for a bounded time.
	ErrUnreachable = errors.New("the key service can not be reached")
	// ErrDenied: the service refuses to use the key. Cached keys are dropped.
	ErrDenied = errors.New("the key service denies the use of the key")
	// ErrBadBlob: what is to be unwrapped does not open with any key that the service has.
	ErrBadBlob = errors.New("the wrapped key does not open")
)

// IntegrityError says that an envelope was not made for where it was found, or was changed. It is ErrIntegrity and a
// *rpcerr.IntegrityError. It is never retried and never hidden, with one exception: UnknownDEK.
type IntegrityError struct {
	Domain uint64
	DEK    uint32 // what the header says; 0 when there is no header
	// UnknownDEK: the domain has no DEK with that id. Another node may have made it since the keys were loaded:
	// Keyring.Reload once, then try again.
	UnknownDEK bool
	Reason     string // constant text, without bytes of the value
}

func (e *IntegrityError) Error() string {
	return fmt.Sprintf("envelope of domain %016x, data key %d: %s", e.Domain, e.DEK, e.Reason)
}

// Unwrap makes the error ErrIntegrity and gives it its form on the wire.
func (e *IntegrityError) Unwrap() []error {
	return []error{ErrIntegrity, rpcerr.Integrity(e.Reason)}
}

func closedError() error {
	return fmt.Errorf("%w: %w", ErrClosed, keyUnavailable("it was dropped; try again", false))
}

func keyUnavailable(reason string, revoked bool) error {
	return &rpcerr.KeyUnavailableError{
		KeyUnavailable: &vipkvpb.KeyUnavailable{Reason: reason, Revoked: revoked},
	}
}
