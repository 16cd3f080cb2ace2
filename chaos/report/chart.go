package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Sizes of drawings, in units of their view boxes. All share the axis of time.
const (
	width     = 1160
	left      = 136 // of the plot: names of rows and numbers stand before it
	right     = 14
	top       = 8
	bottom    = 22 // for the numbers of the axis of time
	plotWidth = width - left - right
)

// chart is one drawing: bands of faults behind, lines or dots before them.
type chart struct {
	Title  string
	Note   string
	Height int // of the whole
	Plot   frame
	Bands  []band
	X, Y   []tick
	Paths  []path
	Legend []key
}

type frame struct{ Left, Top, Width, Height, Right, Bottom int }

func framed(height int) frame {
	return frame{left, top, plotWidth, height, left + plotWidth, top + height}
}

func newChart(title string, height int, a axis, bands []band) chart {
	return chart{Title: title, Height: top + height + bottom, Plot: framed(height), X: a.ticks(),
		Bands: bands}
}

type tick struct {
	At   string
	Text string
}

// path is an SVG path of one class. D is made of numbers only.
type path struct{ Class, D string }

// key explains one class of paths.
type key struct{ Class, Text string }

// band is the time of one fault.
type band struct {
	X, Width string
	Y        int // of its lane
	Color    int
	Bit      bool
	Open     bool   // never mended
	Label    string // empty when there is no room for it
	LabelX   string
	LabelY   int
	Beside   bool // the label stands after the band
	Faint    bool // it is one of many, or had no effect
	Text     string
}

// num is a coordinate with one decimal.
func num(f float64) string { return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) }

// axis is that of time.
type axis struct{ from, to int64 }

func (a axis) x(at int64) float64 {
	return left + plotWidth*float64(at-a.from)/float64(a.to-a.from)
}

// zero is the moment that is called 0: that of the clock, when it began with the run, so that times are those of
// anomalies and files.
func (a axis) zero() int64 {
	if a.from >= 0 && a.from < int64(time.Hour) {
		return 0
	}
	return a.from
}

// clock is a moment as people read it.
func (a axis) clock(at int64) string { return span(at - a.zero()) }

// ticks are at round numbers.
func (a axis) ticks() []tick {
	step := roundTime(max(1, float64(a.to-a.from)/10))
	var out []tick
	for t := math.Ceil(float64(a.from-a.zero())/step) * step; t <= float64(a.to-a.zero()); t += step {
		out = append(out, tick{num(a.x(int64(t) + a.zero())), span(int64(t))})
	}
	return out
}

// roundTime is the least round number of nanoseconds that is not below a span.
func roundTime(ns float64) float64 {
	if ns >= 10*float64(time.Second) {
		hour := 3600.0
		for _, s := range []float64{10, 15, 30, 60, 120, 300, 600, 900, 1800, hour, 2 * hour, 3 * hour,
			6 * hour, 12 * hour} {
			if s*1e9 >= ns {
				return s * 1e9
			}
		}
		return math.Ceil(ns/86400e9) * 86400e9
	}
	return roundUp(ns)
}

// roundUp is the least of 1, 2, 5 times a power of ten that is not below f.
func roundUp(f float64) float64 {
	if f <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(f)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= f*(1-1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// span is a time as people read it, with three digits.
func span(ns int64) string {
	sign := ""
	if ns < 0 {
		sign, ns = "-", -ns
	}
	f := float64(ns)
	switch {
	case ns == 0:
		return "0"
	case f < 1e3:
		return sign + digits(f) + " ns"
	case f < 1e6:
		return sign + digits(f/1e3) + " µs"
	case f < 1e9:
		return sign + digits(f/1e6) + " ms"
	case f < 120e9:
		return sign + digits(f/1e9) + " s"
	}
	s := int64(math.Round(f / 1e9))
	if s >= 3600 {
		return fmt.Sprintf("%s%d:%02d:%02d", sign, s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%s%d:%02d", sign, s/60, s%60)
}

// digits is a number with at most three digits that say something.
func digits(f float64) string {
	decimals := 0
	for limit := 100.0; f < limit && decimals < 2; limit /= 10 {
		decimals++
	}
	s := strconv.FormatFloat(f, 'f', decimals, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// logScale places times between two powers of ten, the lesser at the bottom.
type logScale struct {
	low, high float64 // exponents
	f         frame
}

func newLogScale(least, most int64, f frame) logScale {
	exponent := func(ns int64) float64 { return math.Log10(float64(max(ns, 1000))) }
	s := logScale{math.Floor(exponent(least)), math.Ceil(exponent(most)), f}
	if s.high-s.low < 1 {
		s.high = s.low + 1
	}
	return s
}

func (s logScale) y(ns int64) float64 {
	share := (math.Log10(float64(max(ns, 1))) - s.low) / (s.high - s.low)
	return float64(s.f.Bottom) - float64(s.f.Height)*min(1, max(0, share))
}

func (s logScale) ticks() []tick {
	var out []tick
	for e := s.low; e <= s.high; e++ {
		ns := int64(math.Round(math.Pow(10, e)))
		out = append(out, tick{num(s.y(ns)), span(ns)})
	}
	return out
}

// linear places numbers from 0 up.
type linear struct {
	most float64
	step float64
	f    frame
}

func newLinear(most float64, f frame) linear {
	step := roundUp(max(most, 1) / 4)
	return linear{math.Ceil(max(most, 1)/step) * step, step, f}
}

func (l linear) y(v float64) float64 {
	return float64(l.f.Bottom) - float64(l.f.Height)*v/l.most
}

func (l linear) ticks() []tick {
	var out []tick
	for v := 0.0; v <= l.most*(1+1e-9); v += l.step {
		out = append(out, tick{num(l.y(v)), strconv.FormatFloat(v, 'f', -1, 64)})
	}
	return out
}

// line draws a line through points; a NaN breaks it.
type line struct {
	b    strings.Builder
	down bool
}

func (l *line) to(x, y float64) {
	if math.IsNaN(y) {
		l.down = false
		return
	}
	if l.down {
		l.b.WriteByte('L')
	} else {
		l.b.WriteByte('M')
	}
	l.down = true
	l.b.WriteString(num(x) + " " + num(y))
}
