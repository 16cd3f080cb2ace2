package cycle_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/check/cycle"
	"github.com/vipkv/vipkv/chaos/history"
)

// store is a multi-version store of lists with clients, in virtual time. Without a bug its histories are strictly
// serializable.
type store struct {
	seed uint64
	bug  string
	r    *rand.Rand
	now  int64
	past []map[string][]string // the last versions, of the lists in use
	done map[string][]string   // lists that are no longer in use
	ops  []history.Op
	free []int64
	id   []int // of the client at each place
	next int
}

// run makes n transactions and a last read of everything.
func (s *store) run(n int) []history.Op {
	s.r = rand.New(rand.NewPCG(s.seed, 1))
	s.past, s.done = []map[string][]string{{}}, map[string][]string{}
	for p := range 10 {
		s.free, s.id, s.next = append(s.free, 0), append(s.id, p), p+1
	}
	for i := range n {
		s.now += 1 + s.r.Int64N(20)
		s.transaction(i)
		if i%100 == 99 {
			maps.Copy(s.done, s.past[len(s.past)-1])
			s.past = []map[string][]string{{}}
		}
	}
	maps.Copy(s.done, s.past[len(s.past)-1])
	s.now += 1000
	last := history.Op{Client: 999, Kind: history.Txn, Type: history.OK, Invoke: s.now, Return: s.now + 10}
	for k := range 4 * (1 + n/100) {
		key := "k" + strconv.Itoa(k)
		last.Txn = append(last.Txn, history.Mop{Part: history.PartRead, Key: key, List: s.done[key]})
	}
	s.ops = append(s.ops, last)
	slices.SortStableFunc(s.ops, func(a, b history.Op) int { return int(a.Return - b.Return) })
	return s.ops
}

// transaction takes place at s.now, somewhere between its call and its return.
func (s *store) transaction(i int) {
	place := s.r.IntN(len(s.free))
	if s.free[place] >= s.now {
		return
	}
	op := history.Op{Client: s.id[place], Kind: history.Txn, Type: history.OK}
	op.Invoke = max(s.free[place]+1, s.now-s.r.Int64N(100))
	op.Return = s.now + s.r.Int64N(100)
	s.free[place] = op.Return
	for range 1 + s.r.IntN(4) {
		key := "k" + strconv.Itoa(4*(i/100)+s.r.IntN(4)) // few keys at a time
		m := history.Mop{Part: history.PartRead, Key: key}
		if s.r.IntN(2) == 0 {
			m.Part, m.Value = history.PartAppend, fmt.Sprintf("%d.%d", i, len(op.Txn))
		}
		op.Txn = append(op.Txn, m)
	}
	switch s.r.IntN(20) {
	case 0:
		op.Type = history.Fail
	case 1:
		op.Type = history.Info
		s.id[place], s.next = s.next, s.next+1
	}
	s.carryOut(&op)
	s.ops = append(s.ops, op)
}

// carryOut fills in what a transaction reads and commits it.
func (s *store) carryOut(op *history.Op) {
	now := len(s.past) - 1
	at := now
	buggy := s.bug != "" && s.r.IntN(4) == 0
	writes := slices.ContainsFunc(op.Txn, func(m history.Mop) bool { return m.Part == history.PartAppend })
	switch {
	case !buggy:
	case s.bug == "stale reads" && !writes, s.bug == "no conflict check", s.bug == "snapshots":
		at = max(0, now-1-s.r.IntN(4))
	}
	seen, after := s.past[at], maps.Clone(s.past[now])
	own := map[string][]string{}
	for i := range op.Txn {
		m := &op.Txn[i]
		if m.Part == history.PartAppend {
			own[m.Key] = append(own[m.Key], m.Value)
			after[m.Key] = append(slices.Clone(after[m.Key]), m.Value)
			if buggy && s.bug == "applied twice" && s.r.IntN(5) == 0 {
				after[m.Key] = append(after[m.Key], m.Value)
			}
			continue
		}
		from := seen
		if buggy && s.bug == "no snapshot" {
			from = s.past[max(0, now-s.r.IntN(4))]
		}
		m.List = slices.Concat(from[m.Key], own[m.Key])
		if buggy && s.bug == "blind to itself" {
			m.List = from[m.Key]
		}
	}
	if s.bug == "snapshots" && at != now && s.changed(at, own) {
		op.Type = history.Fail // first committer wins
	}
	switch {
	case !writes:
	case op.Type == history.Fail:
		if buggy && s.bug == "failed but done" {
			s.past = append(s.past, after)
		}
	case op.Type == history.Info && s.r.IntN(2) == 0:
	case buggy && s.bug == "forgets":
	case buggy && s.bug == "commits step by step":
		s.stepwise(op)
	default:
		s.past = append(s.past, after)
	}
}

// changed says whether a list that a transaction appends to is not as it was at a version.
func (s *store) changed(at int, own map[string][]string) bool {
	now := s.past[len(s.past)-1]
	for k := range own {
		if len(now[k]) != len(s.past[at][k]) {
			return true
		}
	}
	return false
}

// stepwise makes each append of a transaction visible by itself, and lets another client look in between.
func (s *store) stepwise(op *history.Op) {
	for i, m := range op.Txn {
		if m.Part != history.PartAppend {
			continue
		}
		after := maps.Clone(s.past[len(s.past)-1])
		after[m.Key] = append(slices.Clone(after[m.Key]), m.Value)
		s.past = append(s.past, after)
		look := history.Op{Client: 100_000 + len(s.ops)*10 + i, Kind: history.Txn, Type: history.OK, Invoke: s.now,
			Return: s.now}
		for _, o := range op.Txn {
			look.Txn = append(look.Txn, history.Mop{Part: history.PartRead, Key: o.Key, List: after[o.Key]})
		}
		s.ops = append(s.ops, look)
	}
}

// TestCorrectStore: no alarm on any level, however many outcomes are unknown.
func TestCorrectStore(t *testing.T) {
	for seed := range uint64(200) {
		ops := (&store{seed: seed}).run(300)
		for _, level := range levels() {
			if v := judge(level, ops); v.Outcome != check.Pass {
				t.Fatalf("seed %d, %s: %s %s\n%s", seed, level, v.Outcome, v.Reason, tell(nil, v))
			}
		}
	}
}

// TestBrokenStore: each bug of the store is found under a name that fits it, and a level that allows it passes.
func TestBrokenStore(t *testing.T) {
	for _, c := range []struct {
		bug     string
		level   cycle.Level // the weakest that forbids it
		name    []string
		passing bool // the next weaker level passes
	}{
		{"stale reads", cycle.StrictSerializable, []string{"G-single-realtime"}, true},
		{"snapshots", cycle.Serializable, []string{"G2-item"}, true},
		{"no conflict check", cycle.SnapshotIsolation, []string{"lost-update", "G-single"}, false},
		{"no snapshot", cycle.SnapshotIsolation, []string{"G-single"}, false},
		{"commits step by step", cycle.SnapshotIsolation, []string{"G-single"}, false},
		{"commits step by step", cycle.SnapshotIsolation, []string{"G1b"}, false},
		{"failed but done", cycle.SnapshotIsolation, []string{"G1a"}, false},
		{"applied twice", cycle.SnapshotIsolation, []string{"duplicate-elements"}, false},
		{"blind to itself", cycle.SnapshotIsolation, []string{"internal"}, false},
		{"forgets", cycle.SnapshotIsolation, []string{"incompatible-order", "G-single"}, false},
	} {
		found := 0
		for seed := range uint64(20) {
			ops := (&store{seed: seed, bug: c.bug}).run(1000)
			v := judge(c.level, ops)
			fits := func(n string) bool { return slices.Contains(c.name, n) }
			if v.Outcome == check.Fail && slices.ContainsFunc(names(v), fits) {
				found++
			} else {
				t.Logf("%s: seed %d: %s", c.bug, seed, v.Reason)
			}
			if at := slices.Index(levels(), c.level); c.passing {
				if v := judge(levels()[at-1], ops); v.Outcome != check.Pass {
					t.Errorf("%s: seed %d: %s forbids nothing of it: %s", c.bug, seed, v.Checker, v.Reason)
				}
			}
		}
		if found < 20 {
			t.Errorf("%s: %s found in %d of 20 histories", c.bug, c.name, found)
		}
	}
}

// TestSpoiled: one change in a valid history, and it is refused.
func TestSpoiled(t *testing.T) {
	for _, c := range []struct {
		change string
		names  []string
		spoil  func(r *rand.Rand, list []string) []string
	}{
		{"the last element of a read is lost", []string{"G-single-realtime", "G-single", "G-single-process", "G-nonadjacent", "G2-item", "G1b"},
			func(_ *rand.Rand, l []string) []string { return l[:len(l)-1] }},
		{"an element in the middle is lost", []string{"incompatible-order"},
			func(_ *rand.Rand, l []string) []string { return slices.Delete(l, 1, 2) }},
		{"an append is there twice", []string{"duplicate-elements"},
			func(r *rand.Rand, l []string) []string { return append(l, l[r.IntN(len(l))]) }},
		{"two elements have changed places", []string{"incompatible-order"},
			func(_ *rand.Rand, l []string) []string { l[0], l[2] = l[2], l[0]; return l }},
		{"an element was replaced", []string{"garbage-read"},
			func(r *rand.Rand, l []string) []string { l[r.IntN(len(l))] = "other"; return l }},
	} {
		for seed := range uint64(50) {
			ops := (&store{seed: seed}).run(400)
			r := rand.New(rand.NewPCG(seed, 2))
			last := ops[len(ops)-1].Txn // reads everything, long after
			i := r.IntN(len(last))
			for len(last[i].List) < 4 {
				i = r.IntN(len(last))
			}
			last[i].List = c.spoil(r, slices.Clone(last[i].List))
			v := judge(cycle.StrictSerializable, ops)
			ok := slices.ContainsFunc(names(v), func(n string) bool { return slices.Contains(c.names, n) })
			if v.Outcome != check.Fail || !ok {
				t.Fatalf("%s: seed %d: %s %s\n%s", c.change, seed, v.Outcome, v.Reason, tell(nil, v))
			}
		}
	}
}

// TestAcknowledgedIsFailed: an append that a read shows and that its transaction calls failed is refused.
func TestAcknowledgedIsFailed(t *testing.T) {
	for seed := range uint64(50) {
		ops := (&store{seed: seed}).run(400)
		for i := range ops {
			if ops[i].Type == history.OK && slices.ContainsFunc(ops[i].Txn, func(m history.Mop) bool {
				return m.Part == history.PartAppend
			}) {
				ops[i].Type = history.Fail
				break
			}
		}
		if v := judge(cycle.SnapshotIsolation, ops); v.Outcome != check.Fail || names(v)[0] != "G1a" {
			t.Fatalf("seed %d: %s %s", seed, v.Outcome, v.Reason)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, bug := range []string{"", "stale reads", "no conflict check", "forgets"} {
		for _, n := range []int{10_000, 100_000} {
			b.Run(fmt.Sprintf("bug=%q/txns=%d", bug, n), func(b *testing.B) {
				ops := (&store{seed: 1, bug: bug}).run(n)
				b.ResetTimer()
				for b.Loop() {
					judge(cycle.StrictSerializable, ops)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(ops)), "ns/txn")
			})
		}
	}
}
