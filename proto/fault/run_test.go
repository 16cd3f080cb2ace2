//go:build chaos

package fault_test

import (
	"slices"
	"testing"

	"github.com/vipkv/vipkv/proto/fault"
)

// TestRun: a run counts what it reached, its places fire as its seed says, and nothing fires between runs.
func TestRun(t *testing.T) {
	draw := func(seed uint64) (out []bool) {
		fault.Begin(seed, []fault.Quirk{"drop-cache"})
		for range 200 {
			out = append(out, fault.Buggify("drop-cache"))
			if fault.Buggify("read-alone") {
				t.Fatal("a place fired that is not active")
			}
		}
		fault.Reached("early-message")
		fault.Sometimes("early-message", true)
		fault.Sometimes("told-gone", false)
		probes, fired := fault.End()
		if probes["early-message"] != 2 || len(probes) != 1 {
			t.Errorf("probes: %v", probes)
		}
		if n := fired["drop-cache"]; n < 20 || n > 80 {
			t.Errorf("fired %d times of 200", n)
		}
		return out
	}
	a, b, c := draw(1), draw(1), draw(2)
	if !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Error("what fires does not follow from the seed alone")
	}
	for range 100 {
		if fault.Buggify("drop-cache") {
			t.Fatal("a place fired after the end")
		}
	}
}

// TestDraw: each place is active in about a quarter of the runs.
func TestDraw(t *testing.T) {
	count := map[fault.Quirk]int{}
	for seed := range uint64(1000) {
		for _, q := range fault.Draw(seed) {
			count[q]++
		}
	}
	for _, row := range fault.Quirks() {
		if n := count[row.Name]; n < 180 || n > 320 {
			t.Errorf("%s is active in %d of 1000 runs", row.Name, n)
		}
	}
}
