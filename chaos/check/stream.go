package check

import (
	"fmt"
	"slices"
	"sort"
	"strconv"

	"github.com/vipkv/vipkv/chaos/history"
)

// Streams checks append-only streams. Each stream must have at least one Stream read that was invoked after all its
// acknowledged appends returned: the final one.
func Streams(ops []history.Op) error {
	return each(ops, history.Append, history.Stream, checkStream)
}

// Sets checks sets of unique elements. Each set must have a final read, as for Streams.
func Sets(ops []history.Op) error {
	return each(ops, history.Add, history.Set, checkSet)
}

// each gives every key's writes and reads to f, in the order of keys.
func each(ops []history.Op, write, read history.Kind, f func(writes, reads []*history.Op) error) error {
	writes, reads := map[string][]*history.Op{}, map[string][]*history.Op{}
	var names []string
	for i := range ops {
		o := &ops[i]
		if o.Kind != write && o.Kind != read {
			continue
		}
		if writes[o.Key] == nil && reads[o.Key] == nil {
			names = append(names, o.Key)
		}
		if o.Kind == write {
			writes[o.Key] = append(writes[o.Key], o)
		} else {
			reads[o.Key] = append(reads[o.Key], o)
		}
	}
	sort.Strings(names)
	for _, k := range names {
		if err := f(writes[k], reads[k]); err != nil {
			return fmt.Errorf("%s %s: %w", read, k, err)
		}
	}
	return nil
}

func checkStream(appends, reads []*history.Op) error {
	byID := map[string]*history.Op{}
	for _, a := range appends {
		if byID[a.Arg] != nil {
			return fmt.Errorf("the history appends %s twice: ids must be unique", a.Arg)
		}
		byID[a.Arg] = a
	}
	final := false
	for _, r := range reads {
		if r.Type != history.OK {
			continue
		}
		if err := checkStreamRead(r, appends, byID); err != nil {
			return fmt.Errorf("read of client %d at %d: %w", r.Client, r.Invoke, err)
		}
		final = final || isFinal(r, appends)
	}
	if !final {
		return fmt.Errorf("no read follows all acknowledged appends")
	}
	return nil
}

func isFinal(r *history.Op, writes []*history.Op) bool {
	return !slices.ContainsFunc(writes, func(w *history.Op) bool {
		return w.Type == history.OK && w.Return > r.Invoke
	})
}

// checkStreamRead: the read's list is the stream, so a record's place in it is its sequence number.
func checkStreamRead(r *history.Op, appends []*history.Op, byID map[string]*history.Op) error {
	at := map[string]int{}
	for i, id := range r.List {
		seq := i + 1
		a := byID[id]
		switch {
		case a == nil:
			return fmt.Errorf("record %d is %q, which nobody appended", seq, id)
		case a.Type == history.Fail:
			return fmt.Errorf("record %d is %s, whose append was refused", seq, id)
		case at[id] != 0:
			return fmt.Errorf("%s is there twice, as %d and %d", id, at[id], seq)
		case a.Invoke > r.Return:
			return fmt.Errorf("record %d is %s, which was appended after the read", seq, id)
		case a.Type == history.OK && a.Result != strconv.Itoa(seq):
			return fmt.Errorf("%s is record %d, but was acknowledged as %s", id, seq, a.Result)
		}
		at[id] = seq
	}
	for _, a := range appends {
		if a.Type == history.OK && a.Return < r.Invoke && at[a.Arg] == 0 {
			return fmt.Errorf("%s, acknowledged as %s at %d, is not there", a.Arg, a.Result, a.Return)
		}
	}
	return nil
}

func checkSet(adds, reads []*history.Op) error {
	byID := map[string]*history.Op{}
	for _, a := range adds {
		if byID[a.Arg] != nil {
			return fmt.Errorf("the history adds %s twice: elements must be unique", a.Arg)
		}
		byID[a.Arg] = a
	}
	final := false
	for _, r := range reads {
		if r.Type != history.OK {
			continue
		}
		if err := checkSetRead(r, adds, byID); err != nil {
			return fmt.Errorf("read of client %d at %d: %w", r.Client, r.Invoke, err)
		}
		final = final || isFinal(r, adds)
	}
	if !final {
		return fmt.Errorf("no read follows all acknowledged adds")
	}
	return nil
}

func checkSetRead(r *history.Op, adds []*history.Op, byID map[string]*history.Op) error {
	seen := map[string]bool{}
	for _, id := range r.List {
		a := byID[id]
		switch {
		case a == nil:
			return fmt.Errorf("%q is there, which nobody added", id)
		case a.Type == history.Fail:
			return fmt.Errorf("%s is there, although its add was refused", id)
		case seen[id]:
			return fmt.Errorf("%s is there twice", id)
		case a.Invoke > r.Return:
			return fmt.Errorf("%s is there, which was added after the read", id)
		}
		seen[id] = true
	}
	for _, a := range adds {
		if a.Type == history.OK && a.Return < r.Invoke && !seen[a.Arg] {
			return fmt.Errorf("%s, acknowledged at %d, is not there", a.Arg, a.Return)
		}
	}
	return nil
}
