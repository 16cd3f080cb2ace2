package sim

import (
	"fmt"
	"math/rand/v2"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// Slots are the units of the key space: range boundaries lie between slots only, so that a stream, a set and all
// generations of a register stay in one range.
const (
	registersPerGroup = 3
	slotsPerGroup     = registersPerGroup + 2 // and a stream and a set
)

func slotName(i int) string { return fmt.Sprintf("s%02d", i) }

// workload decides what clients do. Each group of clients has its own slots, so that few work on one key.
type workload struct {
	c         *cluster
	registers map[string]*register // by slot
	stopped   bool
	values    int
}

// register is the current generation of a register: checking is exponential in what one key sees, so keys are
// replaced.
type register struct {
	generation int
	ops, open  int
	recent     []string // values that may be in it
}

const (
	registerOpsMax  = 250
	registerOpenMax = 5
)

func newWorkload(c *cluster) *workload { return &workload{c: c, registers: map[string]*register{}} }

func (w *workload) slots() int { return w.c.o.Groups * slotsPerGroup }

func (w *workload) register(slot string) *register {
	g := w.registers[slot]
	if g == nil {
		g = &register{}
		w.registers[slot] = g
	}
	if g.ops >= registerOpsMax || g.open >= registerOpenMax {
		*g = register{generation: g.generation + 1}
	}
	return g
}

func (w *workload) value(client int) string {
	w.values++
	return fmt.Sprintf("c%03d-%06d", client, w.values)
}

// draw makes a client's next request.
func (w *workload) draw(r *rand.Rand, group, client int) request {
	first := group * slotsPerGroup
	q := request{slot: slotName(first + r.IntN(slotsPerGroup))}
	switch q.slot {
	case slotName(first + registersPerGroup):
		q.key = q.slot + "/stream"
		q.kind = history.Append
		if r.IntN(10) == 0 {
			q.kind = history.Stream
		}
	case slotName(first + registersPerGroup + 1):
		q.key = q.slot + "/set"
		q.kind = history.Add
		if r.IntN(10) == 0 {
			q.kind = history.Set
		}
	default:
		g := w.register(q.slot)
		g.ops++
		q.key = fmt.Sprintf("%s/r%03d", q.slot, g.generation)
		q.kind = []history.Kind{history.Read, history.Write, history.CAS}[r.IntN(3)]
		if n := len(g.recent); q.kind == history.CAS && n > 0 {
			q.expect = g.recent[n-1-r.IntN(min(n, 2))]
		}
	}
	switch q.kind {
	case history.Write, history.CAS, history.Append, history.Add:
		q.arg = w.value(client)
	}
	return q
}

// ended keeps the books of a register.
func (w *workload) ended(op *history.Op, slot string) {
	g := w.registers[slot]
	if g == nil || op.Key != fmt.Sprintf("%s/r%03d", slot, g.generation) {
		return
	}
	switch {
	case op.Type == history.Info && op.Kind != history.Read:
		g.open++
	case op.Type == history.OK && op.Kind == history.Read && op.Result != "":
		g.recent = append(g.recent, op.Result)
	case op.Type == history.OK && op.Arg != "" && op.Result != "false":
		g.recent = append(g.recent, op.Arg)
	}
}

// client does one thing at a time: it draws a request, tries stores until one answers, and records the outcome.
type client struct {
	c     *cluster
	node  int
	group int
	id    int // as in the history: new after each operation of unknown outcome
	r     *rand.Rand
	route map[string]proto.StoreID // by slot

	op      history.Op
	q       request
	attempt int
	busy    bool
	then    func(*history.Op)
}

const (
	attemptTimeout = 1500 * ms
	opTimeout      = 4 * sec
)

func newClient(c *cluster, n int) *client {
	return &client{c: c, node: clientBase + n, group: n / c.o.ClientsPerGroup, id: n, r: c.k.rng("client", n),
		route: map[string]proto.StoreID{}}
}

func (cl *client) think() {
	d := between(cl.r, 0, 2*cl.c.o.Think)
	cl.c.k.after(d, cl.node, "client", func() {
		if cl.c.work.stopped {
			return
		}
		cl.begin(cl.c.work.draw(cl.r, cl.group, cl.id), func(*history.Op) { cl.think() })
	})
}

// begin starts an operation; then is told when it has ended.
func (cl *client) begin(q request, then func(*history.Op)) {
	cl.q, cl.then, cl.busy = q, then, true
	cl.op = history.Op{Client: cl.id, Kind: q.kind, Key: q.key, Arg: q.arg, Expect: q.expect, Invoke: cl.c.k.now}
	cl.try()
}

func (cl *client) try() {
	cl.attempt++
	attempt := cl.attempt
	to := cl.route[cl.q.slot]
	if to == 0 {
		to = proto.StoreID(1 + cl.r.IntN(len(cl.c.stores)))
	}
	cl.op.Endpoint = fmt.Sprintf("s%d", to)
	s := cl.c.store(to)
	q := cl.q
	cl.c.net.send(cl.node, int(to), "request", nil, func([]byte) {
		boot := s.boots
		s.happen(boot, func() {
			s.front.handle(q, func(a answer) {
				cl.c.net.send(int(to), cl.node, "response", nil, func([]byte) { cl.answered(attempt, to, a) })
			})
		})
	})
	cl.c.k.after(attemptTimeout, cl.node, "timeout", func() {
		if cl.busy && cl.attempt == attempt {
			cl.timedOut()
		}
	})
}

// timedOut: a read can be tried again; what became of a write is not known.
func (cl *client) timedOut() {
	delete(cl.route, cl.q.slot)
	cl.op.Err = "timed out"
	switch cl.q.kind {
	case history.Read, history.Stream, history.Set:
		cl.again(0)
	default:
		cl.end(history.Info)
	}
}

func (cl *client) answered(attempt int, from proto.StoreID, a answer) {
	if !cl.busy || cl.attempt != attempt {
		return
	}
	cl.attempt++ // this attempt's timer is off
	switch a.verdict {
	case replica.Applied:
		cl.route[cl.q.slot] = from
		cl.op.Result, cl.op.List = a.result, a.list
		cl.end(history.OK)
	case replica.Unknown:
		cl.op.Err = "unknown"
		cl.end(history.Info)
	default: // refused, certainly without effect: evaluated again elsewhere
		cl.op.Err = fmt.Sprintf("refused: %d", a.verdict)
		delete(cl.route, cl.q.slot)
		if a.hint != 0 {
			cl.route[cl.q.slot] = a.hint
		} else if a.verdict == replica.StaleEpoch || a.verdict == replica.QueueFull {
			cl.route[cl.q.slot] = from
		}
		cl.again(between(cl.r, 5*ms, 60*ms))
	}
}

// again tries the operation once more, unless its time is up.
func (cl *client) again(wait int64) {
	if cl.c.k.now-cl.op.Invoke > opTimeout {
		cl.end(history.Fail)
		return
	}
	attempt := cl.attempt
	cl.c.k.after(wait, cl.node, "again", func() {
		if cl.busy && cl.attempt == attempt {
			cl.try()
		}
	})
}

func (cl *client) end(t history.Type) {
	cl.busy = false
	cl.op.Type, cl.op.Return = t, cl.c.k.now
	n := &cl.c.count
	switch t {
	case history.OK:
		n.ok++
		cl.op.Err = ""
	case history.Fail:
		n.failed++
	case history.Info:
		n.unknown++
		cl.id += 1000
	}
	cl.c.k.mixString(cl.op.Key)
	cl.c.k.mixString(cl.op.Result)
	cl.c.history = append(cl.c.history, cl.op)
	cl.c.work.ended(&cl.op, cl.q.slot)
	op := cl.op
	cl.then(&op)
}
