package node

import "testing"

// A store whose disk was behind others says so for a while, and for longer when it comes again.
func TestSlowDiskIsRemembered(t *testing.T) {
	s, hold := slowDisk{}, slowDiskFor.Milliseconds()
	for _, step := range []struct {
		count uint64
		now   int64
		want  bool
	}{
		{0, 5, false}, {1, 10, true}, {1, 9 + hold, true}, {1, 10 + hold, false},
		{3, 20 + hold, true}, {4, 30 + hold, true}, {4, 29 + 2*hold, true}, {4, 30 + 2*hold, false},
	} {
		if got := s.lately(step.count, step.now); got != step.want {
			t.Fatalf("after %d times, at %d ms: %v", step.count, step.now, got)
		}
	}
}
