package soak_test

import (
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/soak"
)

// series is an hour of samples, one each five seconds, of a value that is a function of the second.
func series(value func(second float64) float64) *soak.Series {
	s := &soak.Series{Node: 1, PID: 7}
	for i := range 720 {
		second := float64(5 * i)
		s.Samples = append(s.Samples, soak.Sample{
			At: time.Unix(int64(second), 0), Goroutines: value(second)})
	}
	return s
}

func TestGrowth(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	noise := func(most float64) float64 { return most * (r.Float64() - 0.5) }
	bound := []soak.Bound{{Name: "x", Of: func(s soak.Sample) float64 { return s.Goroutines },
		Relative: 0.1, Slack: 20}}
	for _, c := range []struct {
		name  string
		value func(float64) float64
		grew  bool
	}{
		{"flat", func(float64) float64 { return 300 }, false},
		{"noise", func(float64) float64 { return 300 + noise(200) }, false},
		{"a saw's teeth", func(s float64) float64 { return 300 + float64(int(s)%200) }, false},
		{"warms up, then flat", func(s float64) float64 { return 300 + min(s, 1200) }, false},
		{"one burst at the end", func(s float64) float64 {
			if s > 3300 {
				return 3000
			}
			return 300
		}, false},
		{"shrinks", func(s float64) float64 { return 5000 - s }, false},
		{"leaks", func(s float64) float64 { return 300 + s/20 + noise(100) }, true},
		{"leaks under teeth", func(s float64) float64 { return 300 + float64(int(s)%200) + s/20 }, true},
		{"leaks in steps", func(s float64) float64 { return 300 + 50*float64(int(s)/600) }, true},
	} {
		if grew := series(c.value).Judge(bound); (len(grew) > 0) != c.grew {
			t.Errorf("%s: %q", c.name, grew)
		}
	}
}

func TestTakeNeedsMetrics(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux: what is measured is in /proc")
	}
	s, err := soak.Take(t.Context(), os.Getpid(), "127.0.0.1:1")
	if err == nil {
		t.Error("metrics of nobody")
	}
	if s.Resident < 1<<20 || s.Files < 3 {
		t.Errorf("%+v", s)
	}
}
