package workload

import (
	"fmt"
	"math/rand/v2"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

const (
	streamGroup = 3 // clients of one stream, one of which reads it
	streamOps   = 1000
	streamReads = 20 // one operation in so many is a read of the whole stream
)

// streams: clients append records under ids of their own, again while the outcome is not known, and read whole
// streams. Numbers are dense and each id is there once.
type streams struct {
	books
	streams []rotating
}

func newStreams(o Options) Workload {
	w := &streams{books: newBooks("streams", o, 3*streamGroup)}
	for i := range (w.clients + streamGroup - 1) / streamGroup {
		w.streams = append(w.streams, rotating{
			name: fmt.Sprintf("%s%d", w.prefix, i), opsMax: o.keyOps(streamOps), infosMax: noLimit,
		})
	}
	return w
}

// Draw implements Workload.
func (w *streams) Draw(r *rand.Rand, place int) history.Op {
	s := &w.streams[place/streamGroup]
	if r.IntN(streamReads) == 0 || onlyReads(r, place, streamGroup) {
		return w.op(history.Stream, s.pick(r))
	}
	op := w.op(history.Append, s.take())
	op.Arg = w.value(place)
	return op
}

// Final implements Workload.
func (w *streams) Final() []history.Op { return w.reads(history.Stream, allKeys(w.streams)) }

// Check implements Workload.
func (w *streams) Check(ops []history.Op) []check.Verdict {
	return w.judge(ops, check.NewStreams())
}
