package check_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

const limit = 10 * time.Second

// registers is a valid history of one register: overlapping writes and reads, one compare-and-set of each outcome and
// one write of unknown outcome that was seen later.
func registers() []history.Op {
	var ops []history.Op
	at := int64(0)
	add := func(o history.Op) {
		o.Key, o.Invoke, o.Return = "r", at, at+15 // each overlaps the next
		if o.Type == "" {
			o.Type = history.OK
		}
		o.Client = len(ops) % 3
		ops = append(ops, o)
		at += 20
	}
	last := ""
	for i := range 40 {
		v := fmt.Sprintf("v%d", i)
		switch i % 5 {
		case 0, 1:
			add(history.Op{Kind: history.Write, Arg: v})
			last = v
		case 2:
			add(history.Op{Kind: history.CAS, Expect: last, Arg: v, Result: "true"})
			last = v
		case 3:
			add(history.Op{Kind: history.CAS, Expect: "nothing", Arg: v, Result: "false"})
		}
		add(history.Op{Kind: history.Read, Result: last})
	}
	add(history.Op{Kind: history.Write, Arg: "open", Type: history.Info})
	add(history.Op{Kind: history.Read, Result: last})
	add(history.Op{Kind: history.Read, Result: "open"})
	add(history.Op{Kind: history.Write, Arg: "refused", Type: history.Fail})
	add(history.Op{Kind: history.Read, Result: "open"})
	return ops
}

func TestRegisters(t *testing.T) {
	if err := check.Registers(registers(), limit); err != nil {
		t.Fatal(err)
	}
	find := func(ops []history.Op, f func(*history.Op) bool) *history.Op {
		i := slices.IndexFunc(ops, func(o history.Op) bool { return f(&o) })
		return &ops[i]
	}
	for name, spoil := range map[string]func([]history.Op) []history.Op{
		"a read returns an older value": func(ops []history.Op) []history.Op {
			find(ops, func(o *history.Op) bool { return o.Result == "v26" }).Result = "v25"
			return ops
		},
		"a read returns what was never written": func(ops []history.Op) []history.Op {
			find(ops, func(o *history.Op) bool { return o.Result == "v11" }).Result = "x"
			return ops
		},
		"a failed compare-and-set succeeded": func(ops []history.Op) []history.Op {
			find(ops, func(o *history.Op) bool { return o.Result == "false" }).Result = "true"
			return ops
		},
		"an acknowledged write is missing": func(ops []history.Op) []history.Op {
			return slices.DeleteFunc(ops, func(o history.Op) bool { return o.Arg == "v31" })
		},
		"a refused write is seen": func(ops []history.Op) []history.Op {
			ops[len(ops)-1].Result = "refused"
			return ops
		},
		"an open write is seen and then not": func(ops []history.Op) []history.Op {
			ops[len(ops)-1].Result = "v37"
			return ops
		},
	} {
		if err := check.Registers(spoil(registers()), limit); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestUndecidedIsAnError: a checker that gives up must not pass.
func TestUndecidedIsAnError(t *testing.T) {
	var ops []history.Op
	for i := range 40 { // all concurrent, all open, and a read that nothing explains
		ops = append(ops, history.Op{Client: i, Kind: history.Write, Key: "r", Arg: fmt.Sprint(i), Invoke: 0, Return: 1,
			Type: history.Info})
	}
	ops = append(ops, history.Op{Client: 99, Kind: history.Read, Key: "r", Result: "none", Invoke: 5, Return: 6,
		Type: history.OK})
	err := check.Registers(ops, 50*time.Millisecond)
	if err == nil {
		t.Fatal("accepted")
	}
	if !strings.Contains(err.Error(), "not decided") {
		t.Fatalf("want undecided, got %v", err)
	}
}

func streams() []history.Op {
	op := func(kind history.Kind, arg, result string, at int64, typ history.Type, list ...string) history.Op {
		return history.Op{Kind: kind, Key: "s", Arg: arg, Result: result, Invoke: at, Return: at + 5, Type: typ, List: list}
	}
	return []history.Op{
		op(history.Append, "a", "1", 0, history.OK),
		op(history.Append, "b", "2", 10, history.OK),
		op(history.Append, "c", "", 20, history.Info),
		op(history.Stream, "", "", 30, history.OK, "a", "b"),
		op(history.Append, "d", "", 40, history.Fail),
		op(history.Append, "e", "4", 50, history.OK),
		op(history.Stream, "", "", 60, history.OK, "a", "b", "c", "e"),
	}
}

func TestStreams(t *testing.T) {
	if err := check.Streams(streams()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func([]history.Op) []history.Op{
		"an acknowledged record is lost": func(ops []history.Op) []history.Op {
			ops[6].List = []string{"a", "b", "c"}
			return ops
		},
		"a record is there twice": func(ops []history.Op) []history.Op {
			ops[6].List = []string{"a", "b", "c", "e", "b"}
			return ops
		},
		"a record has another number": func(ops []history.Op) []history.Op {
			ops[6].List = []string{"a", "c", "b", "e"}
			return ops
		},
		"a refused record is there": func(ops []history.Op) []history.Op {
			ops[6].List = append(ops[6].List, "d")
			return ops
		},
		"a record of nobody is there": func(ops []history.Op) []history.Op {
			ops[6].List = append(ops[6].List, "z")
			return ops
		},
		"a read in the middle is stale": func(ops []history.Op) []history.Op {
			ops[3].List = []string{"a"}
			return ops
		},
		"a read sees the future": func(ops []history.Op) []history.Op {
			ops[3].List = []string{"a", "b", "c", "e"}
			return ops
		},
		"an acknowledgement is dropped from the history": func(ops []history.Op) []history.Op {
			return slices.Delete(ops, 1, 2)
		},
		"there is no final read": func(ops []history.Op) []history.Op { return ops[:6] },
	} {
		if err := check.Streams(spoil(streams())); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func sets() []history.Op {
	ops := streams()
	for i := range ops {
		ops[i].Result = ""
		if ops[i].Kind == history.Append {
			ops[i].Kind = history.Add
		} else {
			ops[i].Kind = history.Set
		}
	}
	return ops
}

func TestSets(t *testing.T) {
	if err := check.Sets(sets()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func([]history.Op) []history.Op{
		"an acknowledged element is lost": func(ops []history.Op) []history.Op {
			ops[6].List = []string{"a", "c", "e"}
			return ops
		},
		"an element is there twice": func(ops []history.Op) []history.Op {
			ops[6].List = append(ops[6].List, "a")
			return ops
		},
		"a refused element is there": func(ops []history.Op) []history.Op {
			ops[6].List = append(ops[6].List, "d")
			return ops
		},
		"a read in the middle is stale": func(ops []history.Op) []history.Op {
			ops[3].List = []string{"b"}
			return ops
		},
		"there is no final read": func(ops []history.Op) []history.Op { return ops[:6] },
	} {
		if err := check.Sets(spoil(sets())); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
