package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// PowerOff takes the disk's power: whatever was not synced is lost, and every call on it fails until
// PowerOn. Stop the processes that use it before, so that they do not see it, and kill them
// afterwards.
func (d *Disk) PowerOff() error {
	// Not synced, so it must be gone: the proof that the page cache was lost.
	err := os.WriteFile(filepath.Join(d.mount, lostName), []byte("not synced"), 0o600)
	if err != nil {
		return fmt.Errorf("power loss: %w", err)
	}
	at, err := os.Open(d.mount)
	if err != nil {
		return fmt.Errorf("power loss: %w", err)
	}
	defer at.Close()
	err = unix.IoctlSetPointerInt(int(at.Fd()), shutdownIoctl, shutdownNoFlush)
	if err != nil {
		return fmt.Errorf("power loss: shut the file system down: %w", err)
	}
	d.down = true
	return nil
}

// PowerOn mounts the disk again and says what shows that power was lost. No process may use it.
func (d *Disk) PowerOn() (evidence string, err error) {
	if !d.down {
		return "", errors.New("power on: it was not off")
	}
	if err := d.unmount(); err != nil {
		return "", err
	}
	if err := d.mountIt(); err != nil {
		return "", err
	}
	_, err = os.Stat(filepath.Join(d.mount, lostName))
	switch {
	case err == nil:
		return "", errors.New("power loss: a file that was not synced is there: nothing was lost")
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	return "a file written right before, not synced, was gone after the mount", nil
}
