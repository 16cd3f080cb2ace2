package cycle

import (
	"fmt"
)

// blame tells why a read cannot be the beginning of versions; of no read, what is wrong with versions itself. Each
// element is told of once.
func (h *transactions) blame(f *findings, l *list, r *read, told map[string]bool) {
	got := l.versions
	if r != nil {
		got = h.seen(r)
	}
	value, name := h.fault(l, got)
	switch {
	case name != "":
		if told[value] {
			return
		}
		told[value] = true
		times := 1
		if name == "duplicate-elements" {
			times = 2
		}
		h.tellFault(f, l, h.witness(l, r, value, times), value, name)
	case r != nil:
		other := h.against(l, got)
		f.add("incompatible-order", []int32{r.txn, other.txn}, func() string {
			return h.introduce(l, r.txn, other.txn) + fmt.Sprintf(
				"T1 read %s of %s, and T2 read %s: neither is the beginning of the other.",
				show(got), l, show(h.seen(other)))
		})
	}
}

// witness is the read that is told of: r, or of none the shortest that shows a value, and as often as it takes.
func (h *transactions) witness(l *list, r *read, value string, times int) *read {
	if r != nil {
		return r
	}
	for i := range l.reads {
		w := &l.reads[i]
		if r != nil && len(h.seen(w)) >= len(h.seen(r)) {
			continue
		}
		n := 0
		for _, v := range h.seen(w) {
			if v == value {
				n++
			}
		}
		if n >= times {
			r = w
		}
	}
	return r
}

// against is the shortest beginning of versions that somebody read and that a list contradicts.
func (h *transactions) against(l *list, got []string) *read {
	same := 0
	for same < len(got) && same < len(l.versions) && got[same] == l.versions[same] {
		same++
	}
	var best *read
	for i := range l.reads {
		w := &l.reads[i]
		n := len(h.seen(w))
		if n <= same || n > len(l.versions) || h.seen(w)[same] != l.versions[same] {
			continue
		}
		if best == nil || n < len(h.seen(best)) {
			best = w
		}
	}
	return best
}

func (h *transactions) tellFault(f *findings, l *list, r *read, value, name string) {
	got := h.seen(r)
	switch name {
	case "garbage-read":
		f.add(name, []int32{r.txn}, func() string {
			return h.introduce(l, r.txn) + fmt.Sprintf(
				"T1 read %s of %s, but nobody appended %s.", show(got), l, quote(value))
		})
	case "duplicate-elements":
		f.add(name, []int32{r.txn}, func() string {
			return h.introduce(l, r.txn) + fmt.Sprintf(
				"T1 read %s of %s, where %s is twice, but it was appended once.", show(got), l, quote(value))
		})
	case "G1a":
		w := l.appends[l.byValue[value]].txn
		f.add(name, []int32{r.txn, w}, func() string {
			return h.introduce(l, r.txn, w) + fmt.Sprintf(
				"T1 read %s of %s, where %s was appended by T2, which failed.", show(got), l, quote(value))
		})
	}
}

// lists finds what is wrong with single lists: reads of what a transaction went beyond, and halves of transactions.
func (h *transactions) lists(f *findings) {
	for _, l := range h.keys {
		told := h.halves(f, l)
		for i := range l.reads {
			r := &l.reads[i]
			n := h.outside(r)
			if r.bad || !r.first || n == 0 || l.owner[n-1] < 0 {
				continue
			}
			e := &l.appends[l.owner[n-1]]
			if e.more && e.txn != r.txn && h.txns[e.txn].committed && !told[e.txn] {
				told[e.txn] = true
				h.tellHalf(f, l, r, e)
			}
		}
	}
}

func (h *transactions) tellHalf(f *findings, l *list, r *read, e *element) {
	f.covered = append(f.covered, []int32{r.txn, e.txn})
	f.add("G1b", []int32{r.txn, e.txn}, func() string {
		all := l.of(e.txn)
		return h.introduce(l, r.txn, e.txn) + fmt.Sprintf(
			"T1 read %s of %s, which ends with the %s of T2, but T2 had appended %s when it ended.",
			show(h.seen(r)), l, quote(e.value), quote(all[len(all)-1].value))
	})
}

// halves finds transactions whose appends to one list are not in their own order, and returns them.
func (h *transactions) halves(f *findings, l *list) map[int32]bool {
	told := map[int32]bool{}
	for i := 1; i < len(l.appends); i++ {
		a, b := &l.appends[i-1], &l.appends[i]
		if a.txn != b.txn || !h.txns[a.txn].committed || a.stray || b.stray || b.at < 0 || told[a.txn] {
			continue
		}
		if a.at >= 0 && a.at < b.at {
			continue
		}
		told[a.txn] = true
		r := h.witness(l, nil, b.value, 1)
		f.covered = append(f.covered, []int32{r.txn, a.txn})
		f.add("incompatible-order", []int32{r.txn, a.txn}, func() string {
			return h.introduce(l, r.txn, a.txn) + fmt.Sprintf(
				"T1 read %s of %s, but T2 appended %s before %s.",
				show(h.seen(r)), l, quote(a.value), quote(b.value))
		})
	}
	return told
}

// lostUpdates finds transactions that read the same list from outside and both appended to it.
func (h *transactions) lostUpdates(f *findings) {
	for _, l := range h.keys {
		by := map[int]int32{} // by what was read, the first who then appended
		for i := range l.reads {
			r := &l.reads[i]
			if r.bad || !r.first || len(l.of(r.txn)) == 0 {
				continue
			}
			n := h.outside(r)
			first, ok := by[n]
			if !ok {
				by[n] = r.txn
				continue
			}
			f.covered = append(f.covered, []int32{first, r.txn})
			f.add("lost-update", []int32{first, r.txn}, func() string {
				return h.introduce(l, first, r.txn) + fmt.Sprintf(
					"T1 and T2 both read %s of %s and both appended to it: "+
						"whichever came first, the other did not see it.",
					show(l.versions[:n]), l)
			})
		}
	}
}
