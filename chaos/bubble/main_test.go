package bubble_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const (
	// childEnv names the test that a process is to run in its bubble.
	childEnv = "VIPKV_BUBBLE"
	// childLimit bounds a scenario in real time: on a quiet machine it takes a fraction. childGrace is what a dump of its
	// goroutines may take then.
	childLimit = 10 * time.Minute
	childGrace = 30 * time.Second
	logTail    = 256 << 10
)

// inBubble runs scenario in a bubble, in a process of its own: this binary again, for this test alone.
func inBubble(t *testing.T, scenario func(t *testing.T)) {
	t.Helper()
	if os.Getenv(childEnv) == t.Name() {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			defer func() {
				t.Logf("%v of virtual time", time.Since(began).Round(time.Millisecond))
				if t.Failed() {
					_ = pprof.Lookup("goroutine").WriteTo(os.Stdout, 1) // what can be seen of it
				}
			}()
			scenario(t)
		})
		return
	}
	t.Parallel() // as many as GOMAXPROCS at a time
	ctx, cancel := context.WithTimeout(t.Context(), childLimit+childGrace)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v",
		fmt.Sprintf("-test.timeout=%v", childLimit))
	cmd.Env = append(os.Environ(), childEnv+"="+t.Name(), "GOTRACEBACK=all")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // prints its goroutines
	cmd.WaitDelay = childGrace
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		t.Fatal(err)
	case err != nil || bytes.Contains(out.Bytes(), []byte("DATA RACE")):
		t.Fatalf("%v\n%s", err, ends(out.String()))
	}
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "_test.go:") {
			t.Log(strings.TrimSpace(line))
		}
	}
	t.Logf("%v of real time", time.Since(began).Round(10*time.Millisecond))
}

// ends are the beginning and the end of a long text: a failure is first named, or last.
func ends(s string) string {
	if len(s) <= 2*logTail {
		return s
	}
	return s[:logTail] + "\n...\n" + s[len(s)-logTail:]
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
