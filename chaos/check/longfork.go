package check

import (
	"slices"
	"strings"

	"github.com/vipkv/vipkv/chaos/history"
)

// NewLongFork checks that all reads of the same keys see the writes in one order: no two of them, of which one has
// newer x and older y and the other the reverse. It compares transactions that read exactly the same keys and write
// nothing. Versions decide what is newer; without them a key that was written once.
//
// Anomaly: long-fork.
func NewLongFork() Checker {
	return checker{"long-fork", func(ops []history.Op, f *findings) {
		groups := map[space][]*history.Op{}
		for i := range ops {
			o := &ops[i]
			if o.Kind != history.Txn || o.Type != history.OK || len(txnWrites(o)) > 0 {
				continue
			}
			if s := txnSights(o); len(s) > 1 {
				f.saw(o)
				g := space{o.Tenant, namesOf(s)}
				groups[g] = append(groups[g], o)
			}
		}
		for _, name := range sorted(groups) {
			checkForks(groups[name], f)
		}
	}}
}

func namesOf(sights []sight) string {
	names := make([]string, len(sights))
	for i := range sights {
		names[i] = sights[i].key.key
	}
	slices.Sort(names)
	return strings.Join(names, "\x00")
}

// checkForks places each read by the ranks of what it saw. All are in one order when, sorted by the sum of their ranks,
// each is nowhere behind the one before it.
func checkForks(reads []*history.Op, f *findings) {
	seen := make([][]sight, len(reads))
	for i, o := range reads {
		seen[i] = txnSights(o)
		slices.SortFunc(seen[i], func(a, b sight) int { return a.key.compare(b.key) })
	}
	places := make([]*place, len(reads))
	for i := range places {
		places[i] = &place{op: reads[i], ranks: make([]int, len(seen[i]))}
	}
	for k := range seen[0] {
		rank, ok := rankColumn(seen, k)
		for i := range places {
			if ok {
				places[i].ranks[k] = rank(&seen[i][k])
				places[i].sum += places[i].ranks[k]
			}
		}
	}
	slices.SortStableFunc(places, func(a, b *place) int { return a.sum - b.sum })
	for i := 1; i < len(places); i++ {
		a, b := places[i-1], places[i]
		newer, older := -1, -1
		for k := range a.ranks {
			if b.ranks[k] > a.ranks[k] {
				newer = k
			} else if b.ranks[k] < a.ranks[k] {
				older = k
			}
		}
		if newer >= 0 && older >= 0 {
			x, y := seen[0][newer].key.key, seen[0][older].key.key
			f.found("long-fork", because(a.op, b.op),
				"The first read has %s newer and %s older, the second the reverse", y, x)
		}
	}
}

// place is where a read stands: a rank for each key.
type place struct {
	op    *history.Op
	ranks []int
	sum   int
}

// rankColumn orders what the reads saw of key k. It cannot, when versions are missing and more than one value was seen.
func rankColumn(seen [][]sight, k int) (rank func(*sight) int, ok bool) {
	var versions []uint64
	known, value := true, ""
	ok = true
	for i := range seen {
		s := &seen[i][k]
		known = known && s.known
		versions = append(versions, s.version)
		if s.value != "" {
			ok = ok && (value == "" || value == s.value)
			value = s.value
		}
	}
	if !known {
		return func(s *sight) int { return len(s.value[:min(len(s.value), 1)]) }, ok
	}
	slices.Sort(versions)
	versions = slices.Compact(versions)
	return func(s *sight) int {
		i, _ := slices.BinarySearch(versions, s.version)
		return i
	}, true
}
