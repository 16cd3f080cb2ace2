package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

const searchChunk = 1 << 20

// Search counts how often pattern is on the whole disk, in files, in what was removed, in the journal.
// What was written and not synced is written first.
func (d *Disk) Search(pattern []byte) (found int, err error) {
	if len(pattern) == 0 || len(pattern) > searchChunk {
		return 0, fmt.Errorf("search a disk: a pattern of %d bytes", len(pattern))
	}
	if err := d.sync(); err != nil {
		return 0, err
	}
	size, err := d.image.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	for at := int64(0); at < size; {
		at, err = d.image.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return found, nil // a hole up to the end
		}
		if err != nil {
			return 0, err
		}
		end, err := d.image.Seek(at, unix.SEEK_HOLE)
		if err != nil {
			return 0, err
		}
		n, err := d.searchPart(pattern, at, end)
		if err != nil {
			return 0, err
		}
		found, at = found+n, end
	}
	return found, nil
}

// searchPart counts the patterns that begin in one part without holes.
func (d *Disk) searchPart(pattern []byte, from, to int64) (found int, err error) {
	buf := make([]byte, searchChunk+len(pattern)-1)
	for at := from; at < to; at += searchChunk {
		n, err := d.image.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		found += bytes.Count(buf[:n], pattern)
	}
	return found, nil
}

func (d *Disk) sync() error {
	at, err := unix.Open(d.mount, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	if err := unix.Syncfs(at); err != nil {
		return fmt.Errorf("sync a disk: %w", err)
	}
	return nil
}
