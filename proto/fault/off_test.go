//go:build !chaos

package fault_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vipkv/vipkv/proto/fault"
)

// TestCompiledAway: without the tag, what asks for mutants holds nothing of this package. A test binary of the replica
// core stands for the release binary.
func TestCompiledAway(t *testing.T) {
	if fault.Built {
		t.Fatal("this build has the mutants")
	}
	bin := filepath.Join(t.TempDir(), "replica.test")
	for _, args := range [][]string{
		{"test", "-c", "-o", bin, "github.com/vipkv/vipkv/raftstore/replica"},
		{"tool", "nm", bin},
	} {
		out, err := exec.Command("go", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
		if i := bytes.Index(out, []byte("vipkv/proto/fault")); i >= 0 {
			t.Errorf("the binary holds %s", bytes.SplitN(out[i:], []byte("\n"), 2)[0])
		}
	}
}
