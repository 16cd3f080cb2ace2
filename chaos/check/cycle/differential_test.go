package cycle_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/check/cycle"
	"github.com/vipkv/vipkv/chaos/history"
)

// small makes a random history of at most size transactions on few lists. Some are made by a correct store and spoiled
// a little, so that both outcomes are frequent and near misses too.
func small(r *rand.Rand, size int) []history.Op {
	var ops []history.Op
	state := map[string][]string{}
	now, value := int64(0), 0
	keys := 1 + r.IntN(2)
	lag := r.IntN(3) // how many transactions a read may lie behind
	past := []map[string][]string{{}}
	free := map[int]int64{} // when a client has nothing to do
	for range 2 + r.IntN(size-1) {
		op := history.Op{Kind: history.Txn, Client: r.IntN(3), Type: history.OK}
		seen := past[max(0, len(past)-1-r.IntN(lag+1))]
		local := map[string][]string{}
		for k, v := range seen {
			local[k] = v
		}
		writes := map[string][]string{}
		for range 1 + r.IntN(3) {
			k := string(rune('x' + r.IntN(keys)))
			if r.IntN(2) == 0 {
				op.Txn = append(op.Txn, history.Mop{Part: history.PartRead, Key: k, List: local[k]})
				continue
			}
			value++
			v := strconv.Itoa(value)
			op.Txn = append(op.Txn, history.Mop{Part: history.PartAppend, Key: k, Value: v})
			local[k] = append(slices.Clone(local[k]), v)
			writes[k] = append(writes[k], v)
		}
		switch r.IntN(8) {
		case 0:
			op.Type = history.Info
		case 1:
			op.Type = history.Fail
		}
		if op.Type == history.OK || op.Type == history.Info && r.IntN(2) == 0 {
			next := map[string][]string{}
			for k, v := range state {
				next[k] = v
			}
			for k, v := range writes {
				next[k] = append(slices.Clone(next[k]), v...)
			}
			state = next
			past = append(past, state)
		}
		op.Invoke = max(now+int64(r.IntN(4)), free[op.Client])
		op.Return = op.Invoke + 1 + int64(r.IntN(6))
		free[op.Client] = op.Return
		now += int64(r.IntN(4))
		ops = append(ops, op)
	}
	if r.IntN(3) == 0 {
		for range 1 + r.IntN(3) {
			spoil(r, ops)
		}
	}
	return listsOnly(ops)
}

// listsOnly empties the reads of keys that nobody appends to: to the checker those are no lists.
func listsOnly(ops []history.Op) []history.Op {
	lists := map[string]bool{}
	for _, op := range ops {
		for _, m := range op.Txn {
			lists[m.Key] = lists[m.Key] || m.Part == history.PartAppend
		}
	}
	for _, op := range ops {
		for i := range op.Txn {
			if !lists[op.Txn[i].Key] {
				op.Txn[i].List = nil
			}
		}
	}
	return ops
}

// spoil changes one read.
func spoil(r *rand.Rand, ops []history.Op) {
	op := &ops[r.IntN(len(ops))]
	m := &op.Txn[r.IntN(len(op.Txn))]
	if m.Part != history.PartRead {
		return
	}
	if len(m.List) == 0 {
		m.List = []string{"0"} // to be changed further, or nobody's
	}
	m.List = slices.Clone(m.List)
	i := r.IntN(len(m.List))
	switch r.IntN(6) {
	case 0:
		m.List = slices.Delete(m.List, i, i+1)
	case 1:
		m.List = append(m.List, m.List[i])
	case 2:
		j := r.IntN(len(m.List))
		m.List[i], m.List[j] = m.List[j], m.List[i]
	case 3:
		m.List = m.List[:i]
	case 4, 5:
		other := ops[r.IntN(len(ops))].Txn // of whatever outcome, earlier or later
		if o := other[r.IntN(len(other))]; o.Part == history.PartAppend {
			m.List = append(m.List, o.Value)
		}
	}
}

// hidden counts, for the list with most of them, the acknowledged appends that no read shows.
func hidden(ops []history.Op) int {
	shown := map[string]bool{}
	for _, op := range ops {
		for _, m := range op.Txn {
			if op.Type == history.OK && m.Part == history.PartRead {
				for _, v := range m.List {
					shown[v] = true
				}
			}
		}
	}
	most := 0
	byKey := map[string]int{}
	for _, op := range ops {
		committed := op.Type == history.OK
		keys := map[string]bool{}
		for _, m := range op.Txn {
			if m.Part == history.PartAppend {
				committed = committed || op.Type == history.Info && shown[m.Value]
				if !shown[m.Value] {
					keys[m.Key] = true
				}
			}
		}
		for k := range keys {
			if committed {
				byKey[k]++
				most = max(most, byKey[k])
			}
		}
	}
	return most
}

// TestAgainstEveryOrder: the checker and the search through all orders agree on small random histories.
func TestAgainstEveryOrder(t *testing.T) {
	for _, c := range []struct {
		level      cycle.Level
		size, runs int
	}{
		{cycle.Serializable, 6, 20_000},
		{cycle.StrictSerializable, 6, 20_000},
		{cycle.SnapshotIsolation, 5, 5_000},
	} {
		t.Run(string(c.level), func(t *testing.T) {
			t.Parallel()
			outcomes := map[string]int{}
			for seed := range uint64(c.runs) {
				ops := small(rand.New(rand.NewPCG(seed, 7)), c.size)
				v := cycle.New(cycle.Options{Level: c.level}).Check(ops)
				want := explained(ops, c.level)
				complete := c.level != cycle.SnapshotIsolation || hidden(ops) <= 1
				switch {
				case want && v.Outcome == check.Fail:
					t.Fatalf("seed %d: an order explains it, and it says %s\n%s", seed, v.Reason, tell(ops, v))
				case !want && v.Outcome != check.Fail && complete:
					t.Fatalf("seed %d: no order explains it, and it says %s\n%s", seed, v.Outcome, tell(ops, v))
				}
				for _, a := range v.Anomalies {
					outcomes[a.Name]++
				}
				outcomes[fmt.Sprintf("explained %t", want)]++
			}
			t.Log(outcomes)
			if outcomes["explained true"] < c.runs/10 || outcomes["explained false"] < c.runs/10 {
				t.Fatal("one outcome is too rare to have been tested")
			}
		})
	}
}

func tell(ops []history.Op, v check.Verdict) string {
	out := ""
	for _, op := range ops {
		out += fmt.Sprintf("client %d %d..%d %s:", op.Client, op.Invoke, op.Return, op.Type)
		for _, m := range op.Txn {
			out += fmt.Sprintf(" %s %s %s%v", m.Part, m.Key, m.Value, m.List)
		}
		out += "\n"
	}
	for _, a := range v.Anomalies {
		out += a.Name + ": " + a.Text + "\n"
	}
	return out
}
