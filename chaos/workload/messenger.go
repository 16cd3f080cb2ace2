package workload

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

const (
	messengerClients = 6
	devices          = 3 // clients of one user
	conversations    = 6 // of a tenant; the first is the busiest
	pullRecords      = 20
	latestRecords    = 50
	resendOneIn      = 100 // sends that repeat the one before, by the same id
	resendWithin     = 50  // operations of all clients since it ended: a store forgets ids
	presenceTTLMs    = 500
	editKeys         = 4 // messages of a conversation that are edited
)

// messenger does what the back end of a messenger does, in its proportions: it sends and sends again, moves read
// cursors from several devices of a user, pulls what is new and opens conversations, lists inboxes, checks membership,
// edits, and keeps presence alive.
type messenger struct {
	books
	of    []messengerTenant
	drawn int
}

// messengerTenant is one tenant's conversations and users.
type messengerTenant struct {
	name    string
	members []rotating            // of each conversation and user, a register
	edits   []rotating            // of each conversation, a log
	last    [conversations]uint64 // number of a record that somebody was told
	sent    history.Op            // the last one that may have taken effect
	at      int                   // drawn, when that ended
}

func newMessenger(o Options) Workload {
	names := o.Tenants
	if len(names) == 0 {
		names = []string{o.Tenant}
	}
	w := &messenger{books: newBooks("messenger", o, messengerClients*len(names))}
	w.of = make([]messengerTenant, len(names))
	users := w.user(w.clients-1) + 1
	for i, n := range names {
		t := messengerTenant{name: n}
		for c := range conversations {
			t.edits = append(t.edits, rotating{
				name:   fmt.Sprintf("%se/%s", w.prefix, conversation(c)),
				opsMax: o.keyOps(listOps), infosMax: noLimit,
			})
			for u := range users {
				t.members = append(t.members, rotating{
					name:   fmt.Sprintf("%sm/%s/%d", w.prefix, conversation(c), u),
					opsMax: o.keyOps(registerOps), infosMax: registerInfos,
				})
			}
		}
		w.of[i] = t
	}
	return w
}

// tenant and user are those of the client at a place.
func (w *messenger) tenant(place int) *messengerTenant { return &w.of[place%len(w.of)] }

func (w *messenger) user(place int) int { return place / len(w.of) / devices }

func conversation(c int) string { return fmt.Sprintf("c%d", c) }

func (w *messenger) tenants() (names []string) {
	for i := range w.of {
		names = append(names, w.of[i].name)
	}
	return names
}

// share is how many of 200 operations are of a sort.
type share struct {
	of   int
	draw func(*messenger, *rand.Rand, int, int) history.Op // place, conversation
}

func shares() []share {
	return []share{
		{40, (*messenger).send},
		{40, (*messenger).advance},
		{50, (*messenger).pull},
		{24, (*messenger).latest},
		{10, (*messenger).inbox},
		{8, (*messenger).scrollBack},
		{16, (*messenger).permitted},
		{6, (*messenger).edit},
		{4, (*messenger).presence},
		{2, (*messenger).join},
	}
}

// Draw implements Workload.
func (w *messenger) Draw(r *rand.Rand, place int) history.Op {
	w.drawn++
	c := min(r.IntN(conversations), r.IntN(conversations))
	n := r.IntN(200)
	for _, s := range shares() {
		if n -= s.of; n < 0 {
			op := s.draw(w, r, place, c)
			op.Tenant = w.tenant(place).name
			return op
		}
	}
	panic("messenger: the shares are less than 200")
}

func (w *messenger) stream(c int) string { return w.prefix + "c/" + conversation(c) }

func (w *messenger) send(r *rand.Rand, place, c int) history.Op {
	t := w.tenant(place)
	if t.sent.Key != "" && w.drawn-t.at <= resendWithin && r.IntN(resendOneIn) == 0 {
		op := w.op(history.Append, t.sent.Key)
		op.Arg = t.sent.Arg
		return op
	}
	op := w.op(history.Append, w.stream(c))
	op.Arg = w.value(place)
	return op
}

func (w *messenger) cursors(place int) string {
	return fmt.Sprintf("%su/%d", w.prefix, w.user(place))
}

func (w *messenger) advance(r *rand.Rand, place, c int) history.Op {
	op := w.op(history.Advance, w.cursors(place)+"/"+conversation(c))
	op.Arg = w.tenant(place).back(r, c, pullRecords)
	return op
}

// back is the number of a record at most so many before the last one that is known.
func (t *messengerTenant) back(r *rand.Rand, c int, most uint64) string {
	return strconv.FormatUint(t.last[c]-min(t.last[c], r.Uint64N(most+1)), 10)
}

func (w *messenger) pull(r *rand.Rand, place, c int) history.Op {
	op := w.op(history.Pull, w.stream(c))
	op.Arg, op.Limit = w.tenant(place).back(r, c, pullRecords), pullRecords
	return op
}

func (w *messenger) latest(_ *rand.Rand, _, c int) history.Op {
	op := w.op(history.Pull, w.stream(c))
	op.Limit, op.Backward = latestRecords, true
	return op
}

func (w *messenger) scrollBack(r *rand.Rand, place, c int) history.Op {
	op := w.op(history.Pull, w.stream(c))
	t := w.tenant(place)
	op.Arg, op.Limit = t.back(r, c, t.last[c]), pullRecords
	return op
}

func (w *messenger) inbox(_ *rand.Rand, place, _ int) history.Op {
	op := w.op(history.Inbox, w.cursors(place))
	op.Arg = w.prefix + "c/"
	return op
}

func (w *messenger) member(place, c int) *rotating {
	return &w.tenant(place).members[c*w.users()+w.user(place)]
}

func (w *messenger) permitted(_ *rand.Rand, place, c int) history.Op {
	return w.op(history.Read, w.member(place, c).look())
}

func (w *messenger) join(_ *rand.Rand, place, c int) history.Op {
	op := w.op(history.Write, w.member(place, c).take())
	op.Arg = w.value(place)
	return op
}

// edit changes a message and adds to the conversation's log of changes, or reads both.
func (w *messenger) edit(r *rand.Rand, place, c int) history.Op {
	log := w.tenant(place).edits[c].take()
	keys := []string{log + "/log", fmt.Sprintf("%s/%d", log, r.IntN(editKeys))}
	if r.IntN(2) == 0 {
		return w.readTxn(keys)
	}
	op := w.op(history.Txn, "")
	w.values++
	for _, k := range keys {
		m := history.Mop{Part: history.PartAppend, Key: k, Value: strconv.Itoa(w.values)}
		op.Txn = append(op.Txn, m)
	}
	return op
}

func (w *messenger) presence(r *rand.Rand, place, c int) history.Op {
	op := w.op(history.Peek, fmt.Sprintf("%sp/%d", w.prefix, c))
	if r.IntN(2) == 0 {
		op.Kind, op.Arg, op.TTLMs = history.Touch, w.value(place), presenceTTLMs
	}
	return op
}

// users is how many each tenant has.
func (w *messenger) users() int { return len(w.of[0].members) / conversations }

// Ended implements Workload.
func (w *messenger) Ended(op *history.Op) {
	for i := range w.of {
		if w.of[i].name == op.Tenant {
			w.of[i].ended(w, op)
		}
	}
}

func (t *messengerTenant) ended(w *messenger, op *history.Op) {
	switch op.Kind {
	case history.Write:
		for i := range t.members {
			t.members[i].ended(op)
		}
	case history.Append:
		if op.Type != history.Fail {
			t.sent, t.at = *op, w.drawn
		}
	case history.Pull:
		for c := range t.last {
			if op.Type != history.OK || op.Key != w.stream(c) {
				continue
			}
			if n, err := strconv.ParseUint(op.Result, 10, 64); err == nil {
				t.last[c] = max(t.last[c], n)
			}
		}
	}
}

// Final implements Workload.
func (w *messenger) Final() (ops []history.Op) {
	for i := range w.of {
		t := &w.of[i]
		reads := w.reads(history.Read, allKeys(t.members))
		for c := range conversations {
			reads = append(reads, w.op(history.Stream, w.stream(c)))
		}
		for _, log := range allKeys(t.edits) {
			for k := range editKeys {
				reads = append(reads, w.readTxn([]string{log + "/log", fmt.Sprintf("%s/%d", log, k)}))
			}
		}
		for u := range w.users() {
			op := w.op(history.Inbox, fmt.Sprintf("%su/%d", w.prefix, u))
			op.Arg = w.prefix + "c/"
			reads = append(reads, op)
		}
		for j := range reads {
			reads[j].Tenant = t.name
		}
		ops = append(ops, reads...)
	}
	return ops
}

// Check implements Workload.
func (w *messenger) Check(ops []history.Op) []check.Verdict {
	checkers := []check.Checker{
		check.NewMessenger(), check.NewStreams(), check.NewPresence(), registers(), cycles(),
	}
	if len(w.of) > 1 {
		checkers = append(checkers, check.NewTenants())
	}
	return w.judge(ops, checkers...)
}
