package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vipkv/vipkv/chaos/limits"
)

// Main runs a program in a sandbox and returns its exit code. It starts the program again, which
// calls run; when that is not possible it calls run here. Call it first thing in main or TestMain.
func Main(run func() int) int {
	if Inside() {
		return run()
	}
	if os.Geteuid() != 0 {
		return runOutside(run, "it needs root")
	}
	if err := limits.Sweep(); err != nil {
		return runOutside(run, err.Error())
	}
	dir, err := os.MkdirTemp("", "vkchaos-")
	if err != nil {
		return runOutside(run, err.Error())
	}
	code, err := runInside(dir)
	// The inner program is gone, and its mounts with it.
	if left := errors.Join(os.RemoveAll(dir), limits.Sweep()); left != nil {
		fmt.Fprintln(os.Stderr, "sandbox: clean up:", left)
		return max(code, 1)
	}
	if err != nil {
		return runOutside(run, err.Error())
	}
	return code
}

func runOutside(run func() int, why string) int {
	if err := os.Setenv(insideEnv, "no namespaces: "+why); err != nil {
		panic(err)
	}
	return run()
}

// runInside starts this program in namespaces and waits for it. All its temporary files are in dir.
func runInside(dir string) (code int, err error) {
	runtime.LockOSThread() // the kernel kills the child when the thread that started it ends
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideEnv+"="+inside, "TMPDIR="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, // mounts become private
		Pdeathsig:    syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan struct{})
	go func() { // ends with the child
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s) // it may have ended
			case <-done:
				return
			}
		}
	}()
	err = cmd.Wait()
	close(done)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if code = cmd.ProcessState.ExitCode(); code < 0 {
		fmt.Fprintln(os.Stderr, "sandbox:", cmd.ProcessState)
		code = 2
	}
	return code, nil
}
