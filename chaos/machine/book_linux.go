package machine

import (
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/report"
)

// Book gathers scenarios into one report.
type Book struct {
	run     report.Run
	clients int // numbers that are used already
}

// NewBook begins a report of a run of all faults.
func NewBook(seed uint64, rounds int, hold time.Duration) *Book {
	var can strings.Builder
	WriteCapabilities(&can)
	return &Book{run: report.Run{
		Name: "faults of machines, on real processes", Began: time.Now().UTC(),
		Facts: []report.Fact{
			{Name: "seed", Value: fmt.Sprint(seed)},
			{Name: "rounds", Value: fmt.Sprintf("%d, each fault lasts %v", rounds, hold)},
			{Name: "machine", Value: fmt.Sprintf("%s, %d CPUs", runtime.GOOS, runtime.NumCPU())},
			{Name: "capabilities", Value: can.String()},
		},
		Reproduce: []string{fmt.Sprintf(
			"go test ./chaos/machine -run TestChaos -count=1 -v -timeout=60m -rounds=%d -hold=%v -seed=%d",
			rounds, hold, seed)},
		Group: func(op *history.Op) string {
			_, of, _ := strings.Cut(op.Workload, " ") // all scenarios in one row
			return of + " " + op.Tenant
		},
	}}
}

// Add puts a scenario into the report, on the clock of the whole run. Client numbers and names of
// workloads are made unique.
func (b *Book) Add(o *Outcome) {
	shift := o.Began.Sub(b.run.Began).Nanoseconds()
	most := 0
	for _, op := range o.Ops {
		most = max(most, op.Client)
		op.Client, op.Invoke, op.Return = op.Client+b.clients, op.Invoke+shift, op.Return+shift
		op.Workload = o.Name + " " + op.Workload // another one's accounts are another bank
		b.run.Ops = append(b.run.Ops, op)
	}
	b.clients += most
	if o.Fault.Name != "" {
		f := o.Fault
		f.Start, f.End = f.Start+shift, f.End+shift
		b.run.Faults = append(b.run.Faults, f)
	}
	text := fmt.Sprintf("%s begins: %s of %s", o.Name, o.Fault.Name, o.Fault.Target)
	b.run.Events = append(b.run.Events, report.Event{At: shift, Text: text})
	type place struct{ checker, workload string }
	passed := map[place]bool{}
	for _, v := range o.Verdicts {
		at := place{v.Checker, v.Workload}
		if v.Outcome == check.Pass && passed[at] {
			continue // with the final state it passed again
		}
		passed[at] = v.Outcome == check.Pass
		v.Workload = strings.TrimSuffix(o.Name+" "+v.Workload, " ")
		b.run.Verdicts = append(b.run.Verdicts, v)
	}
	for _, p := range o.Problems {
		b.run.Problems = append(b.run.Problems, o.Name+": "+p)
	}
}

// Problem adds a reason to call the run failed.
func (b *Book) Problem(text string) { b.run.Problems = append(b.run.Problems, text) }

// Write writes the report into a directory.
func (b *Book) Write(dir string) error {
	b.run.Ended = time.Now().UTC()
	return report.Write(dir, &b.run)
}
