//go:build !(linux || darwin || freebsd)

package live

import (
	"context"
	"os"
	"os/exec"
	"syscall"
)

func apart() *syscall.SysProcAttr { return nil }

func detached(_ context.Context, argv []string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	if err := cmd.Start(); err != nil {
		return "", err
	}
	go func() { _ = cmd.Wait() }() // ends with the node; its exit code is the node's own affair
	return "", nil
}

// lockFile does nothing here: two runs with one journal are not kept apart on this system.
func lockFile(*os.File) error { return nil }
