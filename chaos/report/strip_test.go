package report

import (
	"slices"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/history"
)

// TestShares: a window in which clients only waited is one without success, not one without work.
func TestShares(t *testing.T) {
	op := func(from, to int64, outcome history.Type) *history.Op {
		return &history.Op{Invoke: from, Return: to, Type: outcome}
	}
	got := shares([]*history.Op{
		op(0, 5, history.OK), op(3, 8, history.Fail), // window 0: half
		op(12, 14, history.OK), // 1: all
		op(15, 45, history.OK), // 2, 3: waited all through; 4: ended
		op(46, 49, history.OK),
		op(62, 68, history.Info), // 5: nothing; 6: none
	}, 0, 10, 8)
	if want := []float64{.5, 1, 0, 0, 1, -1, 0, -1}; !slices.Equal(got, want) {
		t.Fatalf("%v, not %v", got, want)
	}
}

func TestSpan(t *testing.T) {
	for ns, want := range map[int64]string{
		0: "0", 7: "7 ns", 1500: "1.5 µs", 999_999: "1000 µs", 1_234_567: "1.23 ms", 36_100_000: "36.1 ms",
		int64(time.Second): "1 s", 119_949_000_000: "120 s", int64(125 * time.Second): "2:05",
		int64(3*time.Hour + 61*time.Second): "3:01:01", -5_000_000: "-5 ms", 100_000_000: "100 ms",
	} {
		if got := span(ns); got != want {
			t.Errorf("%d: %q, not %q", ns, got, want)
		}
	}
}

// TestTicks: some, at round numbers, within the plot, whatever the length.
func TestTicks(t *testing.T) {
	for length := int64(1); length < int64(400*24*time.Hour); length = length*3 + 1 {
		for _, from := range []int64{0, 17, 1_790_000_000_000_000_000} {
			a := axis{from, from + length}
			ticks := a.ticks()
			if len(ticks) < 2 || len(ticks) > 12 {
				t.Errorf("%d ticks over %s", len(ticks), span(length))
			}
		}
	}
}

// TestGap: the time before the first and after the last answer counts.
func TestGap(t *testing.T) {
	for _, c := range []struct {
		ops     []history.Op
		gap, at int64
	}{
		{[]history.Op{{Invoke: 10, Return: 40, Type: history.OK}}, 30, 10},
		{[]history.Op{{Invoke: 10, Return: 12, Type: history.OK}, {Invoke: 13, Return: 20, Type: history.Fail},
			{Invoke: 20, Return: 60, Type: history.Info}}, 48, 12},
		{[]history.Op{{Invoke: 0, Return: 5, Type: history.Fail}, {Invoke: 6, Return: 9, Type: history.OK},
			{Invoke: 10, Return: 12, Type: history.OK}}, 9, 0},
	} {
		s := summarize(&Run{Ops: c.ops})
		if g := s.groups[0]; g.Gap != c.gap || g.GapAt != c.at {
			t.Errorf("%+v: %d at %d, not %d at %d", c.ops, g.Gap, g.GapAt, c.gap, c.at)
		}
	}
}

// TestNames: long names that begin alike are told apart by what differs.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  int
	}{
		{[]string{"a1", "a2"}, 0},
		{[]string{"a-name-of-a-tenant/range-1", "a-name-of-a-tenant/range-2"}, 25},
		{[]string{"a-name-of-a-tenant/é", "a-name-of-a-tenant/è", "a-name-of-a-tenant/and-more"}, 19},
		{[]string{"a-name-of-a-tenant-alone", "a-name-of-a-tenant"}, 0},
		{[]string{"a-name-of-a-tenant-alone"}, 0},
	} {
		var groups []groupFact
		for _, n := range c.names {
			groups = append(groups, groupFact{Name: n})
		}
		if got := samePrefix(groups); got != c.want {
			t.Errorf("%q: %d, not %d", c.names, got, c.want)
		}
	}
}
