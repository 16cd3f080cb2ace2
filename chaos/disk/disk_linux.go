package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	shutdownIoctl   = 0x8004587d // EXT4_IOC_SHUTDOWN
	shutdownNoFlush = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
	// The journal is written when somebody syncs, and not every five seconds.
	mountOptions = "commit=600"
	keptName     = "vkchaos-synced"   // must be there after a power loss
	lostName     = "vkchaos-unsynced" // must not
	fillerName   = "vkchaos-filler"
	loopTries    = 20
)

// Disk is one file system on a device of its own.
type Disk struct {
	image *os.File // without a name
	loop  *os.File
	mount string
	watch *exec.Cmd // while frozen
	ttl   *os.File  // closed: the watchdog thaws
	down  bool      // after PowerOff
}

// New makes a disk of so many bytes and mounts it at the directory, which it makes. The image lies
// beside the directory and takes room as it is written.
func New(dir string, bytes int64) (d *Disk, err error) {
	d = &Disk{mount: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return d, err
	}
	if d.image, err = os.CreateTemp(filepath.Dir(dir), "disk-*.img"); err != nil {
		return d, err
	}
	if err := d.image.Truncate(bytes); err != nil {
		return d, err
	}
	if err := format(d.image.Name()); err != nil {
		return d, err
	}
	if d.loop, err = attach(d.image); err != nil {
		return d, err
	}
	if err := os.Remove(d.image.Name()); err != nil {
		return d, err
	}
	return d, d.mountIt()
}

func format(path string) error {
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-m", "0", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	return nil
}

// attach gives the image a free loop device, which detaches itself when its last user is gone.
func attach(image *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for range loopTries {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", number), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &unix.LoopConfig{
			Fd: uint32(image.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR},
		})
		if err == nil {
			return loop, nil
		}
		if err = errors.Join(err, loop.Close()); !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("attach a loop device: %w", err)
		} // somebody else was faster
	}
	return nil, errors.New("no free loop device")
}

func (d *Disk) mountIt() error {
	err := unix.Mount(d.loop.Name(), d.mount, "ext4", unix.MS_NOATIME, mountOptions)
	if err != nil {
		return fmt.Errorf("mount %s: %w", d.loop.Name(), err)
	}
	d.down = false
	return nil
}

func (d *Disk) unmount() error {
	if err := unix.Unmount(d.mount, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", d.mount, err)
	}
	return nil
}

// Path is the directory that the disk is mounted at.
func (d *Disk) Path() string { return d.mount }

// Device is the disk's device as major:minor.
func (d *Disk) Device() (string, error) {
	var s unix.Stat_t
	if err := unix.Fstat(int(d.loop.Fd()), &s); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d:%d", unix.Major(s.Rdev), unix.Minor(s.Rdev)), nil
}

// Close thaws and unmounts the disk and gives all up. No process may use it.
func (d *Disk) Close() error {
	var errs []error
	errs = append(errs, d.Thaw())
	if d.mounted() {
		errs = append(errs, d.unmount())
	}
	if d.loop != nil {
		errs = append(errs, d.loop.Close())
	}
	if d.image != nil {
		errs = append(errs, d.image.Close())
		if err := os.Remove(d.image.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// mounted tells whether the directory is on another device than its parent.
func (d *Disk) mounted() bool {
	var at, above unix.Stat_t
	if unix.Stat(d.mount, &at) != nil || unix.Stat(filepath.Dir(d.mount), &above) != nil {
		return false
	}
	return at.Dev != above.Dev
}

// Replace puts an empty file system in the place of this one. No process may use it.
func (d *Disk) Replace() error {
	if err := d.unmount(); err != nil {
		return err
	}
	if err := format(d.loop.Name()); err != nil {
		return err
	}
	return d.mountIt()
}
