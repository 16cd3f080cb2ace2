package live

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"time"
)

const (
	commandWithin = 30 * time.Second // one command of a driver
	awaitWithin   = 60 * time.Second // for a node that was started to listen
	outputMax     = 400              // bytes of a command's output in an error
)

// Undo ends one fault. It is data, so that a journal keeps it and a process that knows nothing of the run carries it
// out. Doing it twice is the same as doing it once.
type Undo struct {
	// Text is what it does, for people.
	Text string `json:"text"`
	// Continue is a process that goes on.
	Continue *ProcessID `json:"continue,omitempty"`
	// Run is a command with its arguments.
	Run []string `json:"run,omitempty"`
	// Unless is an address: when something listens there, Run is not needed.
	Unless string `json:"unless,omitempty"`
	// Detach lets Run's process live on by itself: it is a node.
	Detach bool `json:"detach,omitempty"`
	// Await is an address at which something must listen in the end.
	Await string `json:"await,omitempty"`
}

// Do carries it out.
func (u *Undo) Do(ctx context.Context) error {
	if u.Continue != nil {
		if err := u.Continue.resume(); err != nil {
			return fmt.Errorf("%s: %w", u.Text, err)
		}
	}
	if len(u.Run) > 0 && (u.Unless == "" || !listens(ctx, u.Unless)) {
		start := command
		if u.Detach {
			start = detached
		}
		if _, err := start(ctx, u.Run); err != nil {
			return fmt.Errorf("%s: %w", u.Text, err)
		}
	}
	if u.Await == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, awaitWithin)
	defer cancel()
	for !listens(ctx, u.Await) {
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("%s: nothing listens at %s: %w", u.Text, u.Await, err)
		}
	}
	return nil
}

func listens(ctx context.Context, addr string) bool {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "tcp", addr)
	return err == nil && conn.Close() == nil
}

// command runs argv to its end and returns what it printed.
func command(ctx context.Context, argv []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out[:min(len(out), outputMax)]))
	if errors.Is(err, exec.ErrWaitDelay) { // it ended well; what it started holds its output
		err = nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil && text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return text, err
}

// pause waits d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
