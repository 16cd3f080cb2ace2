package live

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/report"
)

// budget is one assertion: a limit in nanoseconds, in percent, or a count.
type budget struct {
	name  string
	text  string
	limit float64
}

// budgets reads those of the plan, in the order of their names.
func (p *Plan) budgets() (out []budget, err error) {
	for _, name := range slices.Sorted(maps.Keys(p.Budgets)) {
		b := budget{name: name, text: p.Budgets[name]}
		parts := strings.Split(name, ".")
		switch {
		case name == "gap.max", name == "recovery.max":
			b.limit, err = limitTime(b.text)
		case len(parts) == 3 && parts[0] == "gap" && parts[2] == "max":
			if _, err = fault(parts[1]); err == nil {
				b.limit, err = limitTime(b.text)
			}
		case name == "errors.max":
			b.limit, err = percent(b.text)
		case name == "ops.min":
			b.limit, err = strconv.ParseFloat(b.text, 64)
		default:
			err = fmt.Errorf("there are gap.max, gap.FAULT.max, recovery.max, errors.max and ops.min")
		}
		if err != nil {
			return nil, fmt.Errorf("budget %s: %w", name, err)
		}
		out = append(out, b)
	}
	return out, nil
}

func limitTime(s string) (float64, error) {
	d, err := time.ParseDuration(s)
	if err == nil && d <= 0 {
		err = fmt.Errorf("%s is not positive", s)
	}
	return float64(d), err
}

func percent(s string) (float64, error) {
	number, ok := strings.CutSuffix(strings.TrimSpace(s), "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if !ok || err != nil || f < 0 || f > 100 {
		return 0, fmt.Errorf("%q is no percentage: 1%% is one", s)
	}
	return f, nil
}

// stopShare is the share of failed probes, 0 to 1, that ends the run; 0: none does.
func (p *Plan) stopShare() (float64, error) {
	if p.StopIf.Errors == "" {
		return 0, nil
	}
	f, err := percent(p.StopIf.Errors)
	if err == nil && f == 0 {
		err = fmt.Errorf("0%% would end every run")
	}
	if err != nil {
		return 0, fmt.Errorf("stop-if: %w", err)
	}
	return f / 100, nil
}

// measured is what budgets are about.
type measured struct {
	probes   []history.Op
	faults   []history.Fault
	end      int64 // when the probes stopped
	recovery time.Duration
	acked    int // operations of the workloads
}

// judge measures and compares. A budget about which nothing was measured is not kept.
func (m *measured) judge(all []budget) (out []report.Budget) {
	for _, b := range all {
		r := report.Budget{Name: b.name, Limit: b.text}
		switch {
		case b.name == "gap.max":
			gap := m.longest(func(history.Fault) bool { return true }, true)
			r.Value = gap.Round(time.Millisecond).String()
			r.OK = float64(gap) <= b.limit && len(m.probes) > 0
		case strings.HasPrefix(b.name, "gap."):
			name := strings.Split(b.name, ".")[1]
			n := 0
			gap := m.longest(func(f history.Fault) bool {
				mine := f.Name == name && f.Bit
				if mine {
					n++
				}
				return mine
			}, false)
			r.Value = fmt.Sprintf("%v, of %d", gap.Round(time.Millisecond), n)
			r.OK = float64(gap) <= b.limit && n > 0 && len(m.probes) > 0
		case b.name == "recovery.max":
			r.Value, r.OK = m.recovery.Round(time.Millisecond).String(), float64(m.recovery) <= b.limit
		case b.name == "errors.max":
			share := 100 * m.failed()
			r.Value, r.OK = fmt.Sprintf("%.2f%%", share), share <= b.limit && len(m.probes) > 0
		case b.name == "ops.min":
			r.Value, r.OK = strconv.Itoa(m.acked), float64(m.acked) >= b.limit
		}
		out = append(out, r)
	}
	return out
}

// failed is the share of the probes' writes that were not acknowledged.
func (m *measured) failed() float64 {
	if len(m.probes) == 0 {
		return 1
	}
	n := 0
	for i := range m.probes {
		if m.probes[i].Type != history.OK {
			n++
		}
	}
	return float64(n) / float64(len(m.probes))
}

// aftermath is for how long after its end a fault is charged with gaps that begin then.
const aftermath = 5 * time.Second

// longest is the longest time between two acknowledged writes of one key: over the whole run, or of those that overlap
// a fault or what comes right after it.
func (m *measured) longest(of func(history.Fault) bool, whole bool) (longest time.Duration) {
	var windows [][2]int64
	for _, f := range m.faults {
		if of(f) {
			end := f.End
			if end == 0 {
				end = m.end
			}
			windows = append(windows, [2]int64{f.Start, end + int64(aftermath)})
		}
	}
	overlaps := func(from, to int64) bool {
		return whole ||
			slices.ContainsFunc(windows, func(w [2]int64) bool { return from < w[1] && to > w[0] })
	}
	last := map[string]int64{}
	for i := range m.probes {
		op := &m.probes[i]
		if _, seen := last[op.Key]; !seen {
			last[op.Key] = op.Invoke
		}
		if op.Type == history.OK {
			if overlaps(last[op.Key], op.Return) {
				longest = max(longest, time.Duration(op.Return-last[op.Key]))
			}
			last[op.Key] = op.Return
		}
	}
	for _, at := range last { // the gap that has no end
		if overlaps(at, m.end) {
			longest = max(longest, time.Duration(m.end-at))
		}
	}
	return longest
}
