package check

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/vipkv/vipkv/chaos/history"
)

// NewStreams checks append-only streams: records are numbered 1..n, each acknowledged one is there once, at its number,
// numbers follow real time, and reads are not stale and agree. Each stream needs a read that was invoked after all its
// acknowledged appends had returned, or the verdict is void. Appends of the same id are retries of one record.
//
// Anomalies: lost-record, duplicate-record, wrong-number, two-numbers (a retry got another one), wrong-order,
// refused-record, phantom-record, future-record, stale-read, diverging-reads.
func NewStreams() Checker {
	return checker{"streams", func(ops []history.Op, f *findings) {
		streams := group(ops, f, history.Append, history.Stream)
		for _, name := range sorted(streams) {
			s := newElements(streams[name], history.Append)
			s.checkRetries(name, streams[name], f)
			s.checkNumbers(name, f)
			for _, r := range s.reads {
				s.checkStreamRead(name, r, f)
			}
			s.checkAgreement(name, f)
			s.checkFinal(name, f)
		}
	}}
}

// Streams is NewStreams for callers that want an error. No stream is a pass.
func Streams(ops []history.Op) error { return passWhenEmpty(NewStreams().Check(ops)) }

// element is one record of a stream or one element of a set, with all the operations that tried to write it.
type element struct {
	id     string
	first  *history.Op // the earliest try
	acked  *history.Op // the earliest acknowledgement; nil: none
	failed bool        // every try was refused
	number int         // that was acknowledged; 0: none
}

// end is when it certainly was there.
func (e *element) end() int64 {
	if e.acked == nil {
		return math.MaxInt64
	}
	return e.acked.Return
}

// elements are a stream or a set: what was written to it and the reads of all of it, in the order of their invocation.
type elements struct {
	noun  string // what one is called
	byID  map[string]*element
	all   []*element // in order of end
	reads []*history.Op
}

func newElements(ops []*history.Op, write history.Kind) *elements {
	s := &elements{noun: "element", byID: map[string]*element{}}
	if write == history.Append {
		s.noun = "record"
	}
	for _, o := range ops {
		if o.Kind != write {
			if o.Type == history.OK {
				s.reads = append(s.reads, o)
			}
			continue
		}
		e := s.byID[o.Arg]
		if e == nil {
			e = &element{id: o.Arg, first: o, failed: true}
			s.byID[o.Arg] = e
			s.all = append(s.all, e)
		}
		if o.Invoke < e.first.Invoke {
			e.first = o
		}
		e.failed = e.failed && o.Type == history.Fail
		if o.Type == history.OK && (e.acked == nil || o.Return < e.acked.Return) {
			e.acked = o
		}
	}
	for _, e := range s.all {
		if e.acked != nil && write == history.Append {
			e.number, _ = strconv.Atoi(e.acked.Result)
		}
	}
	slices.SortStableFunc(s.all, func(a, b *element) int { return cmp.Compare(a.end(), b.end()) })
	s.reads = byTime(s.reads, invokedAt)
	return s
}

// checkRetries: every acknowledgement of one record says the same number.
func (s *elements) checkRetries(name space, ops []*history.Op, f *findings) {
	for _, o := range ops {
		if o.Kind != history.Append || o.Type != history.OK {
			continue
		}
		if e := s.byID[o.Arg]; o.Result != e.acked.Result {
			f.found("two-numbers", because(e.acked, o),
				"Stream %s: %s was acknowledged under two numbers", name, e.id)
		}
	}
}

// checkNumbers compares acknowledged numbers with each other and with real time.
func (s *elements) checkNumbers(name space, f *findings) {
	holder := map[int]*element{}
	for _, e := range s.all {
		if e.acked == nil {
			continue
		}
		if e.number < 1 {
			f.found("wrong-number", because(e.acked),
				"Stream %s: %q is no number of a record", name, e.acked.Result)
			continue
		}
		if other := holder[e.number]; other != nil {
			f.found("wrong-number", because(other.acked, e.acked),
				"Stream %s: two records were acknowledged as %d", name, e.number)
		}
		holder[e.number] = e
	}
	byStart := slices.Clone(s.all)
	slices.SortStableFunc(byStart, func(a, b *element) int {
		return cmp.Compare(a.first.Invoke, b.first.Invoke)
	})
	var highest *element // of those that had ended
	next := 0
	for _, e := range byStart {
		for ; next < len(s.all) && s.all[next].end() < e.first.Invoke; next++ {
			if highest == nil || s.all[next].number > highest.number {
				highest = s.all[next]
			}
		}
		if e.number > 0 && highest != nil && highest.number > e.number {
			f.found("wrong-order", because(highest.acked, e.acked),
				"Stream %s: a record got a smaller number than one acknowledged before it", name)
		}
	}
}

// checkStreamRead: the read's list is the stream, so a record's place in it is its number.
func (s *elements) checkStreamRead(name space, r *history.Op, f *findings) {
	at := map[string]int{}
	for i, id := range r.List {
		number := i + 1
		e := s.byID[id]
		if at[id] != 0 {
			f.found("duplicate-record", because(firstOf(e), r),
				"Stream %s: %s is there twice, as %d and %d", name, id, at[id], number)
			continue
		}
		at[id] = number
		if s.checkPresent(name, r, id, f) && e.number != 0 && e.number != number {
			f.found("wrong-number", because(e.acked, r),
				"Stream %s: %s is record %d, but was acknowledged as %d", name, id, number, e.number)
		}
	}
	s.checkMissing(name, r, at, f)
}

func firstOf(e *element) *history.Op {
	if e == nil {
		return nil
	}
	return e.first
}

// checkPresent judges that id was seen at all.
func (s *elements) checkPresent(name space, r *history.Op, id string, f *findings) bool {
	e := s.byID[id]
	switch {
	case e == nil:
		f.found("phantom-"+s.noun, because(r),
			"%s: %q is there, which nobody wrote", name, id)
	case e.failed:
		f.found("refused-"+s.noun, because(e.first, r),
			"%s: %s is there, although it was refused", name, id)
	case e.first.Invoke > r.Return:
		f.found("future-"+s.noun, because(r, e.first),
			"%s: %s is there before it was written", name, id)
	default:
		return true
	}
	return false
}

// checkMissing judges what was acknowledged before the read began and is not in it: the read is stale when a later read
// has it, else it is lost.
func (s *elements) checkMissing(name space, r *history.Op, at map[string]int, f *findings) {
	for _, e := range s.all {
		if e.end() >= r.Invoke {
			return // so do all that follow
		}
		if at[e.id] != 0 {
			continue
		}
		later := s.reads[slices.Index(s.reads, r)+1:]
		i := slices.IndexFunc(later, func(l *history.Op) bool { return slices.Contains(l.List, e.id) })
		if i >= 0 {
			f.found("stale-read", because(e.acked, r, later[i]),
				"%s: %s had been acknowledged and is not there; a later read has it", name, e.id)
		} else {
			f.found("lost-"+s.noun, because(e.acked, r),
				"%s: %s had been acknowledged and is not there", name, e.id)
		}
		return // one is enough of one read
	}
}

// checkAgreement: of two reads the shorter is the beginning of the longer, and none is shorter than one before it.
func (s *elements) checkAgreement(name space, f *findings) {
	if len(s.reads) == 0 {
		return
	}
	longest := slices.MaxFunc(s.reads, func(a, b *history.Op) int {
		return cmp.Compare(len(a.List), len(b.List))
	})
	for _, r := range s.reads {
		if r != longest && !slices.Equal(r.List, longest.List[:len(r.List)]) {
			i := 0
			for r.List[i] == longest.List[i] {
				i++
			}
			f.found("diverging-reads", because(r, longest),
				"Stream %s: record %d is %s in one read and %s in another",
				name, i+1, r.List[i], longest.List[i])
		}
	}
	ended := byTime(s.reads, endedAt)
	var most *history.Op // of those that had ended
	next := 0
	for _, r := range s.reads {
		for ; next < len(ended) && ended[next].Return < r.Invoke; next++ {
			if most == nil || len(ended[next].List) > len(most.List) {
				most = ended[next]
			}
		}
		if most != nil && len(r.List) < len(most.List) {
			f.found("stale-read", because(most, r),
				"Stream %s: a read saw fewer records than one before it", name)
		}
	}
}

// checkFinal wants a read that follows, or has, every acknowledged write.
func (s *elements) checkFinal(name space, f *findings) {
	for i := len(s.reads) - 1; i >= 0; i-- {
		if r := s.reads[i]; !slices.ContainsFunc(s.all, func(e *element) bool {
			return e.acked != nil && e.end() > r.Invoke && !slices.Contains(r.List, e.id)
		}) {
			return
		}
	}
	f.tooLittle("%s: no read follows all acknowledged writes", name)
}
