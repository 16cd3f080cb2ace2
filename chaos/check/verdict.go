package check

import (
	"fmt"

	"github.com/vipkv/vipkv/chaos/history"
)

// Outcome is what a checker concludes.
type Outcome string

// The outcomes. Only Pass is green.
const (
	Pass      Outcome = "pass"
	Fail      Outcome = "fail"      // a promise is broken; Anomalies say how
	Undecided Outcome = "undecided" // the search was given up
	Void      Outcome = "void"      // too little happened for a verdict
)

// Verdict is what one checker says of one workload's operations.
type Verdict struct {
	Checker   string    `json:"checker"`
	Workload  string    `json:"workload,omitempty"`
	Outcome   Outcome   `json:"outcome"`
	Reason    string    `json:"reason,omitempty"` // in words, when it is not a pass
	Ops       int       `json:"ops"`              // that it looked at
	Anomalies []Anomaly `json:"anomalies,omitempty"`
}

// Anomaly is one broken promise with the fewest operations that show it.
type Anomaly struct {
	Name string       `json:"name"` // "lost-write", "stale-read", "G1c", ...
	Text string       `json:"text"` // the story in words, one sentence an operation
	Ops  []history.Op `json:"ops,omitempty"`
}

// Checker judges the operations of one workload. It changes nothing in ops.
type Checker interface {
	Name() string
	Check(ops []history.Op) Verdict
}

// Err is nil for a pass, and else an error that tells the reason and the first anomaly.
func (v *Verdict) Err() error {
	switch {
	case v.Outcome == Pass:
		return nil
	case len(v.Anomalies) == 0:
		return fmt.Errorf("%s: %s: %s", v.Checker, v.Outcome, v.Reason)
	}
	a := v.Anomalies[0]
	return fmt.Errorf("%s: %s: %s; first, %s: %s", v.Checker, v.Outcome, v.Reason, a.Name, a.Text)
}

// checker is a Checker made of a name and a function.
type checker struct {
	name  string
	judge func(ops []history.Op, f *findings)
}

func (c checker) Name() string { return c.name }

func (c checker) Check(ops []history.Op) Verdict {
	f := &findings{}
	c.judge(ops, f)
	v := f.verdict()
	v.Checker = c.name
	return v
}
