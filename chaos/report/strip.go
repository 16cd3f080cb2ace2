package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vipkv/vipkv/chaos/history"
)

// strip is the drawing of availability: a row a group of keys, a cell a window of time.
type strip struct {
	chart
	Rows   []row
	Levels []key
}

// row is one group.
type row struct {
	Name, Full string
	Y          int
	TextY      int
	Paths      []path
}

// levels of the share of operations that succeeded in a window, the best first. Empty windows are not drawn.
func levels() []key {
	return []key{
		{"a0", "all"}, {"a1", "95 % and more"}, {"a2", "80 %"}, {"a3", "50 %"}, {"a4", "some"},
		{"a5", "none"},
	}
}

func level(share float64) int {
	switch {
	case share >= 1:
		return 0
	case share >= .95:
		return 1
	case share >= .8:
		return 2
	case share >= .5:
		return 3
	case share > 0:
		return 4
	}
	return 5
}

func (d *drawing) strip() strip {
	groups := d.s.groups[:min(rowsMax, len(d.s.groups))]
	length := float64(d.a.to - d.a.from)
	size := max(int64(roundTime(length/500)), int64(100*time.Millisecond))
	c := newChart("Availability", max(1, len(groups))*rowHeight, d.a, nil)
	s := strip{chart: c, Levels: levels()}
	s.Note = fmt.Sprintf("Each cell is %s of one group of keys: the share of success among those "+
		"that ended in it; none, when some waited all through it and none ended.", span(size))
	if len(groups) < len(d.s.groups) {
		s.Note += fmt.Sprintf(" The %d groups with the longest gaps of %d.",
			len(groups), len(d.s.groups))
	}
	prefix := samePrefix(groups)
	if prefix > 0 {
		s.Note += fmt.Sprintf(" All names begin with %s.", groups[0].Name[:prefix])
	}
	for i := range groups {
		g := &groups[i]
		y := top + i*rowHeight
		full := fmt.Sprintf("%s: %d operations, longest gap %s at %s", g.Name, g.all(), span(g.Gap),
			d.a.clock(g.GapAt))
		r := row{short(g.Name[prefix:]), full, y, y + rowHeight - 4, d.cells(g, size, y)}
		s.Rows = append(s.Rows, r)
	}
	return s
}

// cells draws one row, neighbours of one level as one.
func (d *drawing) cells(g *groupFact, size int64, y int) []path {
	n := int((d.a.to-d.a.from)/size) + 1
	share := shares(g.ops, d.a.from, size, n)
	at := func(i int) float64 { return d.a.x(min(d.a.to, d.a.from+int64(i)*size)) }
	var by [6]strings.Builder
	for i := 0; i < n; {
		j := i + 1
		if share[i] < 0 {
			i = j
			continue
		}
		l := level(share[i])
		for j < n && share[j] >= 0 && level(share[j]) == l {
			j++
		}
		w := num(max(at(j)-at(i), .8))
		fmt.Fprintf(&by[l], "M%s %dh%sv%dh-%sz", num(at(i)), y+1, w, rowHeight-2, w)
		i = j
	}
	var out []path
	for l := range by {
		if by[l].Len() > 0 {
			out = append(out, path{levels()[l].Class, by[l].String()})
		}
	}
	return out
}

// shares are those of success in each window; -1: nothing was asked.
func shares(ops []*history.Op, from, size int64, n int) []float64 {
	ended := make([]counts, n)
	waits := make([]int, n+1) // differences: how many operations wait all through a window
	for _, op := range ops {
		i, j := (op.Invoke-from)/size, (op.Return-from)/size
		ended[j].add(op.Type)
		if i+1 < j {
			waits[i+1]++
			waits[j]--
		}
	}
	out := make([]float64, n)
	waiting := 0
	for i := range out {
		waiting += waits[i]
		switch all := ended[i].all(); {
		case all > 0:
			out[i] = float64(ended[i].OK) / float64(all)
		case waiting > 0:
			out[i] = 0
		default:
			out[i] = -1
		}
	}
	return out
}

// samePrefix is the length of what all names begin with, when some are too long to be shown and all go on after it.
func samePrefix(groups []groupFact) int {
	long := func(g groupFact) bool { return short(g.Name) != g.Name }
	if len(groups) < 2 || !slices.ContainsFunc(groups, long) {
		return 0
	}
	same := groups[0].Name
	for i := range groups {
		for !strings.HasPrefix(groups[i].Name, same) {
			_, n := utf8.DecodeLastRuneInString(same)
			same = same[:len(same)-n]
		}
	}
	for i := range groups {
		if len(groups[i].Name) == len(same) {
			return 0
		}
	}
	return len(same)
}

// short is a name that has room before a plot.
func short(name string) string {
	if utf8.RuneCountInString(name) <= nameMax {
		return name
	}
	r := []rune(name)
	return string(r[:7]) + "…" + string(r[len(r)-nameMax+8:])
}
