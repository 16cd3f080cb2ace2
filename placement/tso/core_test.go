package tso

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/vipkv/vipkv/proto"
)

// record is the bound as a fenced, versioned store keeps it.
type record struct {
	term  uint64
	at    proto.Timestamp
	bound int64
}

func (r *record) apply(s Save) bool {
	if s.Term != r.term {
		return false
	}
	if s.At >= r.at {
		r.at, r.bound = s.At, s.BoundMs
	}
	return true
}

// world is two nodes that lead in turn, with a clock each, crashes, and saves whose outcome comes late or never.
type world struct {
	t       *rapid.T
	rec     record
	clock   [2]int64
	core    [2]*Core
	loading [2]uint64 // generation that waits for its load
	saves   [2][]Save // under way
	leader  int
	last    proto.Timestamp
}

func (w *world) elect(node int) {
	w.rec.term++
	w.leader = node
	w.core[1-node].Stop(w.rec.term - 1)
	generation, err := w.core[node].Start(w.rec.term)
	if err != nil {
		w.t.Fatalf("start in term %d: %v", w.rec.term, err)
	}
	w.loading[node] = generation
}

func (w *world) load(node int) {
	if w.loading[node] == 0 {
		return
	}
	if node == w.leader {
		s, err := w.core[node].Loaded(w.loading[node], w.rec.bound, w.clock[node])
		if err == nil {
			w.saves[node] = append(w.saves[node], s)
		}
	}
	w.loading[node] = 0
}

// finish ends one save: applied and acknowledged, applied but reported as failed, or not applied.
func (w *world) finish(node int, outcome int) {
	if len(w.saves[node]) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.saves[node])-1).Draw(w.t, "which save")
	s := w.saves[node][i]
	switch outcome {
	case 0:
		w.saves[node] = append(w.saves[node][:i], w.saves[node][i+1:]...)
		if w.rec.apply(s) {
			_ = w.core[node].Saved(s) // refused when it is stale
		} else {
			w.core[node].SaveFailed(s)
		}
	case 1: // outcome unknown: it stays in flight and may be applied at any time
		w.core[node].SaveFailed(s)
		w.core[node].Abort(s.Generation)
	case 2:
		w.saves[node] = append(w.saves[node][:i], w.saves[node][i+1:]...)
		w.core[node].SaveFailed(s)
		w.core[node].Abort(s.Generation)
	}
}

func (w *world) take(node int) {
	count := rapid.SampledFrom([]uint32{1, 2, 1000, CountMax}).Draw(w.t, "count")
	for range rapid.IntRange(1, 30).Draw(w.t, "takes") {
		first, ok := w.core[node].Take(count, w.clock[node])
		term, _, _ := w.core[node].Serving()
		if !ok || term != w.rec.term {
			return // I5: thrown away
		}
		if first <= w.last {
			w.t.Fatalf("node %d handed out %v after %v", node, first, w.last)
		}
		w.last = first + proto.Timestamp(count) - 1
		if w.last.Physical() != first.Physical() {
			w.t.Fatalf("%d timestamps from %v cross a millisecond", count, first)
		}
		if bound := w.rec.bound; w.last.Physical() >= bound {
			w.t.Fatalf("handed out %v at or above the saved bound %d", w.last, bound)
		}
	}
}

func TestLeadersInSequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, clock: [2]int64{1000, 1000}}
		w.core[0], w.core[1] = NewCore(100, 0), NewCore(100, 0)
		w.elect(0)
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			node := rapid.IntRange(0, 1).Draw(t, "node")
			switch rapid.IntRange(0, 9).Draw(t, "action") {
			case 0:
				w.elect(node)
			case 1: // crash: memory is gone, saves under way may still be applied
				w.core[node] = NewCore(100, 0)
				w.loading[node] = 0
				if node == w.leader {
					w.elect(1 - node)
				}
			case 2:
				w.clock[node] += rapid.Int64Range(-500, 500).Draw(t, "clock")
			case 3:
				w.load(node)
			case 4, 5:
				w.finish(node, rapid.IntRange(0, 2).Draw(t, "outcome"))
			case 6:
				if s, due := w.core[node].Extend(w.clock[node]); due {
					w.saves[node] = append(w.saves[node], s)
				}
			case 7: // start again in the same term after a failure
				if node == w.leader {
					if generation, err := w.core[node].Start(w.rec.term); err == nil {
						w.loading[node] = generation
					}
				}
			default:
				w.take(node)
			}
		}
	})
}

func serve(t *testing.T, c *Core, term uint64, bound, now int64) {
	t.Helper()
	generation, err := c.Start(term)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Loaded(generation, bound, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Saved(s); err != nil {
		t.Fatal(err)
	}
}

func TestServesOnlyAfterItsBoundIsSaved(t *testing.T) {
	c := NewCore(3000, 0)
	generation, _ := c.Start(1)
	s, err := c.Loaded(generation, 5000, 100)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Take(1, 100); ok {
		t.Fatal("timestamp taken before the bound was saved")
	}
	if s.BoundMs != 8001 || s.At != proto.MakeTimestamp(5001, 0) {
		t.Fatalf("first save %+v", s)
	}
	if err := c.Saved(s); err != nil {
		t.Fatal(err)
	}
	if first, ok := c.Take(1, 100); !ok || first != proto.MakeTimestamp(5001, 1) {
		t.Fatalf("first timestamp %v %v", first, ok)
	}
}

// The outcome of the first save is open. Were its version used again, or went versions back, it could hide the bounds
// that are saved after it.
func TestAStartThatFailedNeverUsesItsVersionAgain(t *testing.T) {
	c := NewCore(3000, 0)
	generation, _ := c.Start(1)
	open, err := c.Loaded(generation, 0, 9000)
	if err != nil {
		t.Fatal(err)
	}
	c.Abort(generation)
	if generation, err = c.Start(1); err != nil {
		t.Fatal(err)
	}
	again, err := c.Loaded(generation, 0, 1000) // the clock went back
	if err != nil || again.At <= open.At {
		t.Fatalf("saves under %v after %v, %v", again.At, open.At, err)
	}
	if err := c.Saved(open); err == nil {
		t.Fatal("the save of the failed start counted for the new one")
	}
}

func TestLogicalOverflowGoesToTheNextMillisecond(t *testing.T) {
	c := NewCore(10, 0)
	serve(t, c, 1, 0, 1000) // bound 1010
	var last proto.Timestamp
	n := 0
	for {
		first, ok := c.Take(CountMax, 1000)
		if !ok {
			break
		}
		if first <= last {
			t.Fatalf("%v after %v", first, last)
		}
		last = first + CountMax - 1
		n++
	}
	// 1000 is begun by the save's version, 1001..1008 are whole, 1009 is kept for versions of saves.
	if n != 8+1 || last.Physical() != 1008 {
		t.Fatalf("%d blocks, last %v", n, last)
	}
	s, due := c.Extend(1000)
	if !due || s.At <= last || s.At.Physical() >= s.BoundMs {
		t.Fatalf("extension %+v due=%v after %v", s, due, last)
	}
	if err := c.Saved(s); err != nil {
		t.Fatal(err)
	}
	if first, ok := c.Take(1, 1000); !ok || first <= s.At {
		t.Fatalf("after the extension: %v %v", first, ok)
	}
}

func TestClockFarAheadIsRefusedAtStart(t *testing.T) {
	const day = DefaultForwardJumpMaxMs
	for _, tc := range []struct {
		name       string
		bound, now int64
		refused    bool
	}{
		{"new cluster", 0, 1 << 40, false},
		{"a day later", 1000, 1000 + day, false},
		{"more than a day", 1000, 1001 + day, true},
		{"clock behind", 1 << 40, 1000, false},
	} {
		c := NewCore(3000, day)
		generation, _ := c.Start(1)
		_, err := c.Loaded(generation, tc.bound, tc.now)
		var ahead *ClockAheadError
		if errors.As(err, &ahead) != tc.refused {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestClockFarAheadIsIgnoredWhileServing(t *testing.T) {
	c := NewCore(3000, DefaultForwardJumpMaxMs)
	serve(t, c, 1, 0, 1000)
	wrong := int64(1000 + 10*DefaultForwardJumpMaxMs)
	for range 20 {
		first, ok := c.Take(CountMax, wrong)
		if !ok || first.Physical() > 10_000 {
			t.Fatalf("took %v %v", first, ok)
		}
		if s, due := c.Extend(wrong); due {
			if s.BoundMs > 100_000 {
				t.Fatalf("bound follows the wrong clock: %+v", s)
			}
			if err := c.Saved(s); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLateOutcomesOfAnOlderIncarnationChangeNothing(t *testing.T) {
	c := NewCore(100, 0)
	serve(t, c, 1, 0, 1000)
	old, due := c.Extend(1090)
	if !due {
		t.Fatal("no extension due")
	}
	c.Stop(1)
	serve(t, c, 2, 5000, 1090)
	newer, due := c.Extend(5090)
	if !due {
		t.Fatal("no extension due in the new incarnation")
	}
	c.SaveFailed(old) // must not make room for a second save beside the one under way
	if s, due := c.Extend(5090); due {
		t.Fatalf("a stale failure let another save go: %+v", s)
	}
	if err := c.Saved(old); !errors.Is(err, ErrSuperseded) {
		t.Fatalf("a stale save counted: %v", err)
	}
	c.Stop(1) // a stale stop
	if _, _, ok := c.Serving(); !ok {
		t.Fatal("a stale stop ended a newer incarnation")
	}
	if err := c.Saved(newer); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(2); !errors.Is(err, ErrSuperseded) {
		t.Fatalf("started twice in a term: %v", err)
	}
	c.Stop(7)
	if _, err := c.Start(6); !errors.Is(err, ErrSuperseded) {
		t.Fatalf("started in a term that is over: %v", err)
	}
	serve(t, c, 7, 9000, 1090) // again, after a start that failed and was stopped
}
