package fault_test

import (
	"testing"

	"github.com/vipkv/vipkv/proto/fault"
)

func TestRegistry(t *testing.T) {
	seen := map[fault.Name]bool{}
	for _, m := range fault.Registry() {
		if m.Name == "" || m.Breaks == "" || m.Killer == "" || seen[m.Name] {
			t.Errorf("mutant %q is not well-formed or there twice", m.Name)
		}
		seen[m.Name] = true
	}
}
