package check

import (
	"fmt"
	"slices"
	"time"

	"github.com/vipkv/vipkv/chaos/history"
)

// Guard says how much must have happened in a run for its verdicts to count. Zero asks for nothing.
type Guard struct {
	MinOK      int     // operations acknowledged
	MinOKShare float64 // of all operations, from 0 to 1
	MinWrites  int     // writes acknowledged
	MinKeys    int     // keys that acknowledged operations touched
	MinTenants int     // tenants that they touched

	MinFaults   int  // faults injected
	MinPerFault int  // injections of each name
	MayNotBite  bool // a fault whose effect was not seen does not matter
	MinDuring   int  // operations asked for and acknowledged within each fault's time
	// Outages are names of faults during which nothing need be acknowledged: the majority is away.
	Outages []string
}

// Check is a pass, or void with everything that is missing.
func (g *Guard) Check(ops []history.Op, faults []history.Fault) Verdict {
	f := &findings{}
	n := g.count(ops, f)
	for _, want := range []struct {
		what        string
		have, least int
	}{
		{"operations were acknowledged", n.ok, g.MinOK},
		{"writes were acknowledged", n.writes, g.MinWrites},
		{"keys were touched", len(n.keys), g.MinKeys},
		{"tenants were served", len(n.tenants), g.MinTenants},
		{"faults were injected", len(faults), g.MinFaults},
	} {
		if want.have < want.least {
			f.tooLittle("%d %s, at least %d must be", want.have, want.what, want.least)
		}
	}
	if share := float64(n.ok) / float64(max(len(ops), 1)); share < g.MinOKShare {
		f.tooLittle("%.0f %% of all operations were acknowledged, at least %.0f %% must be",
			100*share, 100*g.MinOKShare)
	}
	g.checkFaults(ops, faults, f)
	f.ops = max(f.ops, 1) // an empty history is void by what is asked for
	v := f.verdict()
	v.Checker, v.Ops = "guard", len(ops)
	return v
}

type guardCount struct {
	ok, writes int
	keys       map[space]bool
	tenants    map[string]bool
}

func (g *Guard) count(ops []history.Op, f *findings) guardCount {
	n := guardCount{keys: map[space]bool{}, tenants: map[string]bool{}}
	for i := range ops {
		o := &ops[i]
		f.saw(o)
		if o.Type != history.OK {
			continue
		}
		n.ok++
		if o.Writes() {
			n.writes++
		}
		n.keys[spaceOf(o)] = true
		n.tenants[o.Tenant] = true
	}
	return n
}

func (g *Guard) checkFaults(ops []history.Op, faults []history.Fault, f *findings) {
	counts := map[string]int{}
	var names []string
	for i := range faults {
		x := &faults[i]
		if counts[x.Name]++; counts[x.Name] == 1 {
			names = append(names, x.Name)
		}
		if !x.Bit && !g.MayNotBite {
			f.tooLittle("the fault %s did not bite: %s", describe(x), orNone(x.Evidence))
		}
		if g.MinDuring == 0 || slices.Contains(g.Outages, x.Name) {
			continue
		}
		during := 0
		for k := range ops {
			if o := &ops[k]; o.Type == history.OK && o.Invoke >= x.Start && o.Return <= faultEnd(x) {
				during++
			}
		}
		if during < g.MinDuring {
			f.tooLittle("%d operations were acknowledged during %s, at least %d must be",
				during, describe(x), g.MinDuring)
		}
	}
	for _, name := range names {
		if counts[name] < g.MinPerFault {
			f.tooLittle("%s was injected %d times, at least %d must be", name, counts[name], g.MinPerFault)
		}
	}
}

func describe(x *history.Fault) string {
	at := time.Duration(x.Start).Round(time.Millisecond)
	return fmt.Sprintf("%s of %s at %v", x.Name, x.Target, at)
}

func orNone(evidence string) string {
	if evidence == "" {
		return "there is no evidence"
	}
	return evidence
}
