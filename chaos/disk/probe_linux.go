package disk

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

const probeBytes = 16 << 20

// Probe tries whether this machine has what a Disk needs: a loop device, ext4, its shutdown, freezing.
func Probe() error {
	dir, err := os.MkdirTemp("", "vkchaos-probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d, err := New(filepath.Join(dir, "disk"), probeBytes)
	if err != nil {
		return err
	}
	err = d.Freeze(5 * time.Second)
	if err == nil {
		err = d.Thaw()
	}
	if err == nil {
		err = d.PowerOff()
	}
	if err == nil {
		_, err = d.PowerOn()
	}
	return errors.Join(err, d.Close())
}
