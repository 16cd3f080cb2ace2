package judge_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/judge"
)

// garbage is a well-formed history that means nothing: fields from small pools, so that operations meet.
func garbage(r *rand.Rand) (ops []history.Op) {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	value := func() string { return pick("", "x", "y", "1", "-2", "x y", "true", "false", "1 x", "a 1 2") }
	list := func() (l []string) {
		for range r.IntN(4) {
			l = append(l, value())
		}
		return l
	}
	for range 1 + r.IntN(12) {
		o := history.Op{
			Client: r.IntN(3), Tenant: pick("", "", "t"), Key: pick("a", "b"), Arg: value(), Expect: value(),
			Result: value(), List: list(), Version: r.Uint64N(6), At: r.Uint64N(6), Base: r.Uint64N(6), Limit: r.IntN(3),
			TTLMs: r.Int64N(2), Invoke: r.Int64N(20), Type: history.Type(pick("ok", "ok", "ok", "fail", "info")),
			Kind: history.Kind(pick("read", "write", "cas", "append", "stream", "add", "set", "incr", "count", "txn", "txn",
				"scan", "advance", "pull", "inbox", "touch", "peek")),
		}
		o.Return = o.Invoke + r.Int64N(10)
		for range r.IntN(4) {
			o.Txn = append(o.Txn, history.Mop{Part: history.Part(pick("r", "w", "append", "incr")), Key: pick("a", "b"),
				Value: value(), Result: value(), List: list(), Version: r.Uint64N(6)})
		}
		ops = append(ops, o)
	}
	return ops
}

// TestGarbageIsJudged: whatever a history says, it is judged without a panic; judging changes nothing in it and comes to
// the same twice.
func TestGarbageIsJudged(t *testing.T) {
	dump := &check.Dump{
		Keys: []check.DumpKey{{Key: "a", Versions: []check.DumpVersion{{Version: 3, Value: "x"}, {Version: 3, Value: "1"}}},
			{Tenant: "t", Key: "b"}},
		Streams: []check.DumpKey{{Key: "b", Versions: []check.DumpVersion{{Version: 2, Value: "x"}, {Value: "x"}}}},
	}
	newest := *dump
	newest.NewestOnly = true
	for seed := range uint64(2000) {
		ops := garbage(rand.New(rand.NewPCG(seed, 1)))
		before := clone(ops)
		for i, d := range []*check.Dump{nil, dump, &newest} {
			o := judge.Options{RegisterLimit: time.Second, Dump: d}
			var first []check.Verdict
			if p := caught(func() { first = judge.All(ops, nil, o) }); p != "" {
				t.Fatalf("seed %d, dump %d: %s", seed, i, p)
			}
			if !reflect.DeepEqual(ops, before) {
				t.Fatalf("seed %d: judging changed the history", seed)
			}
			if again := judge.All(ops, nil, o); !reflect.DeepEqual(first, again) {
				t.Fatalf("seed %d: %+v, and then %+v", seed, first, again)
			}
		}
	}
}

func clone(ops []history.Op) []history.Op {
	out := slices.Clone(ops)
	for i := range out {
		out[i].List, out[i].Txn = slices.Clone(out[i].List), slices.Clone(out[i].Txn)
		for k := range out[i].Txn {
			out[i].Txn[k].List = slices.Clone(out[i].Txn[k].List)
		}
	}
	return out
}

func caught(f func()) (panicked string) {
	defer func() {
		if p := recover(); p != nil {
			panicked = fmt.Sprint(p)
		}
	}()
	f()
	return ""
}
