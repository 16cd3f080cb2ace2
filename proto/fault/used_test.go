package fault_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vipkv/vipkv/proto/fault"
)

// TestNamesHaveRows: each probe and each quirk in the code has its row, and each row its place.
func TestNamesHaveRows(t *testing.T) {
	rows := map[string]bool{}
	for _, p := range fault.Probes() {
		rows[string(p.Name)] = true
	}
	for _, q := range fault.Quirks() {
		rows[string(q.Name)] = true
	}
	used := namesInCode(t)
	for name := range used {
		if !rows[name] {
			t.Errorf("%q is in the code and has no row", name)
		}
	}
	for name := range rows {
		if !used[name] {
			t.Errorf("%q has a row and is not in the code", name)
		}
	}
}

func namesInCode(t *testing.T) map[string]bool {
	call := regexp.MustCompile(`fault\.(?:Reached|Sometimes|Buggify)\("([^"]+)"`)
	used := map[string]bool{}
	for _, dir := range []string{"../../raftstore", "../../txn", "../../placement", "../../kv"} {
		if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
				return err
			}
			b, err := os.ReadFile(path)
			for _, m := range call.FindAllSubmatch(b, -1) {
				used[string(m[1])] = true
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if len(used) == 0 {
		t.Fatal("no probe was found in the code")
	}
	return used
}
