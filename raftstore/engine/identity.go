package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
)

// FormatVersion is the format of a store that this program writes, and the newest that it reads. It grows whenever an
// older program could misread the store, Pebble's own format included.
const FormatVersion uint32 = 1

// Marker is the name of the file that marks a directory as a store.
const Marker = "VIPKV"

const (
	lockName   = "LOCK"
	markerTemp = Marker + ".tmp"
	markerText = "This directory is a VIPKV store. Do not change or remove anything in it.\nformat %d\n"
	markerMax  = 4096 // bytes
)

// Identity is what a store was made for.
type Identity struct {
	ClusterID     [16]byte
	StoreID       proto.StoreID
	NodeID        proto.NodeID
	FormatVersion uint32
}

const (
	identityKey    = "ident"
	identityLayout = 1
	identityLength = 1 + 16 + 8 + 8 + 4
)

// WriteIdentity makes id, with this program's FormatVersion, the store's identity, durably.
func WriteIdentity(e Engine, id Identity) error {
	v := append(make([]byte, 0, identityLength), identityLayout)
	v = append(v, id.ClusterID[:]...)
	v = binary.BigEndian.AppendUint64(v, uint64(id.StoreID))
	v = binary.BigEndian.AppendUint64(v, uint64(id.NodeID))
	v = binary.BigEndian.AppendUint32(v, FormatVersion)
	var b storage.Batch
	b.Set(keys.Store(identityKey), v)
	if err := e.Commit(&b, true); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return nil
}

// ReadIdentity returns the store's identity, ErrNoIdentity, a *NewerFormatError or ErrCorrupt.
func ReadIdentity(r storage.Reader) (Identity, error) {
	v, err := r.Get(keys.Store(identityKey))
	if errors.Is(err, storage.ErrNotFound) {
		return Identity{}, ErrNoIdentity
	}
	if err != nil {
		return Identity{}, fmt.Errorf("read identity: %w", err)
	}
	if len(v) != identityLength || v[0] != identityLayout {
		return Identity{}, fmt.Errorf("read identity: %w: %d bytes", ErrCorrupt, len(v))
	}
	id := Identity{
		ClusterID:     [16]byte(v[1:17]),
		StoreID:       proto.StoreID(binary.BigEndian.Uint64(v[17:])),
		NodeID:        proto.NodeID(binary.BigEndian.Uint64(v[25:])),
		FormatVersion: binary.BigEndian.Uint32(v[33:]),
	}
	if id.FormatVersion > FormatVersion {
		return Identity{}, &NewerFormatError{Found: id.FormatVersion, Supported: FormatVersion}
	}
	return id, nil
}

// CheckDir tells whether OpenPebble could open or make a store in dir, without changing anything: nil for one of ours
// and for an empty or missing directory, else ErrForeignDir, a *NewerFormatError, ErrCorrupt or ErrLocked.
func CheckDir(fs FS, dir string) error {
	if err := checkMarker(fs, dir); err != nil {
		return fmt.Errorf("check store %s: %w", dir, err)
	}
	if _, err := fs.Stat(fs.PathJoin(dir, lockName)); err != nil {
		return nil // nobody has locked it
	}
	l, err := lockDir(fs, dir)
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		return fmt.Errorf("check store %s: %w", dir, err)
	}
	return nil
}

// lockDir takes the lock file. Pebble's file systems say "held" by an errno from fcntl or, within one process, by text;
// failing to make the file is an *os.PathError.
func lockDir(fs FS, dir string) (*pebble.Lock, error) {
	l, err := pebble.LockDirectory(dir, fs)
	if err == nil {
		return l, nil
	}
	var path *os.PathError
	held := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) || strings.Contains(err.Error(), "lock held")
	if held && !errors.As(err, &path) {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return nil, fmt.Errorf("lock: %w", err)
}

// checkMarker looks at the names in dir and at the marker.
func checkMarker(fs FS, dir string) error {
	names, err := fs.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	marked, foreign := false, ""
	for _, n := range names {
		switch n {
		case Marker:
			marked = true
		case lockName, markerTemp, "lost+found": // of a first start that was cut short, or of the file system
		default:
			if foreign == "" || n < foreign {
				foreign = n
			}
		}
	}
	if !marked && foreign != "" {
		return fmt.Errorf("%w: it holds %q and no file %s", ErrForeignDir, foreign, Marker)
	}
	if !marked {
		return nil
	}
	return readMarker(fs, fs.PathJoin(dir, Marker))
}

func readMarker(fs FS, path string) error {
	f, err := fs.Open(path)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(f, markerMax))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		digits, ok := strings.CutPrefix(strings.TrimSpace(line), "format ")
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil {
			return fmt.Errorf("%w: file %s: %w", ErrCorrupt, Marker, err)
		}
		if uint32(n) > FormatVersion {
			return &NewerFormatError{Found: uint32(n), Supported: FormatVersion}
		}
		return nil
	}
	return fmt.Errorf("%w: file %s names no format", ErrCorrupt, Marker)
}

// writeMarker checks the marker again, now under the lock, and makes it when it is missing. The rename makes it whole
// or absent.
func writeMarker(fs FS, dir string) (created bool, err error) {
	if err := checkMarker(fs, dir); err != nil {
		return false, err
	}
	path, temp := fs.PathJoin(dir, Marker), fs.PathJoin(dir, markerTemp)
	if _, err := fs.Stat(path); err == nil {
		return false, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	if err := WriteFile(fs, temp, fmt.Appendf(nil, markerText, FormatVersion)); err != nil {
		return false, err
	}
	if err := fs.Rename(temp, path); err != nil {
		return false, err
	}
	return true, syncDir(fs, dir)
}
