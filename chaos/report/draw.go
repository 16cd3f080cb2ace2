package report

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vipkv/vipkv/chaos/history"
)

const (
	pointsMax  = 20_000 // dots of the scatter, and one more for each column
	seldomMax  = 8_000  // of them, those of operations that were not acknowledged
	laneHeight = 18
	rowsMax    = 40
	rowHeight  = 14
	nameMax    = 20 // characters before the plot
	colors     = 8
	crowd      = 40  // faults above which bands are faint and have no names beside them
	points     = 140 // of a line
)

// drawing makes the charts of one run.
type drawing struct {
	r     *Run
	s     *summary
	a     axis
	bands []band
	lanes []lane
}

// lane is a row of the drawing of faults: those of one name.
type lane struct {
	Name  string
	Color int
	Y     int
	TextY int
	Count int
}

func newDrawing(r *Run, s *summary) *drawing {
	d := &drawing{r: r, s: s, a: axis{s.from, s.to}}
	d.arrange()
	return d
}

// arrange gives each name of a fault a lane and a color, in the order in which they came.
func (d *drawing) arrange() {
	by := map[string]int{}
	for i := range d.r.Faults {
		f := &d.r.Faults[i]
		n, ok := by[f.Name]
		if !ok {
			n = len(d.lanes)
			by[f.Name] = n
			d.lanes = append(d.lanes, lane{Name: f.Name, Color: n % colors, Y: top + n*laneHeight,
				TextY: top + n*laneHeight + laneHeight - 6})
		}
		d.lanes[n].Count++
		end := f.End
		if end == 0 {
			end = d.a.to
		}
		x0, x1 := d.a.x(f.Start), d.a.x(max(end, f.Start))
		b := band{X: num(x0), Width: num(max(x1-x0, 1.5)), Y: d.lanes[n].Y, Color: d.lanes[n].Color,
			Bit: f.Bit, Open: f.End == 0, Text: d.about(f, end)}
		b.Faint = len(d.r.Faults) > crowd || !f.Bit
		room := 6 * float64(utf8.RuneCountInString(f.Target))
		b.LabelY = b.Y + laneHeight - 6
		switch {
		case room < x1-x0-6:
			b.Label, b.LabelX = f.Target, num(x0+4)
		case x1+room+8 < d.free(f):
			b.Label, b.LabelX, b.Beside = f.Target, num(x1+5), true
		}
		d.bands = append(d.bands, b)
	}
}

// free is how far the lane of a fault is empty after it.
func (d *drawing) free(f *history.Fault) float64 {
	x := float64(left + plotWidth)
	if len(d.r.Faults) > crowd {
		return 0
	}
	for i := range d.r.Faults {
		g := &d.r.Faults[i]
		if g != f && g.Name == f.Name && g.Start >= f.Start {
			x = min(x, d.a.x(g.Start))
		}
	}
	return x
}

// about is what appears when one points at a band.
func (d *drawing) about(f *history.Fault, end int64) string {
	seen := "its effect was seen"
	if !f.Bit {
		seen = "no effect was seen"
	}
	if f.Evidence != "" {
		seen += ": " + f.Evidence
	}
	until := "never mended"
	if f.End > 0 {
		until = "to " + d.a.clock(end)
	}
	return fmt.Sprintf("%s, %s, from %s %s; %s", f.Name, f.Target, d.a.clock(f.Start), until, seen)
}

// latency is the scatter: one dot an operation, at the time of its call.
func (d *drawing) latency() chart {
	c := newChart("Latency of each operation", 260, d.a, d.bands)
	least, most := int64(math.MaxInt64), int64(0)
	for _, op := range d.s.byReturn {
		t := op.Return - op.Invoke
		least, most = min(least, t), max(most, t)
	}
	y := newLogScale(least, most, c.Plot)
	c.Y = y.ticks()
	var ok, info, fail strings.Builder
	drawn := d.sample()
	for i, op := range d.s.byReturn {
		if !drawn[i] {
			continue
		}
		x, v := num(d.a.x(op.Invoke)), num(y.y(op.Return-op.Invoke))
		switch op.Type {
		case history.OK:
			fmt.Fprintf(&ok, "M%s %sh0", x, v)
		case history.Info:
			fmt.Fprintf(&info, "M%s %sm-3 0h6m-3-3v6", x, v)
		default:
			fmt.Fprintf(&fail, "M%s %sm-2.5-2.5l5 5m-5 0l5-5", x, v)
		}
	}
	c.Paths = []path{
		{"dot ok", ok.String()}, {"mark fail", fail.String()}, {"mark info", info.String()},
	}
	c.Legend = []key{
		{"ok", fmt.Sprintf("ok (%d)", d.s.counts.OK)},
		{"fail", fmt.Sprintf("× failed for certain (%d)", d.s.counts.Fail)},
		{"info", fmt.Sprintf("+ outcome unknown (%d)", d.s.counts.Info)},
	}
	n := 0
	for _, b := range drawn {
		if b {
			n++
		}
	}
	if n < len(drawn) {
		c.Note = fmt.Sprintf("%d of %d operations are drawn: an even choice and the slowest ones.",
			n, len(drawn))
	}
	return c
}

// sample chooses what the scatter draws: all, or an even choice of each outcome and the slowest of each column.
func (d *drawing) sample() []bool {
	ops := d.s.byReturn
	drawn := make([]bool, len(ops))
	ok, seldom := d.s.counts.OK, d.s.counts.Fail+d.s.counts.Info
	wantOK, wantSeldom := ok, seldom
	if len(ops) > pointsMax {
		wantSeldom = min(seldom, max(seldomMax, pointsMax-ok))
		wantOK = min(ok, pointsMax-wantSeldom)
	}
	slowest := map[int]int{}
	nOK, nSeldom := 0, 0
	for i, op := range ops {
		if op.Type != history.OK {
			drawn[i] = nSeldom*wantSeldom/seldom != (nSeldom+1)*wantSeldom/seldom
			nSeldom++
			continue
		}
		drawn[i] = nOK*wantOK/ok != (nOK+1)*wantOK/ok
		nOK++
		column := int(d.a.x(op.Invoke))
		if j, seen := slowest[column]; !seen || op.Return-op.Invoke > ops[j].Return-ops[j].Invoke {
			slowest[column] = i
		}
	}
	for _, i := range slowest {
		drawn[i] = true
	}
	return drawn
}

// windows divides the run for lines: at least 100 ms each.
func (d *drawing) windows() (size int64, n int) {
	size = int64(roundTime(max(float64(d.a.to-d.a.from)/points, float64(100*time.Millisecond))))
	return size, int((d.a.to-d.a.from)/size) + 1
}

func (d *drawing) middle(i int, size int64) float64 {
	return d.a.x(min(d.a.to, d.a.from+int64(i)*size+size/2))
}

// rate is how many operations ended, by outcome.
func (d *drawing) rate() chart {
	size, n := d.windows()
	c := newChart("Operations that ended, per second", 130, d.a, d.bands)
	by := make([]counts, n)
	for _, op := range d.s.byReturn {
		by[(op.Return-d.a.from)/size].add(op.Type)
	}
	if n > 1 { // the last window is not a whole one
		n--
		by = by[:n]
	}
	perSecond := func(v int) float64 { return float64(v) * 1e9 / float64(size) }
	most := 0.0
	for i := range by {
		most = max(most, perSecond(max(by[i].OK, by[i].Fail, by[i].Info)))
	}
	y := newLinear(most, c.Plot)
	c.Y = y.ticks()
	var ok, fail, info line
	for i := range by {
		x := d.middle(i, size)
		ok.to(x, y.y(perSecond(by[i].OK)))
		fail.to(x, y.y(perSecond(by[i].Fail)))
		info.to(x, y.y(perSecond(by[i].Info)))
	}
	c.Paths = []path{
		{"line ok", ok.b.String()}, {"line info", info.b.String()}, {"line fail", fail.b.String()},
	}
	c.Legend = []key{{"ok", "ok"}, {"fail", "failed"}, {"info", "unknown"}}
	c.Note = "Counted over " + span(size) + "."
	return c
}

// quantiles are lines of how long acknowledged operations took.
func (d *drawing) quantiles() chart {
	size, n := d.windows()
	c := newChart("Latency of acknowledged operations, quantiles", 180, d.a, d.bands)
	times := make([][]int64, n)
	for _, op := range d.s.byReturn {
		if op.Type == history.OK {
			i := (op.Return - d.a.from) / size
			times[i] = append(times[i], op.Return-op.Invoke)
		}
	}
	least, most := int64(math.MaxInt64), int64(0)
	all := make([]quantiles, n)
	for i := range times {
		if len(times[i]) > 0 {
			all[i] = quantilesOf(times[i])
			least, most = min(least, all[i].P50), max(most, all[i].Max)
		}
	}
	y := newLogScale(least, most, c.Plot)
	c.Y = y.ticks()
	var p50, p99, top line
	for i := range all {
		x := d.middle(i, size)
		if len(times[i]) == 0 {
			p50.down, p99.down, top.down = false, false, false
			continue
		}
		p50.to(x, y.y(all[i].P50))
		p99.to(x, y.y(all[i].P99))
		top.to(x, y.y(all[i].Max))
	}
	c.Paths = []path{
		{"line most", top.b.String()}, {"line high", p99.b.String()}, {"line half", p50.b.String()},
	}
	q := d.s.latency
	c.Legend = []key{
		{"half", "median (" + span(q.P50) + " over the run)"},
		{"high", "99 % (" + span(q.P99) + ")"},
		{"most", "slowest (" + span(q.Max) + ")"},
	}
	c.Note = "Over " + span(size) + ", at the time of the answer. A line that breaks off: no answer."
	return c
}
