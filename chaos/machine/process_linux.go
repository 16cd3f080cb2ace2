package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	stopWithin = 20 * time.Second // a node that was asked to stop
	killed     = -1               // the exit code of a process that a signal ended
)

func processFaults() []Fault {
	return []Fault{
		{Name: "kill", Text: "SIGKILL of the node that leads most ranges", Minority: true, Ends: true,
			aim: leader, hurt: kill},
		{Name: "kill-all", Text: "SIGKILL of all nodes at once", Ends: true, aim: everyone, hurt: kill},
		{Name: "pause", Text: "SIGSTOP of the node that leads most ranges, which goes on later",
			Minority: true, aim: leader, hurt: stop},
		{Name: "stop", Text: "SIGTERM of the node that leads most ranges", Minority: true, Ends: true,
			aim: leader, hurt: terminate},
		{Name: "power-loss", Text: "the node that leads most ranges loses what it had not synced",
			Minority: true, Ends: true, aim: leader, hurt: losePower},
		{Name: "power-loss-all", Text: "all nodes lose what they had not synced, at once",
			Ends: true, aim: everyone, hurt: losePower},
		{Name: "rolling-restart", Text: "each node is stopped by SIGTERM and started again",
			Minority: true, Ends: true, aim: everyone, hurt: restartEach},
	}
}

// signalAll sends a signal to all nodes that are hurt, one right after the other.
func (h *hurt) signalAll(s syscall.Signal) error {
	for _, n := range h.nodes {
		if err := h.c.Process(n).Signal(s); err != nil {
			return fmt.Errorf("node %d: %w", n, err)
		}
	}
	return nil
}

// waitKilled waits until all have ended by the signal.
func (h *hurt) waitKilled() (evidence string, err error) {
	for _, n := range h.nodes {
		code, err := h.c.Process(n).Wait(stopWithin)
		if err != nil {
			return "", err
		}
		if code != killed {
			return "", fmt.Errorf("node %d ended with code %d, not by SIGKILL", n, code)
		}
	}
	return fmt.Sprintf("%d processes ended by SIGKILL", len(h.nodes)), nil
}

func kill(_ context.Context, h *hurt) error {
	if err := h.signalAll(syscall.SIGKILL); err != nil {
		return err
	}
	h.mend = func(context.Context) (bool, string, error) {
		evidence, err := h.waitKilled()
		return err == nil, evidence, err
	}
	return nil
}

func stop(_ context.Context, h *hurt) error {
	if err := h.signalAll(syscall.SIGSTOP); err != nil {
		return err
	}
	h.mend = func(context.Context) (bool, string, error) {
		states, err := threadStates(h.c.Process(h.node()).PID())
		if err != nil {
			return false, "", err
		}
		stopped := strings.Count(states, "T") == len(states)
		evidence := "states of its threads: " + states
		return stopped, evidence, h.signalAll(syscall.SIGCONT)
	}
	return nil
}

func terminate(_ context.Context, h *hurt) error {
	if err := h.signalAll(syscall.SIGTERM); err != nil {
		return err
	}
	h.mend = func(context.Context) (bool, string, error) {
		code, err := h.c.Process(h.node()).Wait(stopWithin)
		return err == nil && code == 0, fmt.Sprintf("it ended with code %d", code), err
	}
	return nil
}

// losePower stops all at one moment, so that nobody sees another's disk fail, takes the power, and
// kills them.
func losePower(_ context.Context, h *hurt) error {
	if err := h.signalAll(syscall.SIGSTOP); err != nil {
		return err
	}
	for _, n := range h.nodes {
		if err := h.c.boxes[n].disk.PowerOff(); err != nil {
			return fmt.Errorf("node %d: %w", n, err)
		}
	}
	if err := h.signalAll(syscall.SIGKILL); err != nil {
		return err
	}
	h.mend = func(context.Context) (bool, string, error) {
		if _, err := h.waitKilled(); err != nil {
			return false, "", err
		}
		var evidence string
		for _, n := range h.nodes {
			var err error
			if evidence, err = h.c.boxes[n].disk.PowerOn(); err != nil {
				return false, "", fmt.Errorf("node %d: %w", n, err)
			}
		}
		return true, evidence, nil
	}
	return nil
}

// restartEach is over when it returns.
func restartEach(ctx context.Context, h *hurt) error {
	for _, n := range h.nodes {
		p := h.c.Process(n)
		if err := p.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		code, err := p.Wait(stopWithin)
		if err != nil {
			return err
		}
		if code != 0 {
			return fmt.Errorf("node %d stopped with code %d", n, code)
		}
		if err := h.c.Start(n); err != nil {
			return err
		}
		time.Sleep(reportsWithin)
		if err := h.c.Healthy(ctx); err != nil {
			return err
		}
	}
	h.mend = func(context.Context) (bool, string, error) {
		return true, fmt.Sprintf("%d processes stopped with code 0 and were started", len(h.nodes)), nil
	}
	return nil
}

// reportsWithin is how old what the cluster says of itself may be.
const reportsWithin = 2 * time.Second

// threadStates are the letters of the states of a process's threads: R running, S sleeping, D waiting
// for a disk, T stopped.
func threadStates(pid int) (string, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return "", err
	}
	var states strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return "", err
		}
		// pid (name) state ...; a name may hold anything.
		if i := strings.LastIndexByte(string(b), ')'); i >= 0 && len(b) > i+2 {
			states.WriteByte(b[i+2])
		}
	}
	return states.String(), nil
}
