package workload

import (
	"fmt"
	"math/rand/v2"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
)

// books are what every workload keeps.
type books struct {
	name    string
	tenant  string // that operations name
	prefix  string // of all its keys: the run's, then the workload's name
	clients int
	values  int
}

func newBooks(name string, o Options, clients int) books {
	if o.Clients != 0 {
		clients = o.Clients
	}
	return books{name: name, tenant: o.Tenant, prefix: o.Prefix + name + "/", clients: clients}
}

// Name implements Workload.
func (b *books) Name() string { return b.name }

// Clients implements Workload.
func (b *books) Clients() int { return b.clients }

// Setup implements Workload for those that need none.
func (b *books) Setup() []history.Op { return nil }

// Ended implements Workload for those that need not know.
func (b *books) Ended(*history.Op) {}

func (b *books) op(kind history.Kind, key string) history.Op {
	return history.Op{Workload: b.name, Tenant: b.tenant, Kind: kind, Key: key}
}

// readerWrites: a reader writes once in so many operations.
const readerWrites = 16

// onlyReads tells whether the client at a place among so many that share a key is their reader, and reads this time. A
// writer soon learns that a leader can not commit any more, and goes elsewhere; a reader believes it as long as it
// answers.
func onlyReads(r *rand.Rand, place, group int) bool {
	return group > 2 && place%group == group-1 && r.IntN(readerWrites) > 0
}

func (b *books) tenants() []string { return []string{b.tenant} }

// value is one that this run has not seen.
func (b *books) value(place int) string {
	b.values++
	return fmt.Sprintf("%s%d.%d", b.prefix, place, b.values)
}

// reads are one read of each key.
func (b *books) reads(kind history.Kind, keys []string) []history.Op {
	ops := make([]history.Op, len(keys))
	for i, k := range keys {
		ops[i] = b.op(kind, k)
	}
	return ops
}

// rotating is a key that is replaced by another when enough has happened to it: what a checker must consider, or a
// reader must fetch, grows with what one key has seen.
type rotating struct {
	name     string
	opsMax   int
	infosMax int

	generation, ops, infos int
}

// take counts one write in and says to which key it is made.
func (r *rotating) take() string {
	if r.ops >= r.opsMax || r.infos >= r.infosMax {
		r.generation, r.ops, r.infos = r.generation+1, 0, 0
	}
	r.ops++
	return r.key(r.generation)
}

// look counts one read in and says of which key it is made: the one that is written to. Reads alone never replace it,
// or readers would be on another key before a writer that waits has gone elsewhere, and see nothing old.
func (r *rotating) look() string {
	r.ops++
	return r.key(r.generation)
}

func (r *rotating) key(generation int) string { return fmt.Sprintf("%s-%d", r.name, generation) }

// ended counts the writes whose outcome is not known.
func (r *rotating) ended(op *history.Op) {
	if op.Type == history.Info && op.Writes() && op.Key == r.key(r.generation) {
		r.infos++
	}
}

// keys are all that there were.
func (r *rotating) keys() []string {
	keys := make([]string, r.generation+1)
	for i := range keys {
		keys[i] = r.key(i)
	}
	return keys
}

func allKeys(rs []rotating) (keys []string) {
	for i := range rs {
		keys = append(keys, rs[i].keys()...)
	}
	return keys
}

// judge is the verdicts of checkers on this workload's operations, and of the one on timestamps, which knows all kinds.
func (b *books) judge(ops []history.Op, checkers ...check.Checker) (verdicts []check.Verdict) {
	for _, c := range append(checkers, check.NewTimestamps(check.TimestampOptions{})) {
		v := c.Check(ops)
		v.Workload = b.name
		verdicts = append(verdicts, v)
	}
	return verdicts
}
