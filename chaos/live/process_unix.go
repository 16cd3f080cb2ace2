//go:build linux || darwin || freebsd

package live

import (
	"context"
	"os"
	"os/exec"
	"syscall"
)

// apart gives a process a session of its own: the terminal's signals do not reach it.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// detached starts argv in a session of its own and does not wait for its end. It prints nowhere.
func detached(_ context.Context, argv []string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = apart()
	if err := cmd.Start(); err != nil {
		return "", err
	}
	go func() { _ = cmd.Wait() }() // ends with the node; its exit code is the node's own affair
	return "", nil
}

// lockFile takes an exclusive lock that ends with the file or the process.
func lockFile(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
