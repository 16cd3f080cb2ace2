package check_test

import (
	"math/rand/v2"
	"slices"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

// never is a timestamp that no world reaches.
const never = 1 << 40

func spoiledTimestamps() []spoiled {
	c := check.NewTimestamps(check.TimestampOptions{})
	edit := func(name, want string, kinds []string, suits func([]history.Op, *history.Op) bool,
		edit func([]history.Op, *history.Op)) spoiled {
		return spoiled{name, c, kinds, 4, want, editing(suits, edit)}
	}
	write := func(_ []history.Op, o *history.Op) bool { return ok(o, history.Write) }
	reader := func(_ []history.Op, o *history.Op) bool {
		return ok(o, history.Txn) && o.Version == 0 && o.Txn[0].Version != 0
	}
	registers, banks, sets := []string{"register"}, []string{"bank"}, []string{"set"}
	return []spoiled{
		{"two commit timestamps are swapped", c, everything(), 4, "commit-order", swapCommits},
		edit("a commit timestamp goes back", "commit-order", everything(), func(ops []history.Op, o *history.Op) bool {
			return write(ops, o) && earlierVersion(ops, o) != 0
		}, func(ops []history.Op, o *history.Op) { o.Version = earlierVersion(ops, o) - 1 }),
		edit("a read at a timestamp misses a version", "missed-write", banks, func(ops []history.Op, o *history.Op) bool {
			return reader(ops, o) && older(ops, o.Txn[0].Key, o.Txn[0].Version) != nil
		}, func(ops []history.Op, o *history.Op) {
			m := older(ops, o.Txn[0].Key, o.Txn[0].Version)
			o.Txn[0].Version, o.Txn[0].Result = m.Version, m.Result
		}),
		edit("a read at a timestamp sees a later version", "future-read", banks, reader,
			func(_ []history.Op, o *history.Op) { o.Txn[0].Version = o.At + 1 }),
		edit("a read is stale", "stale-read", registers, func(ops []history.Op, o *history.Op) bool {
			return isRead(ops, o) && overwritten(ops, o) != ""
		}, func(ops []history.Op, o *history.Op) {
			w := find(ops, func(w *history.Op) bool { return w.Arg == overwritten(ops, o) })
			o.Result, o.Version = w.Arg, w.Version
		}),
		edit("a read sees what is written later", "future-read", registers, func(ops []history.Op, o *history.Op) bool {
			return isRead(ops, o) && later(ops, o) != nil
		}, func(ops []history.Op, o *history.Op) { w := later(ops, o); o.Result, o.Version = w.Arg, w.Version }),
		edit("a version of nobody is read", "phantom-version", registers, isRead,
			func(_ []history.Op, o *history.Op) { o.Result, o.Version = "nobody's", never }),
		edit("a value is not that of its version", "wrong-value", registers, func(ops []history.Op, o *history.Op) bool {
			return isRead(ops, o) && find(ops, func(w *history.Op) bool { return ok(w, history.Write) && w.Arg == o.Result }) != nil
		}, func(_ []history.Op, o *history.Op) { o.Result = "another" }),
		edit("a write takes effect twice", "double-apply", registers, func(ops []history.Op, o *history.Op) bool {
			return isRead(ops, o) && find(ops, func(w *history.Op) bool { return ok(w, history.Write) && w.Arg == o.Result }) != nil &&
				find(ops, func(w *history.Op) bool { return w.Type == history.Info && w.Key == o.Key && w.Arg == o.Result }) == nil
		}, func(_ []history.Op, o *history.Op) { o.Version = never }),
		edit("a refused write is read", "refused-write", registers, func(ops []history.Op, o *history.Op) bool {
			return isRead(ops, o) && refused(ops, o, history.Write) != ""
		}, func(ops []history.Op, o *history.Op) { o.Result, o.Version = refused(ops, o, history.Write), never }),
		{"an acknowledged write is dropped", c, registers, 0, "phantom-version", dropping(
			func(ops []history.Op, o *history.Op) bool {
				return ok(o, history.Write) && find(ops, func(r *history.Op) bool {
					return ok(r, history.Read) && r.Version == o.Version
				}) != nil
			})},
		edit("two writes have one version", "duplicate-version", registers, func(ops []history.Op, o *history.Op) bool {
			return write(ops, o) && older(ops, o.Key, o.Version) != nil
		}, func(ops []history.Op, o *history.Op) { o.Version = older(ops, o.Key, o.Version).Version }),
		edit("an addition is lost", "lost-update", []string{"counter"}, func(ops []history.Op, o *history.Op) bool {
			return ok(o, history.Incr) && older(ops, o.Key, o.Base) != nil &&
				find(ops, func(w *history.Op) bool { return ok(w, history.Incr) && w.Version == o.Base }) != nil
		}, func(ops []history.Op, o *history.Op) { o.Base = older(ops, o.Key, o.Base).Version }),
		edit("what was only read changes before the commit", "write-skew", []string{"skew"},
			func(ops []history.Op, o *history.Op) bool {
				return ok(o, history.Txn) && older(ops, o.Txn[0].Key, o.Txn[0].Version) != nil
			}, func(ops []history.Op, o *history.Op) {
				m := older(ops, o.Txn[0].Key, o.Txn[0].Version)
				o.Txn[0].Version, o.Txn[0].Result = m.Version, m.Result
			}),
		edit("a commit is below its own reads", "early-commit", banks, func(_ []history.Op, o *history.Op) bool {
			return ok(o, history.Txn) && o.Version != 0
		}, func(_ []history.Op, o *history.Op) { o.Version = o.At - 1 }),
		edit("a read's timestamp goes back", "read-order", banks, func(ops []history.Op, o *history.Op) bool {
			return reader(ops, o) && earlierVersion(ops, o) != 0
		}, func(ops []history.Op, o *history.Op) { o.At = earlierVersion(ops, o) - 1 }),
		edit("an element is not in a scan", "missed-write", sets, func(ops []history.Op, o *history.Op) bool {
			return ok(o, history.Set) && acked(ops, o) >= 0
		}, func(ops []history.Op, o *history.Op) { i := acked(ops, o); o.List = slices.Delete(o.List, i, i+1) }),
		edit("a scan has an element too early", "future-read", sets, func(ops []history.Op, o *history.Op) bool {
			return ok(o, history.Set) && added(ops, o) != nil
		}, func(ops []history.Op, o *history.Op) { o.List = append(o.List, added(ops, o).Arg) }),
		edit("a record's version is above the next one's", "stream-order", []string{"stream"},
			func(ops []history.Op, o *history.Op) bool {
				return ok(o, history.Append) && find(ops, func(b *history.Op) bool {
					return ok(b, history.Append) && b.Key == o.Key && number(b.Result) > number(o.Result)
				}) != nil
			}, func(_ []history.Op, o *history.Op) { o.Version = never }),
	}
}

// swapCommits swaps the versions of two writes of which one had ended before the other began.
func swapCommits(ops []history.Op, r *rand.Rand) []history.Op {
	write := func(o *history.Op) bool {
		return o.Type == history.OK && o.Writes() && o.Version != 0 && !retried(ops, o.Arg)
	}
	i := pick(ops, r, write)
	j := pick(ops, r, func(o *history.Op) bool { return i >= 0 && write(o) && o.Invoke > ops[i].Return })
	if j < 0 {
		return nil
	}
	ops[i].Version, ops[j].Version = ops[j].Version, ops[i].Version
	return ops
}

// earlierVersion is that of a write which had ended before o began.
func earlierVersion(ops []history.Op, o *history.Op) uint64 {
	if w := find(ops, func(w *history.Op) bool {
		return w.Type == history.OK && w.Writes() && w.Version != 0 && w.Return < o.Invoke
	}); w != nil {
		return w.Version
	}
	return 0
}

// older is an acknowledged write of the key with a smaller version.
func older(ops []history.Op, key string, version uint64) *history.Mop {
	for i := range ops {
		o := &ops[i]
		if o.Type != history.OK || !o.Writes() || o.Version == 0 || o.Version >= version {
			continue
		}
		if o.Key == key {
			return &history.Mop{Version: o.Version, Result: o.Arg}
		}
		for _, m := range o.Txn {
			if m.Key == key && m.Part == history.PartIncr {
				return &history.Mop{Version: o.Version, Result: m.Result}
			}
			if m.Key == key && m.Part == history.PartWrite {
				return &history.Mop{Version: o.Version, Result: m.Value}
			}
		}
	}
	return nil
}

// later is a write of the key that began after o had ended.
func later(ops []history.Op, o *history.Op) *history.Op {
	return find(ops, func(w *history.Op) bool { return ok(w, history.Write) && w.Key == o.Key && w.Invoke > o.Return })
}

// added is an element that was added above the timestamp of a scan.
func added(ops []history.Op, o *history.Op) *history.Op {
	return find(ops, func(a *history.Op) bool { return ok(a, history.Add) && a.Key == o.Key && a.Version > o.At })
}
