package failover

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Trial is what was measured of one fault. Times are in milliseconds.
type Trial struct {
	Target   string `json:"target"`
	Evidence string `json:"evidence"`
	Gap      int64  `json:"gap_ms"`
	// Open tells that the gap lasted when the fault was mended: it would have been longer.
	Open   bool  `json:"open,omitempty"`
	Quiet  int64 `json:"quiet_ms"` // the gap of the seconds before the fault
	After  int64 `json:"after_ms"` // the gap from mending on
	Acked  int   `json:"acked"`
	Failed int   `json:"failed"` // writes whose client gave up
	// Errors are what their clients were told, and how often.
	Errors map[string]int `json:"errors,omitempty"`
}

// Row is one way to fail.
type Row struct {
	Mode   string  `json:"mode"`
	Text   string  `json:"text"`
	Trials []Trial `json:"trials"`
}

// Table is what was measured in one run.
type Table struct {
	When   string `json:"when"`
	Host   string `json:"host"`
	Build  string `json:"build"`
	Ranges int    `json:"ranges"`
	Hold   int64  `json:"hold_ms"`
	Rows   []Row  `json:"rows"`
}

// longer orders gaps: one that was open is longer than any that ended.
func longer(a, b Trial) int {
	if a.Open != b.Open {
		if a.Open {
			return 1
		}
		return -1
	}
	return cmp.Compare(a.Gap, b.Gap)
}

func gapText(t Trial) string {
	if t.Open {
		return "> " + seconds(t.Gap)
	}
	return seconds(t.Gap)
}

func seconds(ms int64) string {
	return fmt.Sprintf("%.2f s", (time.Duration(ms) * time.Millisecond).Seconds())
}

// Markdown is the table for people.
func (t *Table) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, build %s; %d ranges, held up to %s.\n\n", t.When, t.Host, t.Build,
		t.Ranges, seconds(t.Hold))
	b.WriteString("| what fails | trials | gap, p50 | gap, max | no fault, max | after mending, max " +
		"| writes failed |\n|---|---|---|---|---|---|---|\n")
	for _, r := range t.Rows {
		if len(r.Trials) == 0 {
			continue
		}
		gaps := slices.SortedFunc(slices.Values(r.Trials), longer)
		var quiet, after int64
		failed := 0
		for _, x := range r.Trials {
			quiet, after, failed = max(quiet, x.Quiet), max(after, x.After), failed+x.Failed
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %d |\n", r.Text, len(gaps),
			gapText(gaps[len(gaps)/2]), gapText(gaps[len(gaps)-1]), seconds(quiet), seconds(after), failed)
	}
	return b.String()
}

// Markers between which WriteInto puts the table.
const (
	beginMarker = "<!-- failover: begin; written by make failover WRITE=1 -->"
	endMarker   = "<!-- failover: end -->"
)

// WriteInto puts text between the markers of a file, which must have both.
func WriteInto(file, text string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(b), beginMarker)
	_, after, ok2 := strings.Cut(rest, endMarker)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no lines %q and %q", file, beginMarker, endMarker)
	}
	whole := before + beginMarker + "\n\n" + text + "\n" + endMarker + after
	return os.WriteFile(file, []byte(whole), 0o644)
}
