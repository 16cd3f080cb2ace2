package check

import (
	"cmp"
	"slices"
	"sort"
	"strconv"

	"github.com/vipkv/vipkv/chaos/history"
)

// NewCounter checks counters: a sum lies between what was acknowledged before and all that may have been added by then,
// and does not go back when nobody takes away. Each counter needs a final read, as for NewStreams.
//
// Anomalies: lost-increment (too little), double-apply (too much), went-back, same-sum (two additions end in one sum),
// not-a-number.
func NewCounter() Checker {
	return checker{"counter", func(ops []history.Op, f *findings) {
		counters := group(ops, f, history.Incr, history.Count)
		for _, name := range sorted(counters) {
			checkCounter(name, counters[name], f)
		}
	}}
}

// sumRead is a sum that a client was told.
type sumRead struct {
	op  *history.Op
	sum int64
}

func checkCounter(name space, ops []*history.Op, f *findings) {
	var t tally
	var reads []sumRead
	for _, o := range ops {
		amount, told, ok := counterNumbers(o)
		if !ok {
			f.found("not-a-number", because(o),
				"Counter %s holds no number", name)
			return
		}
		if o.Kind == history.Incr {
			t.add(o, amount)
		}
		if o.Type == history.OK {
			reads = append(reads, sumRead{o, told})
		}
	}
	t.sort()
	for _, r := range reads {
		low, high := t.bounds(r.op)
		if what := "is the sum"; r.sum < low {
			f.found("lost-increment", because(t.lastBefore(r.op), r.op),
				"Counter %s: %d %s where at least %d was acknowledged before", name, r.sum, what, low)
		} else if r.sum > high {
			f.found("double-apply", because(t.lastBefore(r.op), r.op),
				"Counter %s: %d %s where at most %d had been asked for", name, r.sum, what, high)
		}
	}
	if t.negative == 0 {
		checkRising(name, reads, f)
	}
	for i := len(reads) - 1; i >= 0; i-- {
		if followsAll(reads[i].op, reads) {
			return
		}
	}
	f.tooLittle("%s: no read follows all acknowledged additions", name)
}

// followsAll says whether a read follows, or by its version has, every acknowledged addition.
func followsAll(r *history.Op, told []sumRead) bool {
	return r.Kind == history.Count && !slices.ContainsFunc(told, func(s sumRead) bool {
		o := s.op
		return o.Kind == history.Incr && o.Return > r.Invoke && (o.Version == 0 || o.Version > r.Version)
	})
}

// counterNumbers are an operation's addend and the sum it was told.
func counterNumbers(o *history.Op) (amount, told int64, ok bool) {
	var err error
	if o.Kind == history.Incr {
		if amount, err = strconv.ParseInt(o.Arg, 10, 64); err != nil {
			return 0, 0, false
		}
	}
	if o.Type == history.OK && (o.Result != "" || o.Kind == history.Incr) {
		told, err = strconv.ParseInt(o.Result, 10, 64)
	}
	return amount, told, err == nil
}

// checkRising: sums of which one was told before the other was asked for rise, and additions end in different sums.
func checkRising(name space, reads []sumRead, f *findings) {
	byEnd, byStart := slices.Clone(reads), slices.Clone(reads)
	slices.SortStableFunc(byEnd, func(a, b sumRead) int {
		return cmp.Compare(a.op.Return, b.op.Return)
	})
	slices.SortStableFunc(byStart, func(a, b sumRead) int {
		return cmp.Compare(a.op.Invoke, b.op.Invoke)
	})
	var highest *sumRead
	next := 0
	for _, r := range byStart {
		for ; next < len(byEnd) && byEnd[next].op.Return < r.op.Invoke; next++ {
			if highest == nil || byEnd[next].sum > highest.sum {
				highest = &byEnd[next]
			}
		}
		if highest != nil && r.sum < highest.sum {
			f.found("went-back", because(highest.op, r.op),
				"Counter %s went back from %d to %d", name, highest.sum, r.sum)
		}
	}
	ends := map[int64]*history.Op{}
	for _, r := range reads {
		if r.op.Kind != history.Incr || r.op.Arg == "0" {
			continue
		}
		if other := ends[r.sum]; other != nil {
			f.found("same-sum", because(other, r.op),
				"Counter %s: two additions end in %d, so one of them is lost", name, r.sum)
		}
		ends[r.sum] = r.op
	}
}

// tally bounds a sum at any moment, from amounts that were added at known or unknown times.
type tally struct {
	gains, losses amounts
	negative      int
}

// amounts are changes of one sign, by their start and, of those acknowledged, by their end.
type amounts struct {
	started, ended []timed
}

type timed struct {
	at     int64
	amount int64 // after sort: of all up to here
	op     *history.Op
}

// add counts one change in, unless it certainly was not made.
func (t *tally) add(o *history.Op, amount int64) {
	if !mayHaveHappened(o) || amount == 0 {
		return
	}
	a := &t.gains
	if amount < 0 {
		a = &t.losses
		t.negative++
	}
	a.started = append(a.started, timed{o.Invoke, amount, o})
	if o.Type == history.OK {
		a.ended = append(a.ended, timed{o.Return, amount, o})
	}
}

func (t *tally) sort() {
	for _, list := range [][]timed{t.gains.started, t.gains.ended, t.losses.started, t.losses.ended} {
		slices.SortStableFunc(list, func(a, b timed) int { return cmp.Compare(a.at, b.at) })
		for i := 1; i < len(list); i++ {
			list[i].amount += list[i-1].amount
		}
	}
}

// upTo is the sum of all that is at or before a moment.
func upTo(list []timed, at int64) int64 {
	i := sort.Search(len(list), func(i int) bool { return list[i].at > at })
	if i == 0 {
		return 0
	}
	return list[i-1].amount
}

// bounds are the least and the greatest sum that r can have seen.
func (t *tally) bounds(r *history.Op) (low, high int64) {
	low = upTo(t.gains.ended, r.Invoke-1) + upTo(t.losses.started, r.Return)
	high = upTo(t.gains.started, r.Return) + upTo(t.losses.ended, r.Invoke-1)
	return low, high
}

// lastBefore is the change that was acknowledged last before r began.
func (t *tally) lastBefore(r *history.Op) *history.Op {
	var last *history.Op
	for _, list := range [][]timed{t.gains.ended, t.losses.ended} {
		i := sort.Search(len(list), func(i int) bool { return list[i].at >= r.Invoke })
		if i > 0 && (last == nil || last.Return < list[i-1].at) {
			last = list[i-1].op
		}
	}
	return last
}
