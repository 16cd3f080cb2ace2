package report

import (
	_ "embed" // the page and its style
	"fmt"
	"html/template"
	"io"

	"github.com/vipkv/vipkv/chaos/check"
)

//go:embed page.html
var pageText string

//go:embed page.css
var styleText string

// Bounds of what the page lists; the files beside it have all of it.
const (
	anomaliesMax = 60
	anomalyOps   = 12
	faultsMax    = 300
	eventsMax    = 500
	groupsMax    = 25
	opMax        = 600 // characters of an operation
)

// page is what the template shows.
type page struct {
	*Run
	Outcome   Outcome
	Headline  string
	Reasons   []string
	Took      string
	Figures   []Fact
	Lanes     []lane
	Bands     chart
	Charts    []chart
	Strip     strip
	Anomalies []anomaly
	Untold    int
	FaultRows []faultRow
	MoreFault int
	EventRows []Fact
	MoreEvent int
	Groups    []groupRow
	MoreGroup int
	Missed    []Probe
	Hit       []Probe
	Style     template.CSS
}

type anomaly struct {
	Checker, Name, Text string
	Ops                 []string
	MoreOps             int
	Open                bool
}

type faultRow struct {
	Color                               int
	Name, Target, Start, Took, Evidence string
	Bit                                 bool
}

type groupRow struct {
	Name, Share, Gap, At string
	Ops                  int
}

// HTML writes the page.
func HTML(w io.Writer, r *Run) error {
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return err
	}
	return t.Execute(w, newPage(r))
}

func newPage(r *Run) *page {
	s := summarize(r)
	d := newDrawing(r, s)
	p := &page{Run: r, Style: template.CSS(styleText)}
	p.Outcome, p.Reasons = r.Conclude()
	p.Headline = headline(p.Outcome, r, s)
	if took := r.Ended.Sub(r.Began); took > 0 {
		p.Took = span(int64(took))
	}
	p.figures(s)
	if len(r.Faults) > 0 {
		p.Lanes = d.lanes
		p.Bands = newChart("Faults", len(d.lanes)*laneHeight, d.a, d.bands)
	}
	if len(r.Ops) > 0 {
		p.Charts = []chart{d.latency(), d.rate(), d.quantiles()}
		p.Strip = d.strip()
	}
	p.anomalies()
	p.tables(d)
	return p
}

func headline(o Outcome, r *Run, s *summary) string {
	switch o {
	case Pass:
		faults := "no fault came"
		if n := len(r.Faults); n > 0 {
			faults = fmt.Sprintf("%s came and %d had an effect that was seen", number(n, "fault"), r.bit())
		}
		return fmt.Sprintf("Everything that was promised held: %s agree over %s, while %s.",
			number(len(r.Verdicts), "verdict"), number(s.counts.all(), "operation"), faults)
	case Fail:
		return "A promise or a budget was broken."
	case Aborted:
		return "The run was ended early, and proves nothing."
	}
	return "Too little happened for a verdict: this is not a pass."
}

// clip shortens what is too long to be read.
func clip(s string) string {
	if r := []rune(s); len(r) > opMax {
		return string(r[:opMax]) + fmt.Sprintf(" … (%d more characters)", len(r)-opMax)
	}
	return s
}

// number is a count with its noun.
func number(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func (p *page) figures(s *summary) {
	c := s.counts
	p.Figures = []Fact{{"operations", fmt.Sprint(c.all())}}
	if c.all() > 0 {
		share := 100 * float64(c.OK) / float64(c.all())
		text := fmt.Sprintf("%.2f %%", share)
		if c.OK < c.all() && text == "100.00 %" {
			text = "99.99 %"
		}
		p.Figures = append(p.Figures, Fact{"acknowledged", text}, Fact{"median", span(s.latency.P50)},
			Fact{"99 %", span(s.latency.P99)}, Fact{"slowest", span(s.latency.Max)})
		if len(s.groups) > 0 {
			p.Figures = append(p.Figures, Fact{"longest gap", span(s.groups[0].Gap)})
		}
	}
	if n := len(p.Faults); n > 0 {
		p.Figures = append(p.Figures, Fact{"faults that bit", fmt.Sprintf("%d of %d", p.bit(), n)})
	}
}

func (p *page) anomalies() {
	for i := range p.Verdicts {
		v := &p.Verdicts[i]
		for _, a := range v.Anomalies {
			if len(p.Anomalies) == anomaliesMax {
				p.Untold++
				continue
			}
			one := anomaly{Checker: title(v), Name: a.Name, Text: a.Text, Open: len(p.Anomalies) < 3}
			for j := range a.Ops {
				if j == anomalyOps {
					one.MoreOps = len(a.Ops) - j
					break
				}
				one.Ops = append(one.Ops, clip(a.Ops[j].String()))
			}
			p.Anomalies = append(p.Anomalies, one)
		}
	}
}

func (p *page) tables(d *drawing) {
	for i := range d.bands {
		if i == faultsMax {
			p.MoreFault = len(d.bands) - i
			break
		}
		f := &p.Faults[i]
		took := "never mended"
		if f.End > 0 {
			took = span(f.End - f.Start)
		}
		p.FaultRows = append(p.FaultRows, faultRow{
			d.bands[i].Color, f.Name, f.Target, d.a.clock(f.Start), took, f.Evidence, f.Bit})
	}
	for i, e := range p.Events {
		if i == eventsMax {
			p.MoreEvent = len(p.Events) - i
			break
		}
		p.EventRows = append(p.EventRows, Fact{d.a.clock(e.At), e.Text})
	}
	for i, g := range d.s.groups {
		if i == groupsMax {
			p.MoreGroup = len(d.s.groups) - i
			break
		}
		share := fmt.Sprintf("%.2f %%", 100*float64(g.OK)/float64(g.all()))
		p.Groups = append(p.Groups, groupRow{g.Name, share, span(g.Gap), d.a.clock(g.GapAt), g.all()})
	}
	for _, b := range p.Run.Probes {
		if b.Hits == 0 {
			p.Missed = append(p.Missed, b)
		} else {
			p.Hit = append(p.Hit, b)
		}
	}
}

// Title is checker and workload.
func (p *page) Title(v check.Verdict) string { return title(&v) }

// When is the beginning of the run.
func (p *page) When() string { return p.Began.UTC().Format("2006-01-02 15:04:05 UTC") }

// Dated says whether the beginning is known.
func (p *page) Dated() bool { return !p.Began.IsZero() }
