package live

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

const (
	killWithin = 10 * time.Second
	stopWithin = 30 * time.Second // a node that is asked to end
)

// Processes acts on the processes of nodes on this host by signals. It finds the process of a node by the address that
// the cluster names for it, so it needs no list of process ids and never uses one that is out of date.
type Processes struct {
	// Start are the commands, by node, that start a node that has ended, for sh; templates as those of Exec. A node
	// without one must be started by somebody else, as vipkv demo and systemd do. The key "" is for all others.
	Start map[string]string
}

// Name is "processes".
func (*Processes) Name() string { return "processes" }

// Can tells that it kills, restarts and pauses.
func (*Processes) Can(fault string) bool {
	return fault == "kill" || fault == "restart" || fault == "pause"
}

// Prepare finds the process.
func (d *Processes) Prepare(_ context.Context, a Aim) (Injection, error) {
	p, err := listener(a.Node.ClientAddress)
	if err != nil {
		return Injection{}, fmt.Errorf("%v: %w", a.Node, err)
	}
	if a.Fault == "pause" {
		return d.pause(p), nil
	}
	signal, name, within := syscall.SIGKILL, "KILL", killWithin
	if a.Fault == "restart" {
		signal, name, within = syscall.SIGTERM, "TERM", stopWithin
	}
	undo, err := d.start(a)
	if err != nil {
		return Injection{}, err
	}
	return Injection{
		Text: fmt.Sprintf("kill -%s %d", name, p.PID),
		Undo: undo,
		Inject: func(ctx context.Context) error {
			if err := p.signal(signal); err != nil {
				return err
			}
			return p.ended(ctx, within)
		},
		Bit: func(context.Context) (bool, string) {
			_, err := p.state()
			return errors.Is(err, errGone), fmt.Sprintf("process %d has ended", p.PID)
		},
	}, nil
}

func (d *Processes) pause(p ProcessID) Injection {
	return Injection{
		Text:   fmt.Sprintf("kill -STOP %d", p.PID),
		Undo:   Undo{Text: fmt.Sprintf("kill -CONT %d", p.PID), Continue: &p},
		Inject: func(context.Context) error { return p.signal(syscall.SIGSTOP) },
		Bit: func(context.Context) (bool, string) {
			state, err := p.state()
			return err == nil && state == 'T', fmt.Sprintf("process %d is in state T", p.PID)
		},
	}
}

// start is how a node comes back.
func (d *Processes) start(a Aim) (Undo, error) {
	undo := Undo{Await: a.Node.ClientAddress,
		Text: fmt.Sprintf("wait until %v is started again", a.Node)}
	text, ok := d.Start[fmt.Sprint(a.Node.ID)]
	if !ok {
		text = d.Start[""]
	}
	if text == "" {
		return undo, nil
	}
	rendered, err := render("start", text, a)
	if err != nil {
		return undo, err
	}
	undo.Text, undo.Run = rendered, []string{"sh", "-c", rendered}
	undo.Unless, undo.Detach = a.Node.ClientAddress, true
	return undo, nil
}

// ended waits for the end of a process.
func (p *ProcessID) ended(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		_, err := p.state()
		if errors.Is(err, errGone) {
			return nil
		}
		if err != nil {
			return err
		}
		if pause(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("process %d has not ended after %v", p.PID, within)
		}
	}
}
