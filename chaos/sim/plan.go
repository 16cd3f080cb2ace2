package sim

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/vipkv/vipkv/proto/fault"
)

// Entry is one fault: when, of which class, and the seed of everything that it draws. It draws from a stream of its
// own, so that a plan without it leaves the others' draws alone.
type Entry struct {
	At    int64 // ns since the start
	Class string
	Seed  uint64
	// Place, for a crash at a moment (nemesis.moment), says which: what begins or ends, on which store, for which time.
	Place string
}

func (e *Entry) String() string {
	s := fmt.Sprintf("fault %d %s %016x", e.At, e.Class, e.Seed)
	if e.Place != "" {
		s += " " + e.Place
	}
	return s
}

// momentClass is the class of the crashes that nemesis.moment makes.
const momentClass = "moment"

// drawPlan draws the faults of a run.
func drawPlan(k *kernel, o *Options) (plan []Entry) {
	r := k.rng("plan", 0)
	on := map[string]bool{}
	for _, f := range o.Faults {
		on[f] = true
	}
	var pick []string
	for _, f := range faultClasses() {
		for range f.weight {
			if on[f.name] {
				pick = append(pick, f.name)
			}
		}
	}
	if len(pick) == 0 {
		return nil
	}
	for at := 3 * sec; at < o.Duration; at += between(r, o.FaultGap/4, 2*o.FaultGap) {
		plan = append(plan, Entry{At: at, Class: pick[r.IntN(len(pick))], Seed: r.Uint64()})
	}
	return plan
}

// WritePlan writes what, beside the seed, makes a run what it is, in the form that ReadPlan reads.
func WritePlan(w io.Writer, o *Options, plan []Entry, comment string) error {
	b := bufio.NewWriter(w)
	for _, line := range strings.Split(strings.TrimSpace(comment), "\n") {
		fmt.Fprintf(b, "# %s\n", line)
	}
	fmt.Fprintf(b, "seed %d\nduration %d\nclients %d\n", o.Seed, o.Duration, o.Upper.Clients)
	for _, w := range o.Upper.Workloads {
		fmt.Fprintf(b, "workload %s\n", w)
	}
	for _, q := range o.Quirks {
		fmt.Fprintf(b, "quirk %s\n", q)
	}
	for i := range plan {
		fmt.Fprintln(b, plan[i].String())
	}
	return b.Flush()
}

// ReadPlan reads a plan: the options of its seed, with what the plan says instead.
func ReadPlan(r io.Reader) (Options, error) {
	var o Options
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if err := o.planLine(words); err != nil {
			return o, fmt.Errorf("line %d: %q: %w", n, lines.Text(), err)
		}
	}
	return o, lines.Err()
}

func (o *Options) planLine(words []string) error {
	if len(words) < 2 {
		return fmt.Errorf("a word and its value are wanted")
	}
	if !o.Planned && words[0] != "seed" {
		return fmt.Errorf("the seed comes first")
	}
	switch words[0] {
	case "quirk":
		o.Quirks = append(o.Quirks, fault.Quirk(words[1]))
		return nil
	case "workload":
		o.Upper.Workloads = append(o.Upper.Workloads, words[1])
		return nil
	case "fault":
		return o.faultLine(words[1:])
	}
	n, err := strconv.ParseUint(words[1], 10, 64)
	if err != nil {
		return err
	}
	switch words[0] {
	case "seed":
		*o = DrawOptions(n)
		o.Planned, o.Quirks, o.Upper.Workloads = true, nil, nil
	case "duration":
		o.Duration = int64(n)
	case "clients":
		o.Upper.Clients = int(n)
	default:
		return fmt.Errorf("unknown word")
	}
	return nil
}

func (o *Options) faultLine(words []string) error {
	if len(words) < 3 {
		return fmt.Errorf("a time, a class and a seed are wanted")
	}
	at, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil {
		return err
	}
	seed, err := strconv.ParseUint(words[2], 16, 64)
	if err != nil {
		return err
	}
	e := Entry{At: at, Class: words[1], Seed: seed}
	if len(words) > 3 {
		e.Place = words[3]
	}
	if e.Class != momentClass && classOf(e.Class) == nil {
		return fmt.Errorf("no such class of faults")
	}
	o.Plan = append(o.Plan, e)
	return nil
}
