package live

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vipkv/vipkv/chaos/nemesis"
	"github.com/vipkv/vipkv/chaos/workload"
)

// Plan is what a run does. Its zero value with a suite is whole; Complete fills it in.
type Plan struct {
	// Suite gives what the rest of the plan leaves out: smoke, failover, soak or all. Default smoke.
	Suite string `yaml:"suite"`
	// Seed of the faults and of what clients ask. 0: one is drawn, and shown.
	Seed uint64 `yaml:"seed"`
	// Duration of the faults, at least as long as a script takes. WarmUp goes before; healing, final reads and checks come
	// after.
	Duration time.Duration `yaml:"duration"`
	WarmUp   time.Duration `yaml:"warm-up"`
	// Workloads of package workload that the clients carry out.
	Workloads []string `yaml:"workloads"`
	// Rate of the workloads' operations a second, all clients together, open loop. Probes come on top: 20 writes a
	// second for each of Ranges.
	Rate float64 `yaml:"rate"`
	// Ranges is how many ranges the run's own keys are split into before it begins. Default 4; -1: they are not split.
	Ranges int `yaml:"ranges"`
	// Tenant to work in. Empty: one is made for the run.
	Tenant Tenant `yaml:"tenant"`
	// Driver says how nodes are reached.
	Driver DriverPlan `yaml:"driver"`
	// Nodes gives variables of single nodes to templates, by id.
	Nodes map[uint64]map[string]string `yaml:"nodes"`
	// Faults that come.
	Faults FaultPlan `yaml:"faults"`
	// Budgets are assertions: gap.max, gap.FAULT.max, recovery.max (times), errors.max (a percentage), ops.min.
	Budgets map[string]string `yaml:"budgets"`
	// StopIf ends the run early.
	StopIf StopIf `yaml:"stop-if"`
	// AllowQuorumLoss lets faults take the majority of a range away.
	AllowQuorumLoss bool `yaml:"allow-quorum-loss"`
}

// Tenant that is there already; it must be empty.
type Tenant struct {
	Name       string `yaml:"name"`
	Credential string `yaml:"credential"`
}

// DriverPlan names the drivers; a fault is injected by the first that can, in this order.
type DriverPlan struct {
	Processes *ProcessesPlan `yaml:"processes"`
	Exec      *ExecPlan      `yaml:"exec"`
	SSH       *SSHPlan       `yaml:"ssh"`
}

// ProcessesPlan is for Processes.
type ProcessesPlan struct {
	Start map[string]string `yaml:"start"` // by node id; "default" is for all others
}

// ExecPlan is for Exec.
type ExecPlan struct {
	Faults map[string]Template `yaml:"faults"`
}

// SSHPlan is for Exec over ssh.
type SSHPlan struct {
	// Command with its options and the host, as words; each is a template.
	Command []string            `yaml:"command"`
	Faults  map[string]Template `yaml:"faults"`
}

// FaultPlan is a script, or a swarm that is drawn from the seed, or both.
type FaultPlan struct {
	Swarm  *Swarm `yaml:"swarm"`
	Script []Step `yaml:"script"`
}

// Swarm draws faults.
type Swarm struct {
	Every   time.Duration `yaml:"every"` // on average from the end of one to the next
	Hold    time.Duration `yaml:"hold"`  // on average
	Allow   []string      `yaml:"allow"` // empty: all that the drivers can and that lose no data
	Targets []string      `yaml:"targets"`
}

// Step is one fault of a script.
type Step struct {
	At     time.Duration `yaml:"at"` // after the warm-up
	Fault  string        `yaml:"fault"`
	Target string        `yaml:"target"`
	Hold   time.Duration `yaml:"hold"`
}

// StopIf ends a run when at least Errors of the probes' writes were not acknowledged over a time of For.
type StopIf struct {
	Errors string        `yaml:"errors"` // a percentage; empty: never
	For    time.Duration `yaml:"for"`
}

// Suites lists the suites.
func Suites() []string { return []string{"smoke", "failover", "soak", "all"} }

const (
	holdMax     = 10 * time.Minute // no fault lasts longer
	durationMax = 7 * 24 * time.Hour
	probeRate   = 20 // writes a second for each range
	probesMax   = 64
)

// suite fills in what a suite gives.
func (p *Plan) suite() error {
	swarm := Swarm{Every: 12 * time.Second, Hold: 4 * time.Second}
	duration := time.Duration(0) // of a swarm; a script takes its own time
	switch p.Suite {
	case "", "smoke":
		p.Suite = "smoke"
		duration = 100 * time.Second
	case "failover":
		p.Rate = or(p.Rate, 50)
	case "soak":
		duration = time.Hour
		swarm = Swarm{Every: 30 * time.Second, Hold: 8 * time.Second}
	case "all":
		if len(p.Workloads) == 0 {
			p.Workloads = workload.Names()
		}
	default:
		return fmt.Errorf("suite %q: there are %s", p.Suite, strings.Join(Suites(), ", "))
	}
	if p.Suite == "smoke" || p.Suite == "soak" {
		if p.Faults.Swarm == nil && len(p.Faults.Script) == 0 {
			p.Faults.Swarm = &Swarm{}
		}
	}
	if s := p.Faults.Swarm; s != nil {
		s.Every, s.Hold = or(s.Every, swarm.Every), or(s.Hold, swarm.Hold)
		p.Duration = or(p.Duration, or(duration, 100*time.Second))
		if len(s.Targets) == 0 {
			s.Targets = []string{"one", "leader", "placement"}
		}
	}
	return nil
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// Complete fills in defaults and checks the plan against itself. It leaves its argument as it is.
func (p Plan) Complete() (Plan, error) {
	if s := p.Faults.Swarm; s != nil {
		own := *s
		p.Faults.Swarm = &own
	}
	if err := p.suite(); err != nil {
		return p, err
	}
	p.WarmUp = or(p.WarmUp, 5*time.Second)
	p.Rate, p.Ranges = or(p.Rate, 100), or(p.Ranges, 4)
	if len(p.Workloads) == 0 {
		p.Workloads = []string{"register", "set", "counter", "streams"}
	}
	if p.StopIf.Errors != "" {
		p.StopIf.For = or(p.StopIf.For, 30*time.Second)
	}
	checks := []func() error{p.checkSizes, p.checkWorkloads, p.checkFaults, p.checkDrivers}
	for _, check := range checks {
		if err := check(); err != nil {
			return p, err
		}
	}
	if _, err := p.budgets(); err != nil {
		return p, err
	}
	_, err := p.stopShare()
	return p, err
}

func (p *Plan) checkSizes() error {
	switch {
	case p.Duration < 0 || p.Duration > durationMax || p.WarmUp < 0 || p.WarmUp > time.Hour:
		return fmt.Errorf("duration %v or warm-up %v is out of bounds", p.Duration, p.WarmUp)
	case p.Rate < 1 || p.Rate > 1e6:
		return fmt.Errorf("rate %v is out of bounds", p.Rate)
	case p.Ranges < -1 || p.Ranges > probesMax:
		return fmt.Errorf("ranges: %d is not -1 to %d", p.Ranges, probesMax)
	case p.StopIf.For < 0 || p.StopIf.For > time.Hour:
		return fmt.Errorf("stop-if: %v is out of bounds", p.StopIf.For)
	case (p.Tenant.Name == "") != (p.Tenant.Credential == ""):
		return fmt.Errorf("tenant: give its name and its credential, or neither")
	}
	return nil
}

func (p *Plan) checkWorkloads() error {
	seen := map[string]bool{}
	for _, name := range p.Workloads {
		if _, err := workload.New(name, workload.Options{}); err != nil {
			return err
		}
		if seen[name] {
			return fmt.Errorf("workload %s is named twice", name)
		}
		seen[name] = true
	}
	return nil
}

func (p *Plan) checkFaults() error {
	for i, s := range p.Faults.Script {
		where := fmt.Sprintf("step %d of the script", i+1)
		f, err := fault(s.Fault)
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		if err := aimed(f, s.Target); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		if s.At < 0 || s.Hold < 0 || s.Hold > holdMax {
			return fmt.Errorf("%s: at %v for %v is out of bounds (at most %v)", where, s.At, s.Hold, holdMax)
		}
	}
	s := p.Faults.Swarm
	if s == nil {
		return nil
	}
	if s.Every < time.Second || s.Hold <= 0 || s.Hold > holdMax/2 {
		return fmt.Errorf("swarm: every %v for %v is out of bounds", s.Every, s.Hold)
	}
	for _, name := range s.Allow {
		if _, err := fault(name); err != nil {
			return fmt.Errorf("swarm: %w", err)
		}
	}
	for _, t := range s.Targets {
		if _, err := nemesis.ParseTarget(t); err != nil {
			return fmt.Errorf("swarm: %w", err)
		}
	}
	return nil
}

// fault finds a fault by its own name.
func fault(name string) (nemesis.Fault, error) {
	f, ok := nemesis.Find(name)
	if !ok {
		return f, fmt.Errorf("unknown fault %q: vipkv chaos faults lists them", name)
	}
	if f.Name != name {
		return f, fmt.Errorf("fault %q is called %s here", name, f.Name)
	}
	return f, nil
}

// aimed checks that a fault can be aimed at a target; empty: its first kind.
func aimed(f nemesis.Fault, target string) error {
	if target == "" {
		return nil
	}
	t, err := nemesis.ParseTarget(target)
	if err != nil {
		return err
	}
	if !slices.Contains(f.Targets, t.Kind) {
		return fmt.Errorf("fault %s is not aimed at %q", f.Name, target)
	}
	return nil
}

func (p *Plan) checkDrivers() error {
	templates := map[string]map[string]Template{}
	if p.Driver.Exec != nil {
		templates["exec"] = p.Driver.Exec.Faults
	}
	if p.Driver.SSH != nil {
		templates["ssh"] = p.Driver.SSH.Faults
	}
	vars := map[string]string{}
	for _, v := range p.Nodes {
		maps.Copy(vars, v)
	}
	for name, faults := range templates {
		if len(faults) == 0 {
			return fmt.Errorf("driver %s: it has no faults", name)
		}
		for f := range faults {
			if _, err := fault(f); err != nil {
				return fmt.Errorf("driver %s: %w", name, err)
			}
		}
		d := Exec{Faults: faults}
		if name == "ssh" {
			d.Over = p.sshCommand()
		}
		if err := d.validate(vars); err != nil {
			return fmt.Errorf("driver %s: %w", name, err)
		}
	}
	return nil
}

func (p *Plan) sshCommand() []string {
	if len(p.Driver.SSH.Command) > 0 {
		return p.Driver.SSH.Command
	}
	return []string{"ssh", "-oBatchMode=yes", "-oConnectTimeout=5", "{{.Host}}"}
}

// drivers makes the drivers of a plan.
func (p *Plan) drivers() (out []Driver) {
	if d := p.Driver.Processes; d != nil {
		start := maps.Clone(d.Start)
		if s, ok := start["default"]; ok {
			start[""] = s
		}
		out = append(out, &Processes{Start: start})
	}
	if d := p.Driver.Exec; d != nil {
		out = append(out, &Exec{Faults: d.Faults})
	}
	if d := p.Driver.SSH; d != nil {
		out = append(out, &Exec{Faults: d.Faults, Over: p.sshCommand()})
	}
	return out
}
