//go:build linux

package disk_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/disk"
	"github.com/vipkv/vipkv/chaos/sandbox/sandboxtest"
)

// hangEnv makes TestHang hang.
const hangEnv = "VKCHAOS_TEST_HANG"

// TestHang freezes a disk, blocks a writer on it, and waits to be killed, when TestKilledWhileFrozen asks
// for it.
func TestHang(t *testing.T) {
	if os.Getenv(hangEnv) == "" {
		t.Skip("needs TestKilledWhileFrozen to run it")
	}
	d := newDisk(t)
	must(t, d.Freeze(10*time.Minute))
	cmd := exec.Command("dd", "if=/dev/zero", "of="+filepath.Join(d.Path(), "x"), "bs=4k", "count=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	_, err := os.Stdout.WriteString("hanging\n")
	must(t, err)
	time.Sleep(10 * time.Minute)
}

// A program that is killed while a disk is frozen and written to leaves nothing: the disk thaws, its
// writer and its device are gone.
func TestKilledWhileFrozen(t *testing.T) {
	sandboxtest.Need(t, "disks", disk.Probe)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestHang$", "-test.v")
	cmd.Env = append(os.Environ(), hangEnv+"=1", "VKCHAOS_SANDBOX=") // a sandbox of its own
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	waitForLine(t, out, "hanging")
	if attached(t) != 1 {
		t.Fatalf("%d disks are attached", attached(t))
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for range 100 {
		if attached(t) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the disk is attached after ten seconds")
}

func waitForLine(t *testing.T, r io.Reader, want string) {
	t.Helper()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if lines.Text() == want {
			return
		}
		t.Log(lines.Text())
	}
	t.Fatalf("it ended without %q", want)
}

// attached counts the loop devices with a file in this program's directory.
func attached(t *testing.T) (n int) {
	t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	must(t, err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && strings.HasPrefix(string(b), os.TempDir()) {
			n++
		}
	}
	return n
}
