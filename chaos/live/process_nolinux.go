//go:build !linux

package live

import (
	"errors"
	"syscall"
)

// ProcessID is one process for ever.
type ProcessID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

var (
	errGone     = errors.New("the process has ended")
	errNotLinux = errors.New("the processes driver needs Linux; use the exec driver here")
)

func (p *ProcessID) state() (byte, error)        { return 0, errNotLinux }
func (p *ProcessID) signal(syscall.Signal) error { return errNotLinux }
func (p *ProcessID) resume() error               { return errNotLinux }
func listener(string) (ProcessID, error)         { return ProcessID{}, errNotLinux }
