package cycle

import (
	"slices"
	"sort"

	"github.com/vipkv/vipkv/chaos/history"
)

// candidates bounds how many spoiled reads of one list are passed over in the search for the longest good one.
const candidates = 64

// list is one key.
type list struct {
	place
	appends []element // of all transactions, in the order of the history and of their steps
	byValue map[string]int32
	reads   []read // of acknowledged transactions

	// versions is the longest list that was read, and owner[i] the element behind versions[i], or -1: nobody's, or there
	// for the second time.
	versions []string
	owner    []int32
	before   []int32 // before[i]: the last place at or before i whose owner committed, or -1
	after    []int32 // after[i]: the first place at or after i whose owner committed, or len(versions)
	unshown  []int32 // transactions, ascending, with a committed append that is not in versions

	turn  int32 // the transaction that transactions.internal looks at
	own   []string
	known bool // the transaction has read this list
	base  []string
	since int // own[since:] was appended after base was read
}

// element is one append.
type element struct {
	value string
	txn   int32
	at    int32 // in versions; -1: not there
	more  bool  // its transaction appended to this list after it
	stray bool  // a read that contradicts versions shows it
}

// read is one step that read a list.
type read struct {
	txn, step int32
	own       int32 // how many of the last elements its transaction had appended before
	first     bool  // no earlier step of its transaction read this list
	bad       bool  // an anomaly has been told of it, and it proves nothing further
}

func (h *transactions) seen(r *read) []string { return h.txns[r.txn].op.Txn[r.step].List }

// outside is how much of what a read shows was there before its transaction.
func (h *transactions) outside(r *read) int { return len(h.seen(r)) - int(r.own) }

// order finds the order of versions of every list, tells what contradicts it, and who has committed.
func (h *transactions) order(f *findings) {
	for _, l := range h.keys {
		l.choose(h)
		told := map[string]bool{}
		h.blame(f, l, nil, told)
		for i := range l.reads {
			r := &l.reads[i]
			if got := h.seen(r); len(got) > len(l.versions) || !slices.Equal(got, l.versions[:len(got)]) {
				r.bad = true
				h.blame(f, l, r, told)
			}
		}
		l.index(h)
	}
	for _, l := range h.keys {
		l.arrange(h)
	}
}

// choose takes the longest read without a fault; when there is none, the longest.
func (l *list) choose(h *transactions) {
	byLength := make([]*read, len(l.reads))
	for i := range l.reads {
		byLength[i] = &l.reads[i]
	}
	slices.SortStableFunc(byLength, func(a, b *read) int { return len(h.seen(b)) - len(h.seen(a)) })
	for i, r := range byLength {
		if i == candidates {
			break
		}
		got := h.seen(r)
		if i == 0 {
			l.versions = got
		}
		if _, fault := h.fault(l, got); fault == "" {
			l.versions = got
			return
		}
	}
}

// fault finds the first element of a list that cannot be there.
func (h *transactions) fault(l *list, got []string) (value, name string) {
	seen := make(map[int32]bool, len(got))
	for _, v := range got {
		e, ok := l.byValue[v]
		switch {
		case !ok:
			return v, "garbage-read"
		case seen[e]:
			return v, "duplicate-elements"
		case h.txns[l.appends[e].txn].op.Type == history.Fail:
			return v, "G1a"
		}
		seen[e] = true
	}
	return "", ""
}

// index finds the owners of versions and marks who is shown. A read that contradicts versions shows that as well, but
// not where its elements belong.
func (l *list) index(h *transactions) {
	l.owner = make([]int32, len(l.versions))
	for i, v := range l.versions {
		e, ok := l.byValue[v]
		if !ok || l.appends[e].at >= 0 {
			l.owner[i] = -1
			continue
		}
		l.owner[i] = e
		l.appends[e].at = int32(i)
		h.show(l.appends[e].txn)
	}
	for i := range l.reads {
		if !l.reads[i].bad {
			continue
		}
		for _, v := range h.seen(&l.reads[i]) {
			if e, ok := l.byValue[v]; ok {
				l.appends[e].stray = true
				h.show(l.appends[e].txn)
			}
		}
	}
}

// show notes that a read shows an append of t.
func (h *transactions) show(t int32) {
	if h.txns[t].op.Type == history.Info {
		h.txns[t].committed = true
	}
}

// arrange prepares a list for questions about neighbours, once it is known who committed.
func (l *list) arrange(h *transactions) {
	n := len(l.versions)
	l.before, l.after = make([]int32, n), make([]int32, n)
	committed := func(i int) bool {
		return l.owner[i] >= 0 && h.txns[l.writer(int32(i))].committed
	}
	last := int32(-1)
	for i := range n {
		if committed(i) {
			last = int32(i)
		}
		l.before[i] = last
	}
	next := int32(n)
	for i := n - 1; i >= 0; i-- {
		if committed(i) {
			next = int32(i)
		}
		l.after[i] = next
	}
	for i := range l.appends {
		e := &l.appends[i]
		e.more = i+1 < len(l.appends) && l.appends[i+1].txn == e.txn
		if e.at >= 0 || e.stray || !h.txns[e.txn].committed {
			continue
		}
		if n := len(l.unshown); n == 0 || l.unshown[n-1] != e.txn {
			l.unshown = append(l.unshown, e.txn)
		}
	}
}

// writer is who appended what is at a place of versions.
func (l *list) writer(at int32) int32 { return l.appends[l.owner[at]].txn }

// last is the last place whose owner committed, or -1.
func (l *list) last() int32 {
	if len(l.before) == 0 {
		return -1
	}
	return l.before[len(l.before)-1]
}

// of are the appends of one transaction. They lie together.
func (l *list) of(t int32) []element {
	i := sort.Search(len(l.appends), func(i int) bool { return l.appends[i].txn >= t })
	j := i
	for j < len(l.appends) && l.appends[j].txn == t {
		j++
	}
	return l.appends[i:j]
}

// internal finds transactions that contradict themselves, and fills in own and first of every read.
func (h *transactions) internal(f *findings) {
	at := make([]int, len(h.keys)) // the next read of each list
	for t := range h.txns {
		x := &h.txns[t]
		for step, k := range x.keys {
			if k < 0 {
				continue
			}
			l := h.keys[k]
			if l.turn != int32(t) {
				l.turn, l.own, l.known = int32(t), l.own[:0], false
			}
			if x.op.Txn[step].Part == history.PartAppend {
				l.own = append(l.own, x.op.Txn[step].Value)
				continue
			}
			if !x.ok() {
				continue
			}
			r := &l.reads[at[k]]
			at[k]++
			h.itself(f, l, r)
		}
	}
}

// itself checks a read against what its own transaction did before.
func (h *transactions) itself(f *findings, l *list, r *read) {
	got := h.seen(r)
	r.first = !l.known
	what := ""
	if l.known {
		added := l.own[l.since:]
		n := len(l.base)
		if len(got) != n+len(added) || !slices.Equal(got[:n], l.base) || !slices.Equal(got[n:], added) {
			what = "which is not what it had read before with its own appends at the end"
		}
	} else {
		n := len(got) - len(l.own)
		switch {
		case n < 0 || !slices.Equal(got[n:], l.own):
			what = "which does not end with what it had appended itself"
		case l.ahead(r.txn, got[:n]):
			what = "which holds its own append before it made it"
		default:
			r.own = int32(len(l.own))
		}
	}
	if !l.known {
		l.known, l.base, l.since = true, got, len(l.own)
	}
	if what == "" {
		return
	}
	r.bad = true
	f.add("internal", []int32{r.txn}, func() string { return h.tellOne(r, l, what) })
}

// ahead says whether an append of t is in a list that t has yet to append to.
func (l *list) ahead(t int32, got []string) bool {
	for _, e := range l.of(t) {
		known := e.at >= 0 && int(e.at) < len(got) && got[e.at] == e.value
		if known || e.at < 0 && slices.Contains(got, e.value) {
			return true
		}
	}
	return false
}
