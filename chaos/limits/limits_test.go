//go:build linux

package limits_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/disk"
	"github.com/vipkv/vipkv/chaos/limits"
	"github.com/vipkv/vipkv/chaos/sandbox"
	"github.com/vipkv/vipkv/chaos/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m.Run)) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func group(t *testing.T) *limits.Group {
	t.Helper()
	sandboxtest.Need(t, "control groups", limits.Probe)
	g, err := limits.New(strings.ToLower(t.Name()))
	must(t, err)
	t.Cleanup(func() { must(t, g.Close()) })
	return g
}

// run runs a shell command in the groups and returns how long it took.
func run(g *limits.Group, command string) (took time.Duration, err error) {
	err = sandbox.InThread(func() error {
		if err := g.Enter(); err != nil {
			return err
		}
		began := time.Now()
		err := exec.Command("sh", "-c", command).Run()
		took = time.Since(began)
		return err
	})
	return took, err
}

func TestCPU(t *testing.T) {
	g := group(t)
	must(t, g.LimitCPU(0.1))
	_, err := run(g, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")
	must(t, err)
	if n, err := g.Throttled(); err != nil || n == 0 {
		t.Errorf("it never had to wait for its share: %v", err)
	}
	must(t, g.LimitCPU(0))
}

func TestMemory(t *testing.T) {
	g := group(t)
	must(t, g.LimitMemory(16<<20))
	if _, err := run(g, "head -c 100000000 /dev/zero | tail -c 100000000 >/dev/null"); err == nil {
		t.Error("it had 100 MB where 16 are allowed")
	}
	if _, refused, err := g.Memory(); err != nil || refused == 0 {
		t.Errorf("it never ran against its limit: %v", err)
	}
	must(t, g.LimitMemory(0))
	_, err := run(g, "head -c 100000000 /dev/zero | tail -c 100000000 >/dev/null")
	must(t, err)
}

func TestSlowWrites(t *testing.T) {
	g := group(t)
	sandboxtest.Need(t, "disks", disk.Probe)
	d, err := disk.New(filepath.Join(t.TempDir(), "disk"), 32<<20)
	must(t, err)
	defer d.Close()
	device, err := d.Device()
	must(t, err)
	const perSecond, writes = 10, 20
	command := "dd if=/dev/zero bs=4k count=20 oflag=dsync status=none of=" + d.Path() + "/x"
	fast, err := run(g, command)
	must(t, err)
	must(t, g.SlowWrites(device, perSecond))
	slow, err := run(g, command)
	must(t, err)
	if least := time.Second * writes / perSecond / 2; slow < least || slow < 2*fast {
		t.Errorf("%d writes took %v, %v without the limit", writes, slow, fast)
	}
	must(t, g.SlowWrites(device, 0))
}

func TestFreeze(t *testing.T) {
	g := group(t)
	must(t, g.Freeze())
	done := make(chan error, 1)
	cmd := exec.Command("true")
	go func() {
		done <- sandbox.InThread(func() error {
			if err := g.Enter(); err != nil { // it is frozen itself as it enters
				return err
			}
			return cmd.Run()
		})
	}()
	select {
	case err := <-done:
		t.Errorf("a frozen group ran: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	must(t, g.Thaw())
	must(t, <-done)
}
