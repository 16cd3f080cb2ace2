// Package sandboxtest skips tests that a machine can not run, or fails them where nothing may be
// skipped.
package sandboxtest

import (
	"testing"

	"github.com/vipkv/vipkv/chaos/sandbox"
)

// Need goes on when the test runs in a sandbox and the probe succeeds. Else the test is skipped with
// the reason, or fails when CHAOS_REQUIRE=1 is set.
func Need(t testing.TB, what string, probe func() error) {
	t.Helper()
	err := sandbox.Missing()
	if err == nil {
		err = probe()
	}
	switch {
	case err == nil:
	case sandbox.Required():
		t.Fatalf("CHAOS_REQUIRE is set, and this machine can not do %s: %v", what, err)
	default:
		t.Skipf("needs %s, which this machine can not do: %v", what, err)
	}
}
