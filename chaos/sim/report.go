package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/proto/fault"
)

// Report is what many runs together were worth. Several processes each make one; Add puts them together.
type Report struct {
	Seeds, Replayed int
	Simulated       int64 // ns
	Events          uint64
	Failed          []string // replay instructions
	Counts          map[string]int
	Faults          map[string]int            // by class
	Idle            map[string]int            // injections that found nothing to break, by class
	Ops             map[string]map[string]int // workload or kind -> outcome
	Probes          map[fault.Probe]int       // nil without the tag chaos
	ProbeSeeds      map[fault.Probe]int       // runs that reached it
	Quirks          map[fault.Quirk]int
	Killed          map[string]int // failures by checker
}

// NewReport returns an empty report.
func NewReport() *Report {
	return &Report{
		Counts: map[string]int{}, Faults: map[string]int{}, Idle: map[string]int{},
		Ops:    map[string]map[string]int{},
		Probes: map[fault.Probe]int{}, ProbeSeeds: map[fault.Probe]int{}, Quirks: map[fault.Quirk]int{},
		Killed: map[string]int{},
	}
}

// Run adds a run.
func (r *Report) Run(res *Result) {
	r.Seeds++
	r.Simulated += res.Time
	r.Events += res.Events
	for _, n := range res.count.named() {
		r.Counts[n.name] += n.n
	}
	sum(r.Faults, res.Faults)
	sum(r.Idle, res.Idle)
	sum(r.Probes, res.Probes)
	sum(r.Quirks, res.Quirks)
	for p := range res.Probes {
		r.ProbeSeeds[p]++
	}
	if res.Err != nil {
		r.Killed[res.Checker]++
	}
	for i := range res.History {
		r.op(&res.History[i])
	}
}

func (r *Report) op(op *history.Op) {
	name := op.Workload
	if name == "" {
		name = string(op.Kind)
	}
	if r.Ops[name] == nil {
		r.Ops[name] = map[string]int{}
	}
	r.Ops[name][string(op.Type)]++
}

// Add adds another report.
func (r *Report) Add(o *Report) {
	r.Seeds += o.Seeds
	r.Replayed += o.Replayed
	r.Simulated += o.Simulated
	r.Events += o.Events
	r.Failed = append(r.Failed, o.Failed...)
	sum(r.Counts, o.Counts)
	sum(r.Faults, o.Faults)
	sum(r.Idle, o.Idle)
	sum(r.Probes, o.Probes)
	sum(r.ProbeSeeds, o.ProbeSeeds)
	sum(r.Quirks, o.Quirks)
	sum(r.Killed, o.Killed)
	for name, outcomes := range o.Ops {
		if r.Ops[name] == nil {
			r.Ops[name] = map[string]int{}
		}
		sum(r.Ops[name], outcomes)
	}
}

func sum[K comparable](to, from map[K]int) {
	for k, n := range from {
		to[k] += n
	}
}

// Save writes the report to a file, for Add in another process.
func (r *Report) Save(path string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// LoadReport reads what Save wrote.
func LoadReport(path string) (*Report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := NewReport()
	return r, json.Unmarshal(b, r)
}

// unreached is what no run can reach yet, and why.
func unreached() map[fault.Probe]string {
	return map[fault.Probe]string{
		"applied-in-other-term": "Propose refuses such a command; the check at apply is the second line",
		"change-of-other-epoch": "a leader proposes a change only when all before its term is applied",
		"foreign-proposal-id":   "a leader evaluates only when all before its term is applied",
		"oracle-save-late":      "clients here take too few timestamps to use a window up",
	}
}

// rareSeeds is how many runs must not pass by what only one in some hundreds reaches.
const rareSeeds = 1000

func rare() []fault.Probe {
	return []fault.Probe{"split-of-doomed", "split-skips-right", "boot-of-removed", "snapshot-ignored"}
}

// NeverReached lists the probes that no run reached although they could have.
func (r *Report) NeverReached() (names []string) {
	for _, p := range fault.Probes() {
		_, excused := unreached()[p.Name]
		excused = excused || r.Seeds < rareSeeds && slices.Contains(rare(), p.Name)
		if !excused && r.Probes[p.Name] == 0 {
			names = append(names, string(p.Name))
		}
	}
	return names
}

// String is a table for people.
func (r *Report) String() string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%d seeds, %.2f simulated hours, %d events; %d seeds run twice, all alike\n",
		r.Seeds, float64(r.Simulated)/3600e9, r.Events, r.Replayed)
	for _, n := range (&counters{}).named() {
		fmt.Fprintf(b, "  %-34s %9d\n", n.name, r.Counts[n.name])
	}
	fmt.Fprintf(b, "operations                                  ok      failed     unknown\n")
	for _, name := range slices.Sorted(maps.Keys(r.Ops)) {
		o := r.Ops[name]
		fmt.Fprintf(b, "  %-34s %9d   %9d   %9d\n", name, o["ok"], o["fail"], o["info"])
	}
	fmt.Fprintf(b, "faults                                injected  found nothing to break\n")
	for _, f := range append(faultClasses(), faultClass{name: momentClass}) {
		fmt.Fprintf(b, "  %-34s %9d   %9d\n", f.name, r.Faults[f.name], r.Idle[f.name])
	}
	if fault.Built {
		r.probes(b)
	}
	return b.String()
}

func (r *Report) probes(b *strings.Builder) {
	fmt.Fprintf(b, "probes                                 reached     in seeds\n")
	for _, p := range fault.Probes() {
		if n := r.Probes[p.Name]; n > 0 {
			fmt.Fprintf(b, "  %-34s %9d   %9d\n", p.Name, n, r.ProbeSeeds[p.Name])
		} else {
			fmt.Fprintf(b, "  %-34s     NEVER   %s\n", p.Name, unreached()[p.Name])
		}
	}
	fmt.Fprintf(b, "quirks                                   fired\n")
	for _, q := range fault.Quirks() {
		fmt.Fprintf(b, "  %-34s %9d\n", q.Name, r.Quirks[q.Name])
	}
}
