package sandbox_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/vipkv/vipkv/chaos/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m.Run)) }

// In the sandbox the program has other namespaces than its parent; outside it says why.
func TestSandbox(t *testing.T) {
	if !sandbox.Inside() {
		if sandbox.Missing() == nil {
			t.Error("there is no sandbox, and no reason is given")
		}
		if sandbox.Required() {
			t.Fatal(sandbox.Missing())
		}
		t.Skip("needs root and namespaces: ", sandbox.Missing())
	}
	for _, kind := range []string{"net", "mnt"} {
		outer, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", os.Getppid(), kind))
		if err != nil {
			t.Fatal(err)
		}
		if mine, err := os.Readlink("/proc/self/ns/" + kind); err != nil || mine == outer {
			t.Errorf("%s: the parent's namespace: %v", kind, err)
		}
	}
}
