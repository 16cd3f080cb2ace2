package fault_test

import (
	"testing"

	"github.com/vipkv/vipkv/proto/fault"
)

func TestRegistry(t *testing.T) {
	seen := map[fault.Name]bool{}
	for _, m := range fault.Registry() {
		if m.Name == "" || m.Breaks == "" || len(m.Killers) == 0 || seen[m.Name] {
			t.Errorf("mutant %q is not well-formed or there twice", m.Name)
		}
		seen[m.Name] = true
	}
}

func TestLists(t *testing.T) {
	seen := map[string]bool{}
	add := func(name, says string) {
		if name == "" || says == "" || seen[name] {
			t.Errorf("%q is not well-formed or there twice", name)
		}
		seen[name] = true
	}
	for _, p := range fault.Probes() {
		add(string(p.Name), p.Says)
	}
	for _, q := range fault.Quirks() {
		add(string(q.Name), q.Does)
		if q.Fires <= 0 || q.Fires > 1 {
			t.Errorf("%s fires with chance %v", q.Name, q.Fires)
		}
	}
}
