package check

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/vipkv/vipkv/chaos/history"
)

// checkRealTime: what begins after something has ended gets a greater timestamp, whatever the keys.
func (t *timestamps) checkRealTime(ops []history.Op) {
	var facts []known
	first := map[space]*history.Op{} // the earliest try of each record
	for i := range ops {
		o := &ops[i]
		if o.Kind == history.Append {
			id := elementKey(o.Tenant, o.Key, o.Arg)
			if f := first[id]; f == nil || o.Invoke < f.Invoke {
				first[id] = o
			}
		}
		if o.Type != history.OK {
			continue
		}
		greatest := max(o.Version, o.At)
		for _, s := range sightsOf(o) {
			greatest = max(greatest, s.version)
		}
		if greatest != 0 {
			facts = append(facts, known{o.Return, greatest, o})
		}
	}
	newest := newestBefore(facts)
	for i := range ops {
		o := &ops[i]
		begun := o.Invoke
		if o.Kind == history.Append {
			// A retry is told the version of the first try.
			begun = first[elementKey(o.Tenant, o.Key, o.Arg)].Invoke
		}
		n := newest(begun)
		if n == nil {
			continue
		}
		if v := t.versionOf(o); v != 0 && v <= n.version {
			t.f.found("commit-order", because(n.op, o),
				"A commit has timestamp %d, and %d was known before it began", v, n.version)
		}
		if o.Type == history.OK && o.At != 0 && o.At < n.version {
			t.f.found("read-order", because(n.op, o),
				"A read took place at timestamp %d, and %d was known before it began", o.At, n.version)
		}
	}
}

// checkStreams: the versions of a stream's records rise with their numbers.
func (t *timestamps) checkStreams(ops []history.Op) {
	records := map[space][]*history.Op{}
	for i := range ops {
		o := &ops[i]
		if o.Kind == history.Append && o.Type == history.OK && o.Version != 0 {
			records[spaceOf(o)] = append(records[spaceOf(o)], o)
		}
	}
	number := func(o *history.Op) int {
		n, _ := strconv.Atoi(o.Result)
		return n
	}
	for _, k := range sorted(records) {
		r := slices.SortedStableFunc(slices.Values(records[k]), func(a, b *history.Op) int {
			return cmp.Compare(number(a), number(b))
		})
		for i := 1; i < len(r); i++ {
			a, b := r[i-1], r[i]
			same := number(a) == number(b)
			if same && a.Version != b.Version || !same && a.Version >= b.Version {
				t.f.found("stream-order", because(a, b),
					"Stream %s: record %s has version %d, and record %s has %d",
					k, a.Result, a.Version, b.Result, b.Version)
			}
		}
	}
}
