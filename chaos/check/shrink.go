package check

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/vipkv/vipkv/chaos/history"
)

// shrinkStep bounds one search while a contradiction is made smaller.
const shrinkStep = 300 * time.Millisecond

// shrinkTime bounds all of them.
const shrinkTime = 5 * time.Second

// shrinkRegister finds few operations of a register that are not linearizable, the one that completes the contradiction
// last. It cuts the history at the earliest return that cannot be explained, and then leaves out what the contradiction
// does not need: reads and failed compare-and-sets, and writes whose values nobody saw or expected. Leaving those out
// can explain more, never less, so what remains is a contradiction of the whole history too. What cannot be decided
// quickly stays in.
func shrinkRegister(ops []*history.Op) []*history.Op {
	until := earliestContradiction(ops)
	kept := slices.DeleteFunc(slices.Clone(ops), func(o *history.Op) bool {
		_, used := registerOperation(o, until)
		return !used
	})
	slices.SortFunc(kept, func(a, b *history.Op) int { return cmp.Compare(a.Return, b.Return) })
	deadline := time.Now().Add(shrinkTime)
	for _, removable := range []func(o *history.Op, rest []*history.Op) bool{readsOnly, unseenWrite} {
		for i := len(kept) - 1; i >= 0; i-- {
			without := slices.Delete(slices.Clone(kept), i, i+1)
			if removable(kept[i], without) && time.Now().Before(deadline) &&
				illegal(without, until, shrinkStep) {
				kept = without
			}
		}
	}
	// The last that was told something completes the contradiction.
	last := 0
	for i, o := range kept {
		if o.Type == history.OK && o.Return <= until {
			last = i
		}
	}
	o := kept[last]
	kept = append(slices.Delete(kept, last, last+1), o)
	return kept
}

// earliestContradiction is the earliest time by whose returns the operations are not linearizable.
func earliestContradiction(ops []*history.Op) int64 {
	var returns []int64
	for _, o := range ops {
		if o.Type == history.OK {
			returns = append(returns, o.Return)
		}
	}
	slices.Sort(returns)
	i := sort.Search(len(returns)-1, func(i int) bool { return illegal(ops, returns[i], shrinkTime) })
	return returns[i]
}

func illegal(ops []*history.Op, until int64, limit time.Duration) bool {
	r := porcupine.CheckOperationsTimeout(registerModel(), registerOperations(ops, until), limit)
	return r == porcupine.Illegal
}

// unmatched: o is a compare-and-set that found something else.
func unmatched(o *history.Op) bool {
	return o.Kind == history.CAS && o.Type == history.OK && o.Result != "true"
}

// readsOnly: o changed nothing.
func readsOnly(o *history.Op, _ []*history.Op) bool {
	return o.Kind == history.Read || unmatched(o)
}

// unseenWrite: nothing among the rest depends on the value that o wrote being there, or not there.
func unseenWrite(o *history.Op, rest []*history.Op) bool {
	return !readsOnly(o, nil) && !slices.ContainsFunc(rest, func(r *history.Op) bool {
		switch {
		case r.Kind == history.Read:
			return r.Result == o.Arg
		case unmatched(r):
			return r.Expect == o.Arg || mayPart(o, r, rest)
		}
		return r.Kind == history.CAS && r.Expect == o.Arg
	})
}

// mayPart: that r did not match may be because o had replaced what it expected.
func mayPart(o, r *history.Op, rest []*history.Op) bool {
	if before(r, o) {
		return false
	}
	writer := slices.IndexFunc(rest, func(w *history.Op) bool {
		return w.Kind != history.Read && w.Arg == r.Expect
	})
	if writer < 0 {
		return r.Expect == ""
	}
	return !before(o, rest[writer])
}
