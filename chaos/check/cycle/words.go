package cycle

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vipkv/vipkv/chaos/history"
)

// longest bounds how many elements of a list, and steps of a transaction, are told.
const longest = 8

// quote leaves plain values as they are.
func quote(s string) string {
	odd := func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }
	if s == "" || strings.ContainsFunc(s, odd) {
		return strconv.Quote(s)
	}
	return s
}

// show is a list, or its end when it is long.
func show(list []string) string {
	var b strings.Builder
	b.WriteByte('[')
	if n := len(list) - longest; n > 0 {
		fmt.Fprintf(&b, "(%d more) ", n)
		list = list[n:]
	}
	for i, v := range list {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(quote(v))
	}
	b.WriteByte(']')
	return b.String()
}

func (l *list) String() string {
	if l.tenant == "" {
		return quote(l.key)
	}
	return quote(l.key) + " of tenant " + quote(l.tenant)
}

func at(ns int64) string { return time.Duration(ns).Round(time.Microsecond).String() }

// describe is one line about a transaction, with its steps on the given lists.
func (h *transactions) describe(number int, t int32, keys map[int32]bool) string {
	x := &h.txns[t]
	var steps []string
	left := 0
	for i, k := range x.keys {
		switch m := &x.op.Txn[i]; {
		case k < 0 || !keys[k] || len(steps) == longest:
			left++
		case m.Part == history.PartAppend:
			steps = append(steps, "append "+quote(m.Value)+" to "+quote(m.Key))
		case x.ok():
			steps = append(steps, "read "+show(m.List)+" of "+quote(m.Key))
		default:
			steps = append(steps, "read "+quote(m.Key))
		}
	}
	if left > 0 {
		steps = append(steps, fmt.Sprintf("and %d more", left))
	}
	outcome := ""
	switch x.op.Type {
	case history.Info:
		outcome = ", outcome unknown to the client"
	case history.Fail:
		outcome = ", failed"
	}
	return fmt.Sprintf("T%d is of client %d, from %s to %s%s: %s.\n", number, x.op.Client,
		at(x.op.Invoke), at(x.op.Return), outcome, strings.Join(steps, ", "))
}

// introduce describes transactions by their steps on one list, as T1, T2 and so on.
func (h *transactions) introduce(l *list, txns ...int32) string {
	keys := map[int32]bool{}
	for i, k := range h.keys {
		if k == l {
			keys[int32(i)] = true
		}
	}
	var b strings.Builder
	for i, t := range txns {
		b.WriteString(h.describe(i+1, t, keys))
	}
	return b.String()
}

// tellOne is about a transaction that contradicts itself.
func (h *transactions) tellOne(r *read, l *list, what string) string {
	return h.introduce(l, r.txn) + fmt.Sprintf("T1 read %s of %s, %s.", show(h.seen(r)), l, what)
}

// reason says why an edge is there.
func (h *transactions) reason(e hop, number map[int32]int) string {
	from, to := number[e.from], number[e.to]
	switch e.kind {
	case process:
		return fmt.Sprintf("T%d had ended before the same client began T%d", from, to)
	case realtime:
		wait := time.Duration(h.txns[e.to].op.Invoke - h.txns[e.from].op.Return)
		return fmt.Sprintf("T%d had ended %s before T%d began", from, wait, to)
	}
	l := h.keys[e.key]
	shown := int(e.at) < len(l.versions)
	value := ""
	if shown {
		value = quote(l.versions[e.at])
	} else {
		value = quote(l.hidden(e.to))
	}
	switch {
	case e.kind == wr:
		return fmt.Sprintf("T%d read %s of %s, where T%d had appended %s",
			to, show(h.view(e.to, e.key)), l, from, value)
	case e.kind == rw && shown:
		return fmt.Sprintf("T%d read %s of %s, before T%d appended %s",
			from, show(h.view(e.from, e.key)), l, to, value)
	case e.kind == rw:
		return fmt.Sprintf("T%d read %s of %s, without the %s that T%d appended",
			from, show(h.view(e.from, e.key)), l, value, to)
	case shown:
		return fmt.Sprintf("T%d appended %s to %s and T%d appended %s after it",
			from, quote(l.earlier(e.from, e.at)), l, to, value)
	}
	return fmt.Sprintf("T%d appended %s to %s, and the %s of T%d stands before it in no read",
		from, quote(l.earlier(e.from, e.at)), l, value, to)
}

// view is what a transaction first read of a list, without its own appends.
func (h *transactions) view(t, key int32) []string {
	l := h.keys[key]
	for i := range l.reads {
		if r := &l.reads[i]; r.txn == t && r.first {
			return h.seen(r)[:h.outside(r)]
		}
	}
	return nil
}

// earlier is the last append of a transaction before a place of versions.
func (l *list) earlier(t, at int32) string {
	value := ""
	for _, e := range l.of(t) {
		if e.at >= 0 && e.at < at {
			value = e.value
		}
	}
	return value
}

// hidden is the first append of a transaction that no read shows.
func (l *list) hidden(t int32) string {
	for _, e := range l.of(t) {
		if e.at < 0 {
			return e.value
		}
	}
	return ""
}
