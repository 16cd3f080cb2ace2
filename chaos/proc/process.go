package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/vipkv/vipkv/chaos/sandbox"
)

// killWithin bounds how long the end of a process is waited for after SIGKILL.
const killWithin = 10 * time.Second

// Process is one process of the product. It ends with the program that started it, whatever way that ends.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended; then code is set
	code int
}

// Start says what process is to be started, and where.
type Start struct {
	Binary string
	Args   []string
	Env    []string // added to this program's environment
	Log    string   // file to which is appended what it prints; its directory exists
	// Enter, when set, is called in the thread that starts the process: one of sandbox.InThread.
	Enter func() error
}

// Process starts it.
func (s Start) Process() (*Process, error) {
	out, err := os.OpenFile(s.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of a process: %w", err)
	}
	p := &Process{cmd: exec.Command(s.Binary, s.Args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = append(os.Environ(), s.Env...)
	p.cmd.SysProcAttr = attributes()
	started := make(chan error, 1)
	run := func() error {
		defer out.Close()
		err := p.start(s.Enter)
		started <- err
		if err == nil {
			p.wait()
		}
		return err
	}
	// The kernel ties the child's life to the thread that started it. It ends with the process.
	go func() { _ = sandbox.InThread(run) }() // the error is in started
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Binary, err)
	}
	return p, nil
}

func (p *Process) start(enter func() error) error {
	if enter != nil {
		if err := enter(); err != nil {
			return err
		}
	}
	return p.cmd.Start()
}

func (p *Process) wait() {
	_ = p.cmd.Wait() // how it ended is in the state
	p.code = p.cmd.ProcessState.ExitCode()
	close(p.done)
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Running tells whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait waits up to limit for the end and returns the exit code; -1: ended by a signal. It fails when the process runs
// on.
func (p *Process) Wait(limit time.Duration) (code int, err error) {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-p.done:
		return p.code, nil
	case <-t.C:
		return 0, fmt.Errorf("process %d runs on after %v", p.PID(), limit)
	}
}

// Signal sends a signal; to a process that has ended it is an error.
func (p *Process) Signal(s syscall.Signal) error {
	if !p.Running() {
		return fmt.Errorf("process %d: %w", p.PID(), os.ErrProcessDone)
	}
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %v to process %d: %w", s, p.PID(), err)
	}
	return nil
}

// Kill ends the process by SIGKILL and waits for its end. One that has ended is left alone.
func (p *Process) Kill() error {
	if !p.Running() {
		return nil
	}
	if err := p.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_, err := p.Wait(killWithin)
	return err
}
