package check_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

// talk is a valid history of one conversation: 30 records, of which one has an unknown outcome, one is sent again and
// one refused; pulls, and a cursor that follows.
func talk() []history.Op {
	var ops []history.Op
	add := func(o history.Op) {
		if o.Type == "" {
			o.Type = history.OK
		}
		at := int64(len(ops)) * 10
		o.Invoke, o.Return = at, at+9
		ops = append(ops, o)
	}
	var all []string
	cursor := 0
	for i := 1; i <= 30; i++ {
		id := fmt.Sprintf("m%d", i)
		all = append(all, history.Entry{Number: uint64(i), ID: id}.String())
		send := history.Op{Kind: history.Append, Key: "c/x", Arg: id, Result: fmt.Sprint(i)}
		if i == 7 {
			send.Type, send.Result = history.Info, ""
		}
		if add(send); i == 9 {
			add(send)
		}
		switch i % 3 {
		case 0:
			list := slices.Clone(all[max(0, i-10):])
			slices.Reverse(list)
			add(history.Op{Kind: history.Pull, Key: "c/x", Limit: 10, Backward: true, List: list, Result: fmt.Sprint(i)})
		case 1:
			list := all[i/2 : min(i, i/2+5)]
			add(history.Op{Kind: history.Pull, Key: "c/x", Arg: fmt.Sprint(i / 2), Limit: 5, List: list,
				Result: fmt.Sprint(i)})
		default:
			add(history.Op{Kind: history.Advance, Key: "u/c/x", Arg: fmt.Sprint(i),
				Expect: fmt.Sprint(cursor),
				Result: fmt.Sprint(i)})
			cursor = i
			add(history.Op{Kind: history.Inbox, Key: "u/c", Arg: "c/",
				List: []string{history.Unread{Name: "x", Cursor: uint64(i), Last: uint64(i)}.String()}})
		}
	}
	add(history.Op{Kind: history.Append, Key: "c/x", Arg: "refused", Type: history.Fail})
	add(history.Op{Kind: history.Inbox, Key: "u/c", Arg: "c/", List: []string{"x 29 30"}})
	return ops
}

func lastOf(ops []history.Op, f func(*history.Op) bool) *history.Op {
	for i := len(ops) - 1; i >= 0; i-- {
		if f(&ops[i]) {
			return &ops[i]
		}
	}
	panic("there is no such operation")
}

func ofKind(kind history.Kind, backward bool) func(*history.Op) bool {
	return func(o *history.Op) bool { return o.Kind == kind && o.Backward == backward }
}

func TestMessenger(t *testing.T) {
	if v := check.NewMessenger().Check(talk()); v.Outcome != check.Pass {
		t.Fatal(v.Err())
	}
	pull, latest := ofKind(history.Pull, false), ofKind(history.Pull, true)
	inbox, advance := ofKind(history.Inbox, false), ofKind(history.Advance, false)
	for _, c := range []struct {
		what, anomaly string
		spoil         func([]history.Op)
	}{
		{"a record is left out", "hole", func(ops []history.Op) {
			o := lastOf(ops, pull)
			o.List = slices.Delete(slices.Clone(o.List), 1, 2)
		}},
		{"the newest record is left out", "lost-record", func(ops []history.Op) {
			o := lastOf(ops, latest)
			o.List, o.Result = o.List[1:], "29"
		}},
		{"the oldest records are left out", "lost-record", func(ops []history.Op) {
			o := lastOf(ops, latest)
			o.List = o.List[:3]
		}},
		{"a pull ends too early", "lost-record", func(ops []history.Op) {
			o := lastOf(ops, pull)
			o.List = o.List[:2]
		}},
		{"two records have changed places", "wrong-number", func(ops []history.Op) {
			o := lastOf(ops, latest)
			o.List = slices.Clone(o.List)
			o.List[3], o.List[4] = "27 m26", "26 m27"
		}},
		{"a record has another number in one read", "diverging-reads", func(ops []history.Op) {
			o := &ops[slices.IndexFunc(ops, func(o history.Op) bool { return o.Kind == history.Append && o.Arg == "m8" })]
			o.Type = history.Info
			r := &ops[slices.IndexFunc(ops, func(o history.Op) bool { return o.Kind == history.Pull && o.Result == "9" })]
			r.List = slices.Clone(r.List)
			r.List[1], r.List[2] = "8 m7", "7 m8"
		}},
		{"nobody sent it", "phantom-record", func(ops []history.Op) { lastOf(ops, pull).List = []string{"15 z"} }},
		{"it was refused", "refused-record", func(ops []history.Op) { lastOf(ops, pull).List = []string{"15 refused"} }},
		{"it is there too soon", "future-record", func(ops []history.Op) {
			o := &ops[slices.IndexFunc(ops, isPull)]
			o.List = []string{"1 m20"}
		}},
		{"a stream gets shorter", "stale-read", func(ops []history.Op) {
			ops[slices.IndexFunc(ops, func(o history.Op) bool { return o.Kind == history.Append && o.Arg == "m30" })].Type =
				history.Info
			lastOf(ops, inbox).List = []string{"x 29 29"}
		}},
		{"a cursor goes back", "cursor-went-back", func(ops []history.Op) { lastOf(ops, advance).Expect = "23" }},
		{"a cursor is less than was asked", "cursor-went-back", func(ops []history.Op) {
			lastOf(ops, advance).Result = "28"
		}},
		{"a cursor in an inbox goes back", "cursor-went-back", func(ops []history.Op) {
			lastOf(ops, inbox).List = []string{"x 26 30"}
		}},
		{"a cursor is missing", "cursor-went-back", func(ops []history.Op) { lastOf(ops, inbox).List = nil }},
		{"nobody read that far", "phantom-cursor", func(ops []history.Op) { lastOf(ops, inbox).List[0] = "x 30 30" }},
		{"more is read than there is", "negative-unread", func(ops []history.Op) {
			lastOf(ops, inbox).List[0] = "x 29 28"
		}},
		{"more is there than was sent", "phantom-head", func(ops []history.Op) {
			lastOf(ops, inbox).List[0] = "x 29 31"
		}},
		{"no number", "malformed", func(ops []history.Op) { lastOf(ops, advance).Result = "x" }},
	} {
		ops := talk()
		c.spoil(ops)
		wants(t, check.NewMessenger(), ops, c.what, c.anomaly)
	}
}

func isPull(o history.Op) bool { return o.Kind == history.Pull && !o.Backward }

func wants(t *testing.T, c check.Checker, ops []history.Op, what, anomaly string) {
	t.Helper()
	v := c.Check(ops)
	if !slices.ContainsFunc(v.Anomalies, func(a check.Anomaly) bool { return a.Name == anomaly }) {
		t.Errorf("%s: want %s, have %s: %s", what, anomaly, v.Outcome, v.Reason)
	}
}

// ms is the timestamp of a millisecond.
func ms(n int64) uint64 { return uint64(n) << 18 }

// presences is a valid history: a value of 100 ms written at 1,000, seen at about 1,050, replaced at 1,060, gone at
// about 1,170; and timestamps in between.
func presences() []history.Op {
	ops := []history.Op{
		{Kind: history.Touch, Key: "p", Arg: "a", TTLMs: 100, Version: ms(1000)},
		{Kind: history.Peek, Key: "p", Result: "a"},
		{Kind: history.Write, Key: "k", Arg: "1", Version: ms(1050)},
		{Kind: history.Touch, Key: "p", Arg: "no", TTLMs: 100, Type: history.Fail},
		{Kind: history.Touch, Key: "p", Arg: "b", TTLMs: 100, Version: ms(1060)},
		{Kind: history.Write, Key: "k", Arg: "2", Version: ms(1150)},
		{Kind: history.Peek, Key: "p", Result: "b"},
		{Kind: history.Write, Key: "k", Arg: "3", Version: ms(1155)},
		{Kind: history.Write, Key: "k", Arg: "4", Version: ms(1161)},
		{Kind: history.Peek, Key: "p"},
		{Kind: history.Append, Key: "s", Arg: "again", Result: "1", Version: ms(900)}, // it was there already
	}
	for i := range ops {
		ops[i].Invoke, ops[i].Return = int64(i)*10, int64(i)*10+9
		if ops[i].Type == "" {
			ops[i].Type = history.OK
		}
	}
	return ops
}

func TestPresence(t *testing.T) {
	if v := check.NewPresence().Check(presences()); v.Outcome != check.Pass || v.Ops != 6 {
		t.Fatal(v.Ops, v.Err())
	}
	for _, c := range []struct {
		what, anomaly string
		at            int
		result        string
	}{
		{"it is gone", "gone-too-early", 1, ""},
		{"the one after it is gone", "gone-too-early", 6, ""},
		{"it stays", "there-too-long", 9, "b"},
		{"the one before it comes back", "replaced-value", 6, "a"},
		{"nobody wrote it", "phantom-value", 6, "x"},
		{"it was refused", "refused-value", 6, "no"},
	} {
		ops := presences()
		ops[c.at].Result = c.result
		wants(t, check.NewPresence(), ops, c.what, c.anomaly)
	}
}
