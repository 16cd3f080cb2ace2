package live

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/nemesis"
	"github.com/vipkv/vipkv/chaos/report"
)

func TestPlanRefuses(t *testing.T) {
	kill := map[string]Template{"kill": {Do: "x", Undo: "y"}}
	for name, c := range map[string]struct {
		p    Plan
		says string
	}{
		"suite":            {Plan{Suite: "jepsen"}, "smoke, failover"},
		"workload":         {Plan{Workloads: []string{"chess"}}, "no workload"},
		"workload twice":   {Plan{Workloads: []string{"set", "set"}}, "twice"},
		"fault":            {Plan{Faults: FaultPlan{Script: []Step{{Fault: "earthquake"}}}}, "step 1"},
		"other name":       {Plan{Faults: FaultPlan{Script: []Step{{Fault: "crash"}}}}, "is called kill here"},
		"target":           {Plan{Faults: FaultPlan{Script: []Step{{Fault: "kill", Target: "two"}}}}, "unknown target"},
		"wrong target":     {Plan{Faults: FaultPlan{Script: []Step{{Fault: "kill", Target: "range"}}}}, "not aimed at"},
		"too long":         {Plan{Faults: FaultPlan{Script: []Step{{Fault: "kill", Hold: time.Hour}}}}, "out of bounds"},
		"swarm":            {Plan{Faults: FaultPlan{Swarm: &Swarm{Allow: []string{"x"}}}}, "swarm"},
		"swarm too fast":   {Plan{Faults: FaultPlan{Swarm: &Swarm{Every: 1}}}, "swarm"},
		"rate":             {Plan{Rate: -1}, "rate"},
		"ranges":           {Plan{Ranges: 1000}, "ranges"},
		"credential alone": {Plan{Tenant: Tenant{Credential: "x"}}, "name and its credential"},
		"budget":           {Plan{Budgets: map[string]string{"gap": "3s"}}, "gap.max"},
		"budget of what":   {Plan{Budgets: map[string]string{"gap.x.max": "3s"}}, "unknown fault"},
		"no time":          {Plan{Budgets: map[string]string{"gap.max": "3"}}, "gap.max"},
		"no percentage":    {Plan{Budgets: map[string]string{"errors.max": "1"}}, "1% is one"},
		"always stops":     {Plan{StopIf: StopIf{Errors: "0%"}}, "stop-if"},
		"no undo":          {Plan{Driver: DriverPlan{Exec: &ExecPlan{map[string]Template{"kill": {Do: "x"}}}}}, "undo"},
		"no faults":        {Plan{Driver: DriverPlan{SSH: &SSHPlan{}}}, "no faults"},
		"template":         {Plan{Driver: DriverPlan{Exec: &ExecPlan{map[string]Template{"kill": {Do: "{{.Color}}", Undo: "y"}}}}}, "Color"},
		"variable":         {Plan{Driver: DriverPlan{Exec: &ExecPlan{map[string]Template{"kill": {Do: "{{.Vars.x}}", Undo: "y"}}}}}, "x"},
		"ssh words":        {Plan{Driver: DriverPlan{SSH: &SSHPlan{Command: []string{"{{.Nope}}"}, Faults: kill}}}, "Nope"},
	} {
		if _, err := c.p.Complete(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// The same seed gives the same faults; each suite has some, and those of a swarm end in time.
func TestSchedule(t *testing.T) {
	drivers := []Driver{&Processes{}, &own{}}
	for _, suite := range Suites() {
		var times [2][]string
		for i := range times {
			p, err := Plan{Suite: suite, Seed: 7}.Complete()
			if err != nil {
				t.Fatal(err)
			}
			steps, err := p.schedule(drivers)
			if err != nil || len(steps) < 5 {
				t.Fatalf("%s: %d faults, %v", suite, len(steps), err)
			}
			for _, s := range steps {
				times[i] = append(times[i], s.String())
				if s.At+s.Hold > p.Duration {
					t.Errorf("%s: %v, and all is over after %v", suite, &s, p.Duration)
				}
				if s.fault.Loses || !s.by.Can(s.fault.Name) || aimed(s.fault, s.Target) != nil {
					t.Errorf("%s: %v", suite, &s)
				}
			}
		}
		if !reflect.DeepEqual(times[0], times[1]) {
			t.Errorf("%s: one seed gives two schedules", suite)
		}
	}
	p, err := Plan{Faults: FaultPlan{Script: []Step{{Fault: "wipe"}}}}.Complete()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.schedule(drivers); err == nil || !strings.Contains(err.Error(), "no driver") {
		t.Errorf("a fault that nobody injects: %v", err)
	}
}

func TestRenderRefusesWhatAShellWouldActOn(t *testing.T) {
	fine := Node{ID: 3, Host: "10.0.0.3", ClientAddress: "10.0.0.3:7400", PeerAddress: "[fe80::1%eth0]:7401",
		Vars: map[string]string{"unit": "vipkv a"}, Locality: map[string]string{"zone": "eu-1"}}
	a := Aim{Fault: "kill", Node: fine, Hold: 1500 * time.Millisecond}
	const text = "{{.ID}} {{.Host}} {{quote .Vars.unit}} {{.Locality.zone}} {{.Seconds}}"
	got, err := render("x", text, a)
	if err != nil || got != "3 10.0.0.3 'vipkv a' eu-1 2" {
		t.Errorf("%q %v", got, err)
	}
	for _, bad := range []string{"a;reboot", "$(reboot)", "-oProxyCommand=x", "a b", "`x`", "a\nb"} {
		n := fine
		n.Host = bad
		if got, err := render("x", text, Aim{Node: n}); err == nil {
			t.Errorf("host %q gives %q", bad, got)
		}
		if got, err := render("x", text, Aim{Node: fine, Peers: []Node{n}}); err == nil {
			t.Errorf("peer %q gives %q", bad, got)
		}
	}
	if got := quote("it's"); got != `'it'\''s'` {
		t.Errorf("quote: %s", got)
	}
}

func TestBudgets(t *testing.T) {
	ms := int64(time.Millisecond)
	write := func(key string, invoke, end int64, how history.Type) history.Op {
		return history.Op{Kind: history.Write, Key: key, Invoke: invoke * ms, Return: end * ms, Type: how}
	}
	m := &measured{recovery: 2 * time.Second, acked: 7, end: 20_000 * ms,
		probes: []history.Op{
			write("a", 0, 10, history.OK), write("b", 0, 10, history.OK), write("a", 20, 900, history.OK),
			write("a", 950, 3000, history.Info), write("a", 3000, 3100, history.OK),
			write("b", 5000, 12000, history.OK), write("a", 3200, 19_900, history.OK), write("b", 19_000, 20_000, history.OK),
		},
		faults: []history.Fault{
			{Name: "kill", Start: 1000 * ms, End: 2000 * ms, Bit: true},
			{Name: "pause", Start: 100 * ms, End: 200 * ms}, // it did not bite
		}}
	p := Plan{Budgets: map[string]string{"gap.max": "17s", "gap.kill.max": "11s", "gap.pause.max": "1h", "errors.max": "20%",
		"recovery.max": "1s", "ops.min": "7"}}
	all, err := p.budgets()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]report.Budget{
		"gap.max":       {Value: "16.8s", OK: true},
		"gap.kill.max":  {Value: "16.8s, of 1", OK: false},
		"gap.pause.max": {Value: "0s, of 0", OK: false}, // nothing was measured: no pass
		"errors.max":    {Value: "12.50%", OK: true},
		"recovery.max":  {Value: "2s", OK: false},
		"ops.min":       {Value: "7", OK: true},
	}
	for _, b := range m.judge(all) {
		if w := want[b.Name]; b.Value != w.Value || b.OK != w.OK {
			t.Errorf("%s: %s %v, want %s %v", b.Name, b.Value, b.OK, w.Value, w.OK)
		}
	}
	// A gap without an end counts, and one long before a fault does not.
	m.probes = m.probes[:5]
	m.faults[0].Start, m.faults[0].End = 50*ms, 60*ms
	if got := m.longest(func(f history.Fault) bool { return f.Name == "kill" }, false); got != 19990*time.Millisecond {
		t.Errorf("the longest is %v", got)
	}
}

func TestBuiltin(t *testing.T) {
	for _, f := range nemesis.Faults() {
		if by := Builtin(f.Name); (by == "processes") != (&Processes{}).Can(f.Name) {
			t.Errorf("%s: %q", f.Name, by)
		}
	}
}
