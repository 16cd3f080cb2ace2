package cycle_test

import (
	"slices"

	"github.com/vipkv/vipkv/chaos/check/cycle"
	"github.com/vipkv/vipkv/chaos/history"
)

// explained tries everything: each choice of which transactions of unknown outcome took place, in each order that the
// level allows.
func explained(ops []history.Op, level cycle.Level) bool {
	var sure, perhaps []*history.Op
	for i := range ops {
		switch ops[i].Type {
		case history.OK:
			sure = append(sure, &ops[i])
		case history.Info:
			perhaps = append(perhaps, &ops[i])
		}
	}
	for set := range 1 << len(perhaps) {
		chosen := slices.Clone(sure)
		for i, p := range perhaps {
			if set&(1<<i) != 0 {
				chosen = append(chosen, p)
			}
		}
		if level == cycle.SnapshotIsolation {
			if snapshots(chosen, map[*history.Op]map[string][]string{}, map[string][]string{}) {
				return true
			}
		} else if ordered(chosen, map[string][]string{}, level == cycle.StrictSerializable) {
			return true
		}
	}
	return false
}

// precedes says whether time forces a before b.
func precedes(a, b *history.Op) bool {
	if a.Type != history.OK {
		return false
	}
	return a.Return < b.Invoke || a.Client == b.Client && a.Return <= b.Invoke
}

// ordered tries each of the rest as the next one.
func ordered(rest []*history.Op, state map[string][]string, strict bool) bool {
	if len(rest) == 0 {
		return true
	}
	for i, op := range rest {
		if strict && slices.ContainsFunc(rest, func(o *history.Op) bool { return o != op && precedes(o, op) }) {
			continue
		}
		after, ok := apply(op, state)
		if ok && ordered(slices.Delete(slices.Clone(rest), i, i+1), after, strict) {
			return true
		}
	}
	return false
}

// apply runs a transaction on a state; not ok when it says that it read something else.
func apply(op *history.Op, state map[string][]string) (map[string][]string, bool) {
	after := make(map[string][]string, len(state)+1)
	for k, v := range state {
		after[k] = v
	}
	for _, m := range op.Txn {
		switch {
		case m.Part == history.PartAppend:
			after[m.Key] = append(slices.Clone(after[m.Key]), m.Value)
		case op.Type == history.OK && !slices.Equal(m.List, after[m.Key]):
			return nil, false
		}
	}
	return after, true
}

// snapshots tries each order of beginnings and commits. A transaction works on the state at its beginning, and does not
// commit when somebody has changed a list that it appends to since then.
func snapshots(rest []*history.Op, begun map[*history.Op]map[string][]string, state map[string][]string) bool {
	if len(rest) == 0 {
		return true
	}
	for i, op := range rest {
		began, ok := begun[op]
		if !ok {
			if _, ok := apply(op, state); !ok {
				continue
			}
			begun[op] = state
			if snapshots(rest, begun, state) {
				return true
			}
			delete(begun, op)
			continue
		}
		after := make(map[string][]string, len(state)+1)
		for k, v := range state {
			after[k] = v
		}
		for _, m := range op.Txn {
			if m.Part == history.PartAppend {
				if !slices.Equal(state[m.Key], began[m.Key]) {
					ok = false
				}
				after[m.Key] = append(slices.Clone(after[m.Key]), m.Value)
			}
		}
		if ok && snapshots(slices.Delete(slices.Clone(rest), i, i+1), begun, after) {
			return true
		}
	}
	return false
}
