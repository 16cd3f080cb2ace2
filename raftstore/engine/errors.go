package engine

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

var (
	// ErrClosed is returned by an engine after Close, or, in memory, after a crash.
	ErrClosed = errors.New("engine is closed")
	// ErrFailed is returned by every call after the engine has met an error that it cannot survive. The cause is
	// wrapped too. Nothing is acknowledged any more; the store must be given up and opened again.
	ErrFailed = errors.New("engine has failed")
	// ErrCorrupt marks bytes on disk that are not what was written.
	ErrCorrupt = errors.New("store is corrupt")
	// ErrDiskFull marks a write for which there was no space.
	ErrDiskFull = errors.New("disk is full")
	// ErrLocked means that another engine, in this or another process, has the directory open.
	ErrLocked = errors.New("store directory is in use by another process")
	// ErrForeignDir means that the directory holds files of something else.
	ErrForeignDir = errors.New("directory is not empty and not a VIPKV store")
	// ErrNewerFormat is matched by a *NewerFormatError.
	ErrNewerFormat = errors.New("store was written by a newer version")
	// ErrNoIdentity is returned by ReadIdentity for a store that has not joined a cluster.
	ErrNoIdentity = errors.New("store has no identity")
	// ErrBadIngest means that an Ingest breaks its rules.
	ErrBadIngest = errors.New("bad ingest")
	// ErrBadKey means that a key is not a prefix with an optional suffix (see package keys).
	ErrBadKey = errors.New("malformed engine key")
)

// NewerFormatError says which format a store has and which is the newest that this program reads.
type NewerFormatError struct{ Found, Supported uint32 }

func (e *NewerFormatError) Error() string {
	return fmt.Sprintf("store has format %d, this version reads up to format %d: use a newer version",
		e.Found, e.Supported)
}

// Is makes errors.Is(e, ErrNewerFormat) true.
func (e *NewerFormatError) Is(target error) bool { return target == ErrNewerFormat }

// classify adds ErrCorrupt or ErrDiskFull to an error from Pebble or the file system.
func classify(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrCorrupt), errors.Is(err, ErrDiskFull):
		return err
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case vfs.IsNoSpaceError(err):
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}

// failure remembers the first error that an engine cannot survive and reports it once.
type failure struct {
	first  atomic.Pointer[error]
	opened atomic.Bool // errors before this are the result of OpenPebble and not reported
	notify func(error)
	failed chan struct{} // closed after first is set
}

// set records err, if it is the first, and reports it.
func (f *failure) set(err error) {
	err = fmt.Errorf("%w: %w", ErrFailed, classify(err))
	if !f.first.CompareAndSwap(nil, &err) {
		return
	}
	close(f.failed)
	if f.opened.Load() {
		f.notify(err)
	}
}

// get is the first error, or nil.
func (f *failure) get() error {
	if p := f.first.Load(); p != nil {
		return *p
	}
	return nil
}
