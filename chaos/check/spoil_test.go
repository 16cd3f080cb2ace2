package check_test

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

// spoiled is one way of spoiling a valid history so that no correct store explains it.
type spoiled struct {
	name    string
	checker check.Checker
	kinds   []string
	infos   int
	want    string // the anomaly that must be among those found, or one of several
	// spoil returns nil when this history has nothing to spoil.
	spoil func(ops []history.Op, r *rand.Rand) []history.Op
}

const spoiledWorlds = 100

// TestSpoiledHistoriesAreRefused: each checker sees each way of spoiling that it claims to see, under its name.
func TestSpoiledHistoriesAreRefused(t *testing.T) {
	for _, s := range slices.Concat(spoiledRegisters(), spoiledStreams(), spoiledSets(), spoiledSums(), spoiledOrders(),
		spoiledTimestamps()) {
		t.Run(s.checker.Name()+"/"+s.name, func(t *testing.T) {
			t.Parallel()
			done := 0
			for seed := range uint64(spoiledWorlds) {
				ops := s.spoil(live(seed, 60, 4, s.infos, s.kinds...).ops, rand.New(rand.NewPCG(seed, 8)))
				if ops == nil {
					continue
				}
				done++
				v := s.checker.Check(ops)
				if v.Outcome != check.Fail {
					t.Fatalf("seed %d: %s: %s", seed, v.Outcome, v.Reason)
				}
				i := slices.IndexFunc(v.Anomalies, func(a check.Anomaly) bool {
					return slices.Contains(strings.Split(s.want, "|"), a.Name)
				})
				if i < 0 {
					t.Fatalf("seed %d: want %s, got %s: %s", seed, s.want, v.Reason, v.Anomalies[0].Text)
				}
				if n := len(v.Anomalies[i].Ops); n == 0 || n > 16 {
					t.Errorf("seed %d: told with %d operations", seed, n)
				}
			}
			if done < spoiledWorlds/4 {
				t.Fatalf("only %d histories of %d could be spoiled", done, spoiledWorlds)
			}
		})
	}
}

// pick returns the place of one of the operations that suit, or -1.
func pick(ops []history.Op, r *rand.Rand, suits func(o *history.Op) bool) int {
	var at []int
	for i := range ops {
		if suits(&ops[i]) {
			at = append(at, i)
		}
	}
	if len(at) == 0 {
		return -1
	}
	return at[r.IntN(len(at))]
}

// editing picks an operation and changes it.
func editing(suits func(ops []history.Op, o *history.Op) bool, edit func(ops []history.Op, o *history.Op)) func(
	[]history.Op, *rand.Rand) []history.Op {
	return func(ops []history.Op, r *rand.Rand) []history.Op {
		i := pick(ops, r, func(o *history.Op) bool { return suits(ops, o) })
		if i < 0 {
			return nil
		}
		edit(ops, &ops[i])
		return ops
	}
}

// dropping picks an operation and leaves it out.
func dropping(suits func(ops []history.Op, o *history.Op) bool) func([]history.Op, *rand.Rand) []history.Op {
	return func(ops []history.Op, r *rand.Rand) []history.Op {
		i := pick(ops, r, func(o *history.Op) bool { return suits(ops, o) })
		if i < 0 {
			return nil
		}
		return slices.Delete(ops, i, i+1)
	}
}

func ok(o *history.Op, k history.Kind) bool { return o.Type == history.OK && o.Kind == k }

func isRead(_ []history.Op, o *history.Op) bool { return ok(o, history.Read) }

func find(ops []history.Op, suits func(o *history.Op) bool) *history.Op {
	if i := slices.IndexFunc(ops, func(o history.Op) bool { return suits(&o) }); i >= 0 {
		return &ops[i]
	}
	return nil
}

// overwritten is a value of o's key that certainly was replaced before o began.
func overwritten(ops []history.Op, o *history.Op) string {
	for i := range ops {
		w := &ops[i]
		if ok(w, history.Write) && w.Key == o.Key && find(ops, func(x *history.Op) bool {
			return ok(x, history.Write) && x.Key == o.Key && w.Return < x.Invoke && x.Return < o.Invoke
		}) != nil {
			return w.Arg
		}
	}
	return ""
}

func refused(ops []history.Op, o *history.Op, k history.Kind) string {
	if w := find(ops, func(w *history.Op) bool {
		return w.Kind == k && w.Type == history.Fail && w.Key == o.Key &&
			find(ops, func(x *history.Op) bool { return x.Arg == w.Arg && x.Type != history.Fail }) == nil
	}); w != nil {
		return w.Arg
	}
	return ""
}

func spoiledRegisters() []spoiled {
	c, kinds := check.NewRegisters(check.RegisterOptions{}), []string{"register"}
	set := func(value func([]history.Op, *history.Op) string) func([]history.Op, *rand.Rand) []history.Op {
		return editing(func(ops []history.Op, o *history.Op) bool { return isRead(ops, o) && value(ops, o) != "" },
			func(ops []history.Op, o *history.Op) { o.Result = value(ops, o) })
	}
	written := func(ops []history.Op, o *history.Op) bool { // before o began
		return find(ops, func(w *history.Op) bool {
			return ok(w, history.Write) && w.Key == o.Key && w.Return < o.Invoke
		}) != nil
	}
	return []spoiled{
		{"a read is flipped to an older value", c, kinds, 12, "stale-read", set(overwritten)},
		{"a read is flipped to what nobody wrote", c, kinds, 12, "phantom-read",
			set(func([]history.Op, *history.Op) string { return "nobody's" })},
		{"a read is flipped to what was refused", c, kinds, 12, "refused-write",
			set(func(ops []history.Op, o *history.Op) string { return refused(ops, o, history.Write) })},
		{"a read is flipped to what comes later", c, kinds, 12, "future-read",
			set(func(ops []history.Op, o *history.Op) string {
				if w := find(ops, func(w *history.Op) bool {
					return ok(w, history.Write) && w.Key == o.Key && w.Invoke > o.Return
				}); w != nil {
					return w.Arg
				}
				return ""
			})},
		{"a read is flipped to nothing", c, kinds, 12, "lost-write", editing(
			func(ops []history.Op, o *history.Op) bool { return isRead(ops, o) && written(ops, o) },
			func(_ []history.Op, o *history.Op) { o.Result = "" })},
		{"an acknowledged write is dropped", c, kinds, 12, "phantom-read|wrong-cas|not-linearizable", dropping(
			func(ops []history.Op, o *history.Op) bool {
				return ok(o, history.Write) &&
					find(ops, func(r *history.Op) bool { return ok(r, history.Read) && r.Result == o.Arg }) != nil &&
					find(ops, func(r *history.Op) bool { return ok(r, history.CAS) && r.Expect == o.Arg }) == nil
			})},
		{"a compare-and-set matched what had been replaced", c, kinds, 12, "wrong-cas|stale-read|not-linearizable", editing(
			func(ops []history.Op, o *history.Op) bool { return ok(o, history.CAS) && overwritten(ops, o) != "" },
			func(ops []history.Op, o *history.Op) { o.Expect, o.Result = overwritten(ops, o), "true" })},
	}
}

// final is the last read of o's key.
func final(ops []history.Op, o *history.Op) bool {
	last := o
	for i := range ops {
		if ops[i].Kind == o.Kind && ops[i].Key == o.Key && ops[i].Return > last.Return {
			last = &ops[i]
		}
	}
	return last == o && o.Type == history.OK
}

func finalOf(k history.Kind, more func(ops []history.Op, o *history.Op) bool) func([]history.Op, *history.Op) bool {
	return func(ops []history.Op, o *history.Op) bool {
		return o.Kind == k && len(o.List) > 2 && final(ops, o) && (more == nil || more(ops, o))
	}
}

// acked is the place in o's list of a record or element that was acknowledged before o began, from the end; -1: none.
func acked(ops []history.Op, o *history.Op) int {
	for i := len(o.List) - 1; i >= 0; i-- {
		if find(ops, func(a *history.Op) bool {
			return a.Arg == o.List[i] && a.Type == history.OK && a.Return < o.Invoke
		}) != nil {
			return i
		}
	}
	return -1
}

func has(place func([]history.Op, *history.Op) int) func(ops []history.Op, o *history.Op) bool {
	return func(ops []history.Op, o *history.Op) bool { return place(ops, o) >= 0 }
}

func spoiledStreams() []spoiled {
	c, kinds := check.NewStreams(), []string{"stream"}
	lastAcked := func(ops []history.Op, o *history.Op) bool {
		return o.Kind == history.Stream && o.Type == history.OK && len(o.List) > 0 && acked(ops, o) == len(o.List)-1
	}
	refusedRecord := func(ops []history.Op, o *history.Op) bool { return refused(ops, o, history.Append) != "" }
	return []spoiled{
		{"an acknowledged record is dropped", c, kinds, 4, "lost-record", editing(finalOf(history.Stream, has(acked)),
			func(ops []history.Op, o *history.Op) { i := acked(ops, o); o.List = slices.Delete(o.List, i, i+1) })},
		{"a record is there twice", c, kinds, 4, "duplicate-record", editing(finalOf(history.Stream, nil),
			func(_ []history.Op, o *history.Op) { o.List = append(o.List, o.List[0]) })},
		{"two records are swapped", c, kinds, 4, "wrong-number", editing(finalOf(history.Stream, has(acked)),
			func(ops []history.Op, o *history.Op) {
				i := acked(ops, o)
				o.List[i], o.List[(i+1)%len(o.List)] = o.List[(i+1)%len(o.List)], o.List[i]
			})},
		{"a refused record is there", c, kinds, 4, "refused-record", editing(finalOf(history.Stream, refusedRecord),
			func(ops []history.Op, o *history.Op) { o.List = append(o.List, refused(ops, o, history.Append)) })},
		{"a record of nobody is there", c, kinds, 4, "phantom-record", editing(finalOf(history.Stream, nil),
			func(_ []history.Op, o *history.Op) { o.List = append(o.List, "nobody's") })},
		{"an append is dropped from the history", c, kinds, 4, "phantom-record",
			dropping(func(ops []history.Op, o *history.Op) bool {
				return ok(o, history.Append) && find(ops, func(r *history.Op) bool {
					return slices.Contains(r.List, o.Arg)
				}) != nil && find(ops, func(a *history.Op) bool { return a.Arg == o.Arg && a.Invoke != o.Invoke }) == nil
			})},
		{"a read misses the newest record", c, kinds, 4, "stale-read", editing(
			func(ops []history.Op, o *history.Op) bool { return lastAcked(ops, o) && !final(ops, o) },
			func(_ []history.Op, o *history.Op) { o.List = o.List[:len(o.List)-1] })},
		{"two acknowledged numbers are swapped", c, kinds, 0, "wrong-order",
			func(ops []history.Op, r *rand.Rand) []history.Op {
				i := pick(ops, r, func(o *history.Op) bool { return ok(o, history.Append) })
				j := pick(ops, r, func(o *history.Op) bool {
					return i >= 0 && ok(o, history.Append) && o.Key == ops[i].Key && o.Invoke > ops[i].Return
				})
				if j < 0 || ops[i].Arg == ops[j].Arg || retried(ops, ops[i].Arg) || retried(ops, ops[j].Arg) {
					return nil
				}
				ops[i].Result, ops[j].Result = ops[j].Result, ops[i].Result
				return ops
			}},
		{"a retry gets another number", c, kinds, 4, "two-numbers", editing(
			func(ops []history.Op, o *history.Op) bool { return ok(o, history.Append) && retried(ops, o.Arg) },
			func(_ []history.Op, o *history.Op) { o.Result = strconv.Itoa(number(o.Result) + 1) })},
		{"an open record moves", c, kinds, 2, "diverging-reads", func(ops []history.Op, r *rand.Rand) []history.Op {
			open := func(o *history.Op, id string) bool { return o.Arg == id && o.Type == history.OK }
			i := pick(ops, r, func(o *history.Op) bool {
				n := len(o.List) - 1
				return o.Kind == history.Stream && n > 0 && !final(ops, o) &&
					find(ops, func(a *history.Op) bool { return open(a, o.List[n]) || open(a, o.List[n-1]) }) == nil
			})
			if i < 0 {
				return nil
			}
			l := slices.Clone(ops[i].List)
			n := len(l) - 1
			l[n], l[n-1] = l[n-1], l[n]
			ops[i].List = l
			return ops
		}},
	}
}

func retried(ops []history.Op, id string) bool {
	n := 0
	for i := range ops {
		if ops[i].Arg == id && ops[i].Type == history.OK {
			n++
		}
	}
	return n > 1
}

func spoiledSets() []spoiled {
	c, kinds := check.NewSets(), []string{"set"}
	// openSeen is an element of unknown outcome that an earlier read has as well.
	openSeen := func(ops []history.Op, o *history.Op) int {
		return slices.IndexFunc(o.List, func(id string) bool {
			return find(ops, func(a *history.Op) bool { return a.Arg == id && a.Type == history.Info }) != nil &&
				find(ops, func(x *history.Op) bool { return slices.Contains(x.List, id) && x.Return < o.Invoke }) != nil
		})
	}
	drop := func(place func([]history.Op, *history.Op) int) func(ops []history.Op, o *history.Op) {
		return func(ops []history.Op, o *history.Op) { i := place(ops, o); o.List = slices.Delete(o.List, i, i+1) }
	}
	return []spoiled{
		{"an acknowledged element is dropped", c, kinds, 4, "lost-element",
			editing(finalOf(history.Set, has(acked)), drop(acked))},
		{"an element that was seen is dropped", c, kinds, 3, "lost-element",
			editing(finalOf(history.Set, has(openSeen)), drop(openSeen))},
		{"an element is there twice", c, kinds, 4, "duplicate-element", editing(finalOf(history.Set, nil),
			func(_ []history.Op, o *history.Op) { o.List = append(o.List, o.List[0]) })},
		{"a refused element is there", c, kinds, 4, "refused-element", editing(
			finalOf(history.Set, func(ops []history.Op, o *history.Op) bool { return refused(ops, o, history.Add) != "" }),
			func(ops []history.Op, o *history.Op) { o.List = append(o.List, refused(ops, o, history.Add)) })},
		{"an add is dropped from the history", c, kinds, 4, "phantom-element",
			dropping(func(ops []history.Op, o *history.Op) bool {
				return ok(o, history.Add) &&
					find(ops, func(r *history.Op) bool { return slices.Contains(r.List, o.Arg) }) != nil
			})},
		{"a read misses an element", c, kinds, 4, "stale-read", editing(func(ops []history.Op, o *history.Op) bool {
			return ok(o, history.Set) && !final(ops, o) && acked(ops, o) >= 0
		}, drop(acked))},
	}
}

func spoiledSums() []spoiled {
	counter, counters := check.NewCounter(), []string{"counter"}
	bank, banks := check.NewBank(check.BankOptions{}), []string{"bank"}
	counted := func(ops []history.Op, o *history.Op) bool {
		return ok(o, history.Count) && o.Result != "" && final(ops, o)
	}
	whole := func(_ []history.Op, o *history.Op) bool {
		return ok(o, history.Txn) && o.Txn[0].Part == history.PartRead
	}
	shift := func(s string, by int) string { return strconv.Itoa(number(s) + by) }
	return []spoiled{
		{"an addition is dropped from the history", counter, counters, 0, "double-apply",
			dropping(func(_ []history.Op, o *history.Op) bool { return ok(o, history.Incr) })},
		{"too little is read", counter, counters, 0, "lost-increment",
			editing(counted, func(_ []history.Op, o *history.Op) { o.Result = shift(o.Result, -1) })},
		{"too much is read", counter, counters, 0, "double-apply",
			editing(counted, func(_ []history.Op, o *history.Op) { o.Result = shift(o.Result, 1) })},
		{"the sum goes back", counter, counters, 2, "went-back", func(ops []history.Op, r *rand.Rand) []history.Op {
			i := pick(ops, r, func(o *history.Op) bool { return ok(o, history.Count) })
			j := pick(ops, r, func(o *history.Op) bool {
				return i >= 0 && ok(o, history.Count) && o.Key == ops[i].Key && o.Invoke > ops[i].Return &&
					number(o.Result) > number(ops[i].Result)
			})
			if j < 0 {
				return nil
			}
			ops[i].Result, ops[j].Result = ops[j].Result, ops[i].Result
			return ops
		}},
		{"two additions end in one sum", counter, counters, 4, "same-sum",
			func(ops []history.Op, r *rand.Rand) []history.Op {
				i := pick(ops, r, func(o *history.Op) bool { return ok(o, history.Incr) })
				j := pick(ops, r, func(o *history.Op) bool {
					return i >= 0 && ok(o, history.Incr) && o.Key == ops[i].Key && o.Arg != ops[i].Result && o.Invoke != ops[i].Invoke
				})
				if j < 0 {
					return nil
				}
				ops[j].Result = ops[i].Result
				return ops
			}},
		{"half of a transfer is seen", bank, banks, 4, "total-changed",
			editing(whole, func(_ []history.Op, o *history.Op) { o.Txn[1].Result = shift(o.Txn[1].Result, 7) })},
		{"an account is gone", bank, banks, 0, "total-changed", editing(
			func(ops []history.Op, o *history.Op) bool { return whole(ops, o) && number(o.Txn[2].Result) > 0 },
			func(_ []history.Op, o *history.Op) { o.Txn[2].Result = "" })},
		{"a balance is below zero", bank, banks, 4, "negative-balance", editing(whole,
			func(_ []history.Op, o *history.Op) {
				o.Txn[0].Result, o.Txn[1].Result = "-1", shift(o.Txn[1].Result, number(o.Txn[0].Result)+1)
			})},
	}
}

func spoiledOrders() []spoiled {
	reader := func(o *history.Op) bool { return ok(o, history.Txn) && o.Txn[0].Part == history.PartRead }
	return []spoiled{
		{"two reads see two writes in two orders", check.NewLongFork(), []string{"bank"}, 4, "long-fork",
			func(ops []history.Op, r *rand.Rand) []history.Op {
				i := pick(ops, r, reader)
				j := pick(ops, r, func(o *history.Op) bool {
					return i >= 0 && reader(o) && o.Txn[0].Version > ops[i].Txn[0].Version &&
						o.Txn[1].Version > ops[i].Txn[1].Version
				})
				if j < 0 {
					return nil
				}
				ops[i].Txn[0], ops[j].Txn[0] = ops[j].Txn[0], ops[i].Txn[0]
				return ops
			}},
		{"an older element is missing", check.NewCausalReverse(), []string{"set"}, 4, "causal-reverse", editing(
			finalOf(history.Set, has(acked)), func(ops []history.Op, o *history.Op) {
				first := slices.MinFunc(o.List, func(a, b string) int {
					return int(endOf(ops, a) - endOf(ops, b))
				})
				o.List = slices.DeleteFunc(o.List, func(id string) bool { return id == first })
			})},
		{"a newer write is seen without an older one", check.NewCausalReverse(), []string{"bank"}, 4, "causal-reverse",
			editing(func(ops []history.Op, o *history.Op) bool {
				w := find(ops, func(w *history.Op) bool {
					return ok(w, history.Txn) && reader(o) && w.Version != 0 && w.Version == o.Txn[0].Version
				})
				return w != nil && find(ops, func(a *history.Op) bool {
					return ok(a, history.Txn) && a.Version != 0 && a.Return < w.Invoke && writes(a, account(1))
				}) != nil
			}, func(_ []history.Op, o *history.Op) { o.Txn[1].Version, o.Txn[1].Result = 0, "" })},
		{"a client sees a key go back", check.NewMonotonic(), []string{"register"}, 4, "went-back|not-own-write",
			func(ops []history.Op, r *rand.Rand) []history.Op {
				i := pick(ops, r, func(o *history.Op) bool { return ok(o, history.Read) })
				j := pick(ops, r, func(o *history.Op) bool {
					return i >= 0 && ok(o, history.Read) && o.Key == ops[i].Key && o.Client == ops[i].Client &&
						o.Version > ops[i].Version && o.Invoke > ops[i].Return
				})
				if j < 0 {
					return nil
				}
				a, b := &ops[i], &ops[j]
				a.Version, a.Result, b.Version, b.Result = b.Version, b.Result, a.Version, a.Result
				return ops
			}},
		{"a tenant sees another's value", check.NewTenants(), []string{"tenants"}, 4, "foreign-value", editing(
			func(_ []history.Op, o *history.Op) bool { return ok(o, history.Read) && o.Tenant == "acme" },
			func(_ []history.Op, o *history.Op) { o.Result = "x" + check.CanaryValue("bolt", "1") })},
		{"an error tells another's value", check.NewTenants(), []string{"tenants"}, 4, "foreign-value", editing(
			func(_ []history.Op, o *history.Op) bool { return o.Type == history.Fail && o.Tenant == "acme" },
			func(_ []history.Op, o *history.Op) { o.Err = "conflict with " + check.CanaryValue("bolt", "1") })},
	}
}

func writes(o *history.Op, key string) bool {
	return slices.ContainsFunc(o.Txn, func(m history.Mop) bool { return m.Part != history.PartRead && m.Key == key })
}

func endOf(ops []history.Op, id string) int64 {
	if a := find(ops, func(a *history.Op) bool { return a.Arg == id && a.Type == history.OK }); a != nil {
		return a.Return
	}
	return 1 << 40
}
