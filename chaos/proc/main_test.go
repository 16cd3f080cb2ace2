package proc_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/proc"
)

// flags of this package's tests, behind -args or among go test's own.
type settings struct {
	data   *string
	rounds *int
	trials *int
}

// binaries are the programs under test: the release, and the build with fault points, made when it is asked for.
type binaries struct {
	dir     string
	release string
	chaos   func() (string, error)
}

// bin and set are written once, before the first test.
var (
	bin binaries
	set settings
)

func TestMain(m *testing.M) {
	set = settings{
		data:   flag.String("data", "", "file of messages to import, as vipkv import wants it; empty: made up"),
		rounds: flag.Int("rounds", 3, "how often all nodes are killed at once"),
		trials: flag.Int("trials", 3, "how often the write gap is measured"),
	}
	flag.Parse()
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "vipkv-proc-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = binaries{dir: dir, release: filepath.Join(dir, "vipkv")}
	bin.chaos = sync.OnceValues(func() (string, error) {
		path := filepath.Join(dir, "vipkv-chaos")
		return path, build(path, "-tags", "chaos")
	})
	if err := build(bin.release); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func build(path string, args ...string) error {
	args = append(append([]string{"build", "-o", path}, args...), "github.com/vipkv/vipkv/cmd/vipkv")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("build vipkv: %w\n%s", err, out)
	}
	return nil
}

// newCluster starts a cluster that ends with the test. When the test fails its logs are printed.
func newCluster(t *testing.T, o proc.Options) *proc.Cluster {
	t.Helper()
	if o.Binary == "" {
		o.Binary = bin.release
	}
	o.Dir = t.TempDir()
	t.Cleanup(func() {
		if t.Failed() {
			printLogs(t, o.Dir)
		}
	})
	c, err := proc.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

const logTail = 6 << 10 // bytes a log, when a test failed

func printLogs(t *testing.T, dir string) {
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Error(err)
	}
	for _, f := range logs {
		tail, err := proc.Tail(f, logTail)
		t.Logf("%s (%v):\n%s", filepath.Base(f), err, tail)
	}
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// terminate is how an operator asks a node to stop.
const terminate = syscall.SIGTERM

func makeKeyfile(t *testing.T, path string) {
	t.Helper()
	if out, err := exec.Command(bin.release, "keyfile", "create", path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// within is a context for what must not take longer.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// vipkv runs the client side of the binary and returns its exit code and what it printed.
func vipkv(t *testing.T, c *proc.Cluster, credential string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin.release, args...)
	cmd.Env = append(os.Environ(), "VIPKV_CREDENTIAL="+credential, "VIPKV_ENDPOINTS="+strings.Join(c.Endpoints(), ","))
	return runCommand(t, cmd)
}

func runCommand(t *testing.T, cmd *exec.Cmd) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Error(err)
		return -1, "", err.Error()
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// symbols lists the symbols of a binary.
func symbols(t *testing.T, path string) []byte {
	t.Helper()
	out, err := exec.Command("go", "tool", "nm", path).Output()
	must(t, err)
	return out
}
