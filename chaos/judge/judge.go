package judge

import (
	"maps"
	"slices"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/check/cycle"
	"github.com/vipkv/vipkv/chaos/history"
)

// Options of All. The zero value holds the history to strict serializability and asks for at least one acknowledged
// operation, and for faults that bit.
type Options struct {
	// Level of isolation. Default cycle.StrictSerializable.
	Level cycle.Level
	// Guard says how much must have happened. Default: one acknowledged operation; each fault bit.
	Guard *check.Guard
	// Dump is the final state of the store: the history is compared with it, and its unknown outcomes resolved. nil: it
	// is not known.
	Dump *check.Dump
	// RegisterLimit bounds the search for one register. Default 20 s.
	RegisterLimit time.Duration
	// HTML is a directory for pictures of registers that fail. Empty: none.
	HTML string
}

// All judges a history: first whether enough happened, then the whole, then each workload by itself.
func All(ops []history.Op, faults []history.Fault, o Options) []check.Verdict {
	guard := o.Guard
	if guard == nil {
		guard = &check.Guard{MinOK: 1}
	}
	verdicts := []check.Verdict{guard.Check(ops, faults)}
	if o.Dump != nil {
		var v check.Verdict
		v, ops = check.Audit(ops, o.Dump)
		verdicts = append(verdicts, v)
	}
	for _, c := range whole(ops, o) {
		verdicts = append(verdicts, c.Check(ops))
	}
	byWorkload := map[string][]history.Op{}
	for i := range ops {
		w := ops[i].Workload
		byWorkload[w] = append(byWorkload[w], ops[i])
	}
	for _, w := range slices.Sorted(maps.Keys(byWorkload)) {
		for _, c := range fitting(traitsOf(byWorkload[w]), o) {
			v := c.Check(byWorkload[w])
			v.Workload = w
			verdicts = append(verdicts, v)
		}
	}
	if len(verdicts) == 1 {
		verdicts = append(verdicts, check.Verdict{Checker: "judge", Outcome: check.Void, Ops: len(ops),
			Reason: "no checker knows the kinds of these operations"})
	}
	return verdicts
}

// Passed says whether every verdict is a pass.
func Passed(verdicts []check.Verdict) bool {
	return !slices.ContainsFunc(verdicts, func(v check.Verdict) bool {
		return v.Outcome != check.Pass
	})
}

// whole are the checkers that look across workloads.
func whole(ops []history.Op, o Options) (checkers []check.Checker) {
	tenants := map[string]bool{}
	stamped := false
	for i := range ops {
		tenants[ops[i].Tenant] = true
		stamped = stamped || ops[i].Version != 0 || ops[i].At != 0
	}
	if stamped {
		checkers = append(checkers, check.NewTimestamps(check.TimestampOptions{
			Snapshot: o.Level == cycle.SnapshotIsolation,
		}))
	}
	if len(tenants) > 1 {
		checkers = append(checkers, check.NewTenants())
	}
	return checkers
}

// traits are what a workload's operations are like.
type traits struct {
	kinds                         map[history.Kind]bool
	transfers, lists, sharedReads bool
}

func traitsOf(ops []history.Op) traits {
	t := traits{kinds: map[history.Kind]bool{}}
	for i := range ops {
		o := &ops[i]
		t.kinds[o.Kind] = true
		if o.Kind != history.Txn {
			continue
		}
		parts := map[history.Part]int{}
		for k := range o.Txn {
			parts[o.Txn[k].Part]++
		}
		t.transfers = t.transfers || parts[history.PartIncr] > 1
		t.lists = t.lists || parts[history.PartAppend] > 0
		reads := parts[history.PartRead]
		t.sharedReads = t.sharedReads || reads > 1 && reads == len(o.Txn)
	}
	return t
}

func (t *traits) any(kinds ...history.Kind) bool {
	return slices.ContainsFunc(kinds, func(k history.Kind) bool { return t.kinds[k] })
}

// fitting are the checkers for one workload.
func fitting(t traits, o Options) (checkers []check.Checker) {
	add := func(fits bool, c ...check.Checker) {
		if fits {
			checkers = append(checkers, c...)
		}
	}
	// Where transactions write, registers are judged as parts of them.
	registers := t.any(history.Write, history.CAS) && !t.transfers && !t.lists
	add(registers, check.NewRegisters(check.RegisterOptions{Limit: o.RegisterLimit, HTML: o.HTML}))
	add(t.any(history.Append, history.Stream), check.NewStreams())
	add(t.any(history.Add, history.Set), check.NewSets())
	add(t.any(history.Incr, history.Count), check.NewCounter())
	add(t.transfers, check.NewBank(check.BankOptions{}))
	add(t.lists, cycle.New(cycle.Options{Level: o.Level}))
	add(t.sharedReads && !t.lists, check.NewLongFork())
	add(t.sharedReads && !t.lists || t.any(history.Set), check.NewCausalReverse())
	add(t.any(history.Write, history.CAS, history.Incr, history.Stream, history.Txn),
		check.NewMonotonic())
	add(t.any(history.Advance, history.Pull, history.Inbox), check.NewMessenger())
	add(t.any(history.Touch, history.Peek), check.NewPresence())
	return checkers
}
