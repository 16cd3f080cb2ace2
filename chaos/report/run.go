package report

import (
	"fmt"
	"slices"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

// Run is all that is known of one run. Times of operations, faults and events are of one clock.
type Run struct {
	Name  string    `json:"name"` // what was run, in a few words
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	// Facts are the seed, the options and what the machines were, in the order in which they are shown.
	Facts []Fact `json:"facts,omitempty"`
	// Reproduce are the commands that repeat the run.
	Reproduce []string `json:"reproduce,omitempty"`

	Ops      []history.Op    `json:"-"`
	Faults   []history.Fault `json:"faults,omitempty"`
	Skipped  []Skipped       `json:"skipped,omitempty"`
	Events   []Event         `json:"events,omitempty"`
	Verdicts []check.Verdict `json:"verdicts,omitempty"`
	Budgets  []Budget        `json:"budgets,omitempty"`
	Probes   []Probe         `json:"probes,omitempty"`

	// Problems are further reasons to call it failed, Doubts to call it void; Aborted is why it was ended early.
	Problems []string `json:"problems,omitempty"`
	Doubts   []string `json:"doubts,omitempty"`
	Aborted  string   `json:"aborted,omitempty"`

	// Group names the range, or the group of keys, that an operation belongs to in the strip of availability; "" leaves
	// it out. Nil: its workload and tenant.
	Group func(op *history.Op) string `json:"-"`
}

// Fact is something that is known of a run beforehand.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Skipped is a fault that did not come.
type Skipped struct {
	Fault  string `json:"fault"`
	Target string `json:"target"`
	Reason string `json:"reason"`
}

// Event is something that happened: a change of leaders, a split, a node that came back.
type Event struct {
	At   int64  `json:"at_ns"`
	Text string `json:"text"`
}

// Budget is an assertion with what was measured.
type Budget struct {
	Name  string `json:"name"`
	Limit string `json:"limit"`
	Value string `json:"value"`
	OK    bool   `json:"ok"`
}

// Probe is a rare thing that a run should come by, and how often it did.
type Probe struct {
	Name string `json:"name"`
	Hits int    `json:"hits"`
}

// Outcome is what a run concludes.
type Outcome string

// The outcomes. Only Pass is green.
const (
	Pass    Outcome = "pass"
	Fail    Outcome = "fail"    // a promise or a budget is broken
	Aborted Outcome = "aborted" // it was ended early
	Void    Outcome = "void"    // too little happened for a verdict
)

// Conclude is the outcome, and in words why it is not a pass. What is broken counts before all else, and so it does in
// a run that was ended early.
func (r *Run) Conclude() (Outcome, []string) {
	broken, doubts := slices.Clone(r.Problems), slices.Clone(r.Doubts)
	for i := range r.Verdicts {
		v := &r.Verdicts[i]
		switch v.Outcome {
		case check.Pass:
		case check.Fail:
			broken = append(broken, fmt.Sprintf("%s failed: %s", title(v), v.Reason))
		default:
			doubts = append(doubts, fmt.Sprintf("%s is %s: %s", title(v), v.Outcome, v.Reason))
		}
	}
	for _, b := range r.Budgets {
		if !b.OK {
			broken = append(broken,
				fmt.Sprintf("budget %s: %s, the limit is %s", b.Name, b.Value, b.Limit))
		}
	}
	if len(r.Verdicts) == 0 {
		doubts = append(doubts, "no checker looked at it")
	}
	if bit := r.bit(); len(r.Faults) > 0 && bit == 0 {
		doubts = append(doubts, fmt.Sprintf("no effect was seen of %d faults", len(r.Faults)))
	}
	switch {
	case len(broken) > 0 && r.Aborted != "":
		return Fail, append(broken, "it was ended early: "+r.Aborted)
	case len(broken) > 0:
		return Fail, broken
	case r.Aborted != "":
		return Aborted, []string{r.Aborted}
	case len(doubts) > 0:
		return Void, doubts
	}
	return Pass, nil
}

// bit counts the faults whose effect was seen.
func (r *Run) bit() int {
	n := 0
	for i := range r.Faults {
		if r.Faults[i].Bit {
			n++
		}
	}
	return n
}

// title is checker and workload.
func title(v *check.Verdict) string {
	if v.Workload == "" {
		return v.Checker
	}
	return v.Checker + " of " + v.Workload
}
