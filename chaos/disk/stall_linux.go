package disk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The ioctls of fsfreeze.
const (
	freezeIoctl = 0xc0045877 // FIFREEZE
	thawIoctl   = 0xc0045878 // FITHAW
)

// watchdog thaws a file system after a limit in seconds, or when the program that holds the other end of
// its input is gone.
const watchdog = `timeout "$2" cat >/dev/null; exec fsfreeze -u "$1"`

// Freeze blocks all who write, until Thaw, or for at most limit.
func (d *Disk) Freeze(limit time.Duration) error {
	if d.ttl != nil {
		return errors.New("the disk is frozen already")
	}
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	seconds := strconv.FormatFloat(limit.Seconds(), 'f', 1, 64)
	d.watch = exec.Command("sh", "-c", watchdog, "sh", d.mount, seconds)
	d.watch.Stdin = in
	d.watch.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this program
	if err := d.watch.Start(); err != nil {
		return errors.Join(fmt.Errorf("start the watchdog: %w", err), out.Close())
	}
	d.ttl = out
	if err := d.control(freezeIoctl); err != nil {
		return errors.Join(fmt.Errorf("freeze: %w", err), d.Thaw())
	}
	return nil
}

// Thaw lets writers go on. A disk that is not frozen, or was thawed by the limit, is left alone.
func (d *Disk) Thaw() error {
	if d.ttl == nil {
		return nil
	}
	err := d.control(thawIoctl)
	if errors.Is(err, unix.EINVAL) {
		err = nil // the watchdog was first, or it never froze
	}
	err = errors.Join(err, d.ttl.Close())
	_ = d.watch.Wait() // it finds nothing to thaw, which is no news
	d.ttl, d.watch = nil, nil
	return err
}

func (d *Disk) control(request uint) error {
	at, err := os.Open(d.mount)
	if err != nil {
		return err
	}
	defer at.Close()
	return unix.IoctlSetInt(int(at.Fd()), request, 0)
}
