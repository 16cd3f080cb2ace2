package soak

import (
	"fmt"
	"slices"
	"time"
)

// Series is what was measured of one process, from its start to its end.
type Series struct {
	Node    int
	PID     int
	Samples []Sample
}

// Span is the time between the first and the last sample.
func (s *Series) Span() time.Duration {
	if len(s.Samples) == 0 {
		return 0
	}
	return s.Samples[len(s.Samples)-1].At.Sub(s.Samples[0].At)
}

// Bound is what one measure may grow while a process is warm: Relative of its median, and Slack
// besides. Slack is for what is large and of bounded size and fills at its own pace, such as memtables.
type Bound struct {
	Name     string
	Of       func(Sample) float64
	Relative float64
	Slack    float64
}

// Bounds of all measures. A table of an engine's memory is 64 MiB, and the garbage collector lets
// the heap double.
func Bounds() []Bound {
	const mib = 1 << 20
	return []Bound{
		{"resident bytes", func(s Sample) float64 { return s.Resident }, 0.2, 160 * mib},
		{"heap bytes", func(s Sample) float64 { return s.Heap }, 0.2, 160 * mib},
		{"goroutines", func(s Sample) float64 { return s.Goroutines }, 0.1, 20},
		{"open files", func(s Sample) float64 { return s.Files }, 0.1, 40},
	}
}

// pointsMax bounds the work of a trend: more samples are put together.
const pointsMax = 400

// Growth is how much a measure grew over all but the first third of the samples, by the median of
// the slopes between any two of them (Theil and Sen): one burst, or a collection of garbage, does
// not move it. median is that of the values.
func (s *Series) Growth(of func(Sample) float64) (growth, median float64) {
	warm := s.Samples[len(s.Samples)/3:]
	if len(warm) < 2 {
		return 0, 0
	}
	at, values := points(warm, of)
	var slopes []float64
	for i := range values {
		for j := i + 1; j < len(values); j++ {
			if d := at[j] - at[i]; d > 0 {
				slopes = append(slopes, (values[j]-values[i])/d)
			}
		}
	}
	if len(slopes) == 0 {
		return 0, middle(values)
	}
	return middle(slopes) * (at[len(at)-1] - at[0]), middle(values)
}

// points are the times in seconds and the values, neighbours put together by their medians.
func points(samples []Sample, of func(Sample) float64) (at, values []float64) {
	group := (len(samples) + pointsMax - 1) / pointsMax
	for g := range slices.Chunk(samples, group) {
		v := make([]float64, len(g))
		for i := range g {
			v[i] = of(g[i])
		}
		at = append(at, g[len(g)/2].At.Sub(samples[0].At).Seconds())
		values = append(values, middle(v))
	}
	return at, values
}

func middle(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// Judge says what grew beyond its bound; empty: nothing.
func (s *Series) Judge(bounds []Bound) (grew []string) {
	for _, b := range bounds {
		growth, median := s.Growth(b.Of)
		if most := b.Relative*median + b.Slack; growth > most {
			grew = append(grew, fmt.Sprintf(
				"node %d, process %d: %s grew by %.0f in the last %v, allowed is %.0f, the median %.0f",
				s.Node, s.PID, b.Name, growth, (s.Span()*2/3).Round(time.Second), most, median))
		}
	}
	return grew
}
