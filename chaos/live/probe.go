package live

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

// probe is the workload by which availability is measured: one client a key writes to it, one value after the other.
// It implements workload.Workload.
type probe struct {
	keys  []string
	count []int // values written, by key
}

const probeName = "probe"

func newProbe(prefix string, keys int) *probe {
	p := &probe{count: make([]int, keys)}
	for i := range keys {
		p.keys = append(p.keys, fmt.Sprintf("%s%s/%02d", prefix, probeName, i))
	}
	return p
}

func (p *probe) Name() string         { return probeName }
func (p *probe) Clients() int         { return len(p.keys) }
func (p *probe) Setup() []history.Op  { return nil }
func (p *probe) Ended(op *history.Op) {}

func (p *probe) Draw(_ *rand.Rand, place int) history.Op {
	p.count[place]++
	return history.Op{Workload: probeName, Kind: history.Write, Key: p.keys[place],
		Arg: strconv.Itoa(p.count[place])}
}

func (p *probe) Final() (ops []history.Op) {
	for _, k := range p.keys {
		ops = append(ops, history.Op{Workload: probeName, Kind: history.Read, Key: k})
	}
	return ops
}

// Check wants the last read of each key to show its last acknowledged write, or one of which nobody knows whether it
// came later: each key has one writer at a time.
func (p *probe) Check(ops []history.Op) []check.Verdict {
	v := check.Verdict{Checker: "last-write", Workload: probeName, Outcome: check.Pass, Ops: len(ops)}
	acked, unknown := map[string]history.Op{}, map[string][]string{}
	reads := 0
	for _, op := range ops {
		switch {
		case op.Kind == history.Write && op.Type == history.OK:
			acked[op.Key] = op
		case op.Kind == history.Write && op.Type == history.Info:
			unknown[op.Key] = append(unknown[op.Key], op.Arg)
		case op.Kind == history.Read && op.Type == history.OK:
			reads++
			if op.Result == acked[op.Key].Arg || slices.Contains(unknown[op.Key], op.Result) {
				continue
			}
			v.Outcome = check.Fail
			v.Anomalies = append(v.Anomalies, check.Anomaly{Name: "lost-write",
				Ops: []history.Op{acked[op.Key], op},
				Text: fmt.Sprintf("The write of %q to %s was acknowledged; a read after all writes shows %q.",
					acked[op.Key].Arg, op.Key, op.Result)})
		}
	}
	if v.Outcome == check.Pass && (len(acked) == 0 || reads == 0) {
		v.Outcome, v.Reason = check.Void, "nothing was acknowledged, or nothing was read in the end"
	}
	return []check.Verdict{v}
}

// acks are the moments at which probes were acknowledged, as far back as anybody asked.
type acks struct {
	mu sync.Mutex
	at []time.Time
}

func (a *acks) note(op *history.Op) {
	if op.Type != history.OK {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = append(a.at, time.Now())
}

// since counts those after a moment, and forgets those before.
func (a *acks) since(from time.Time) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.at, func(t time.Time) bool { return t.After(from) })
	if i < 0 {
		i = len(a.at)
	}
	a.at = slices.Clone(a.at[i:])
	return len(a.at)
}
