package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

const (
	demoStopWithin   = 15 * time.Second // then SIGKILL
	demoRestartAfter = 2 * time.Second
)

// demoEvent is something that happened to a child.
type demoEvent struct {
	Event string `json:"event"` // started, restarted, exited
	Node  int    `json:"node"`
	PID   int    `json:"pid"`
	Code  int    `json:"code,omitempty"` // of exited; -1: by a signal
}

// demoChild is one node's process and what keeps it running.
type demoChild struct {
	node    int
	exe     string
	args    []string
	log     string
	restart time.Duration // after so long it is started again; 0: never
	report  func(demoEvent)
}

// run starts the process, and again when it ends, until ctx ends; then it stops it and waits. A child that says at once
// that it can not run (usage, data directory) is not started again.
func (c *demoChild) run(ctx context.Context) error {
	// The kernel ties the child's life to the thread that started it (procattr_linux.go).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	event := "started"
	for {
		code, err := c.once(ctx, event)
		if err != nil || ctx.Err() != nil {
			return err
		}
		if code == exitUsage || code == exitDirectory {
			return failf(code, "its log tells why: "+c.log, "node %d can not run: exit code %d", c.node, code)
		}
		if c.restart == 0 {
			return nil
		}
		event = "restarted"
		t := time.NewTimer(c.restart)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
	}
}

// once runs the process to its end and returns its exit code.
func (c *demoChild) once(ctx context.Context, event string) (code int, err error) {
	log, err := os.OpenFile(c.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 0, fmt.Errorf("log of node %d: %w", c.node, err)
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, c.exe, c.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttributes()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = demoStopWithin
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return 0, nil
		}
		return 0, fmt.Errorf("start node %d: %w", c.node, err)
	}
	c.report(demoEvent{Event: event, Node: c.node, PID: cmd.Process.Pid})
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && ctx.Err() == nil {
		return 0, fmt.Errorf("node %d: %w", c.node, err)
	}
	code = cmd.ProcessState.ExitCode()
	if ctx.Err() == nil {
		c.report(demoEvent{Event: "exited", Node: c.node, PID: cmd.Process.Pid, Code: code})
	}
	return code, nil
}
