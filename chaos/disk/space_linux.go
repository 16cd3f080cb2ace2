package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Fill takes all free space but so many bytes.
func (d *Disk) Fill(leave int64) error {
	free, err := d.Free()
	if err != nil {
		return err
	}
	if free <= leave {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(d.mount, fillerName), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("fill a disk: %w", err)
	}
	defer f.Close()
	s, err := f.Stat()
	if err != nil {
		return err
	}
	// What the file's own map takes may be missing at the end.
	for size := free - leave; size > 0; size -= 64 << 10 {
		err = unix.Fallocate(int(f.Fd()), 0, s.Size(), size)
		if !errors.Is(err, unix.ENOSPC) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("fill a disk: %w", err)
	}
	return nil
}

// Empty gives back what Fill took.
func (d *Disk) Empty() error {
	err := os.Remove(filepath.Join(d.mount, fillerName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Free is how many bytes can be written.
func (d *Disk) Free() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(d.mount, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}
