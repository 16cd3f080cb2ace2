package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vipkv/vipkv/chaos/history"
)

// anomaliesMax is how many anomalies of one name a verdict carries; more are counted.
const anomaliesMax = 5

// findings is what a checker gathers on its way to a verdict.
type findings struct {
	ops       int             // looked at
	workloads map[string]bool // whose they are
	anomalies []Anomaly
	counts    map[string]int // by name, those that are not carried too
	undecided []string
	void      []string
}

// giveUp notes that a verdict cannot be found, and why.
func (f *findings) giveUp(format string, args ...any) {
	f.undecided = append(f.undecided, fmt.Sprintf(format, args...))
}

// tooLittle notes what the history would need for a verdict.
func (f *findings) tooLittle(format string, args ...any) {
	f.void = append(f.void, fmt.Sprintf(format, args...))
}

// saw counts one operation in.
func (f *findings) saw(o *history.Op) {
	if f.workloads == nil {
		f.workloads = map[string]bool{}
	}
	f.ops++
	f.workloads[o.Workload] = true
}

// because lists the operations that show an anomaly, in the order in which they are told; nil ones are left out.
func because(ops ...*history.Op) []*history.Op { return ops }

// found notes an anomaly. Its text begins with what is wrong; the operations follow, a sentence each.
func (f *findings) found(name string, ops []*history.Op, format string, args ...any) {
	if f.counts == nil {
		f.counts = map[string]int{}
	}
	f.counts[name]++
	if f.counts[name] > anomaliesMax {
		return
	}
	a := Anomaly{Name: name}
	sentences := []string{fmt.Sprintf(format, args...)}
	for _, o := range ops {
		if o != nil {
			a.Ops = append(a.Ops, *o)
			sentences = append(sentences, o.String())
		}
	}
	a.Text = strings.Join(sentences, ". ") + "."
	f.anomalies = append(f.anomalies, a)
}

func (f *findings) verdict() Verdict {
	v := Verdict{Outcome: Pass, Ops: f.ops, Anomalies: f.anomalies}
	if len(f.workloads) == 1 {
		for w := range f.workloads {
			v.Workload = w
		}
	}
	switch {
	case len(f.anomalies) > 0:
		v.Outcome = Fail
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(f.counts)) {
			parts = append(parts, fmt.Sprintf("%d %s", f.counts[name], name))
		}
		v.Reason = strings.Join(parts, ", ")
	case len(f.undecided) > 0:
		v.Outcome, v.Reason = Undecided, strings.Join(f.undecided, "; ")
	case len(f.void) > 0:
		v.Outcome, v.Reason = Void, strings.Join(f.void, "; ")
	case f.ops == 0:
		v.Outcome, v.Reason = Void, "there is no operation that it could judge"
	}
	return v
}

// space is the name of a key, or of something else of a tenant.
type space struct{ tenant, key string }

func (s space) String() string {
	if s.tenant == "" {
		return s.key
	}
	return s.key + " of tenant " + s.tenant
}

func (s space) compare(t space) int {
	if c := strings.Compare(s.tenant, t.tenant); c != 0 {
		return c
	}
	return strings.Compare(s.key, t.key)
}

func spaceOf(o *history.Op) space { return space{o.Tenant, o.Key} }

// group parts the operations of the given kinds by key.
func group(ops []history.Op, f *findings, kinds ...history.Kind) map[space][]*history.Op {
	out := map[space][]*history.Op{}
	for i := range ops {
		o := &ops[i]
		if slices.Contains(kinds, o.Kind) {
			f.saw(o)
			out[spaceOf(o)] = append(out[spaceOf(o)], o)
		}
	}
	return out
}

// sorted are the keys of a map in order.
func sorted[V any](m map[space]V) []space {
	return slices.SortedFunc(maps.Keys(m), space.compare)
}

// mayHaveHappened: everything but what certainly did not.
func mayHaveHappened(o *history.Op) bool { return o.Type != history.Fail }

// before says whether a had ended when b began. What is open has no end.
func before(a, b *history.Op) bool { return a.Type == history.OK && a.Return < b.Invoke }
