//go:build chaos

package raftstore_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/vipkv/vipkv/proto/fault"
)

// mutantVariable names the mutant under which this test binary runs.
const mutantVariable = "VIPKV_TEST_MUTANT"

func enableMutant() { fault.Enable(fault.Name(os.Getenv(mutantVariable))) }

// On real Pebble over a crashable file system, the crash tests turn red when the log is not synced, and only then.
func TestMutantSkipLogSync(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(mutant fault.Name) error {
		cmd := exec.Command(self, "-test.run", "^TestCrashUnderLoad$", "-test.timeout", "5m")
		cmd.Env = append(os.Environ(), mutantVariable+"="+string(mutant))
		out, err := cmd.CombinedOutput()
		t.Logf("mutant %q: %v\n%s", mutant, err, out[max(0, len(out)-600):])
		return err
	}
	if err := run(""); err != nil {
		t.Fatalf("without a mutant: %v", err)
	}
	if err := run(fault.SkipLogSync); err == nil {
		t.Fatal("acknowledged writes that are not on the disk went unseen")
	}
}
