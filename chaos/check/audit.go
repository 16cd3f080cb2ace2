package check

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/vipkv/vipkv/chaos/history"
)

// Dump is what a store holds when all clients have stopped and nothing is under way any more.
type Dump struct {
	Keys []DumpKey `json:"keys,omitempty"`
	// Streams have records for versions, in order of numbers from 1.
	Streams []DumpKey `json:"streams,omitempty"`
	// NewestOnly: only the newest version of each key was read.
	NewestOnly bool `json:"newest_only,omitempty"`
	// SafePoint: versions below it may have been collected where a newer one is at or below it. 0: all are there.
	SafePoint uint64 `json:"safe_point,omitempty"`
}

// DumpKey is one key, or one stream.
type DumpKey struct {
	Tenant   string        `json:"tenant,omitempty"`
	Key      string        `json:"key"`
	Versions []DumpVersion `json:"versions"`
}

// DumpVersion is one version of a key, or one record: its value is the client's id then.
type DumpVersion struct {
	Version uint64 `json:"version"`
	Value   string `json:"value"`
}

// Audit compares a history with the final state of its store: each acknowledged write is there once, at its version,
// and nothing is there that nobody wrote. It returns the history again, in which the writes of unknown outcome are
// resolved by what the store holds, so that later searches have little to guess: found ones are acknowledged, with a
// time by which they had taken effect, the others are refused. Where versions may have gone, they stay as they were.
//
// The dump must hold nothing but what the history's workloads wrote.
//
// Anomalies: lost-write, moved-write (there at another version), double-apply, wrong-value, wrong-number,
// refused-write, phantom-version, torn-transaction, duplicate-version.
func Audit(ops []history.Op, d *Dump) (Verdict, []history.Op) {
	a := &audit{dump: d, f: &findings{}, keys: map[space]*audited{}, streams: map[space]*audited{},
		found: map[*history.Op]*foundWrite{}}
	for i := range d.Keys {
		k := &d.Keys[i]
		a.at(a.keys, space{k.Tenant, k.Key}).dump(k.Tenant, k.Versions)
	}
	for i := range d.Streams {
		k := &d.Streams[i]
		a.at(a.streams, space{k.Tenant, k.Key}).dump("", k.Versions)
	}
	for i := range ops {
		a.collect(&ops[i])
	}
	for _, k := range sorted(a.keys) {
		a.checkKey(k, a.keys[k])
	}
	for _, k := range sorted(a.streams) {
		a.checkStream(k, a.streams[k])
	}
	a.checkWhole()
	v := a.f.verdict()
	v.Checker = "audit"
	return v, a.resolve(ops)
}

type audit struct {
	dump    *Dump
	f       *findings
	keys    map[space]*audited
	streams map[space]*audited
	found   map[*history.Op]*foundWrite // writes of unknown outcome or version that are there
}

// audited is one key of the store with what was written to it.
type audited struct {
	versions []DumpVersion
	owners   []*history.Op // of versions; nil: not known
	writes   []keyWrite
}

// foundWrite is where a write was found.
type foundWrite struct {
	version uint64
	value   string // of a record: its number
}

func (a *audit) at(m map[space]*audited, k space) *audited {
	if m[k] == nil {
		m[k] = &audited{}
	}
	return m[k]
}

// dump takes the tenant's own canary off: workloads put it before what they store.
func (k *audited) dump(tenant string, versions []DumpVersion) {
	k.versions = slices.Clone(versions)
	for i := range k.versions {
		if v := &k.versions[i]; tenant != "" {
			v.Value = strings.TrimPrefix(v.Value, CanaryValue(tenant, ""))
		}
	}
	k.owners = make([]*history.Op, len(versions))
}

func (k *audited) find(version uint64) int {
	return slices.IndexFunc(k.versions, func(v DumpVersion) bool { return v.Version == version })
}

func (a *audit) collect(o *history.Op) {
	if o.Kind == history.Append {
		a.f.saw(o)
		s := a.at(a.streams, spaceOf(o))
		s.writes = append(s.writes, keyWrite{spaceOf(o), o.Arg, o.Version, o})
		return
	}
	writes := writesOf(o)
	if len(writes) > 0 {
		a.f.saw(o)
	}
	for _, w := range writes {
		k := a.at(a.keys, w.key)
		k.writes = append(k.writes, w)
	}
}

// mayBeGone says whether an acknowledged version may be missing because of a newer one.
func (a *audit) mayBeGone(k *audited, version uint64) bool {
	return slices.ContainsFunc(k.versions, func(v DumpVersion) bool {
		return v.Version > version && (a.dump.NewestOnly || v.Version <= a.dump.SafePoint)
	})
}

func (a *audit) checkKey(name space, k *audited) {
	slices.SortStableFunc(k.versions, func(a, b DumpVersion) int {
		return cmp.Compare(a.Version, b.Version)
	})
	slices.SortStableFunc(k.writes, func(a, b keyWrite) int {
		return cmp.Compare(a.op.Invoke, b.op.Invoke)
	})
	for i := 1; i < len(k.versions); i++ {
		if k.versions[i].Version == k.versions[i-1].Version {
			a.f.found("duplicate-version", nil, "%s holds version %d twice", name, k.versions[i].Version)
		}
	}
	for _, w := range k.writes {
		if w.op.Type == history.OK && w.version != 0 {
			a.checkAcknowledged(name, k, w)
		}
	}
	for i := range k.versions {
		if k.owners[i] == nil {
			a.attribute(name, k, i)
		}
	}
	for _, w := range k.writes {
		if w.op.Type == history.OK && w.version == 0 && a.found[w.op] == nil && !a.dump.NewestOnly &&
			a.dump.SafePoint == 0 && w.value != "" {
			a.f.found("lost-write", because(w.op), "%s: an acknowledged write is not there", name)
		}
	}
}

func (a *audit) checkAcknowledged(name space, k *audited, w keyWrite) {
	i := k.find(w.version)
	if i < 0 {
		if a.mayBeGone(k, w.version) || w.op.TTLMs > 0 {
			return
		}
		moved := slices.IndexFunc(k.versions, func(v DumpVersion) bool {
			return w.value != "" && v.Value == w.value && !claimed(k, v.Version)
		})
		if moved >= 0 && k.owners[moved] == nil {
			k.owners[moved] = w.op
			a.f.found("moved-write", because(w.op),
				"%s: it is there as version %d", name, k.versions[moved].Version)
			return
		}
		a.f.found("lost-write", because(w.op), "%s: an acknowledged write is not there", name)
		return
	}
	if k.owners[i] != nil && k.owners[i] != w.op {
		a.f.found("duplicate-version", because(k.owners[i], w.op),
			"%s: two writes were acknowledged as version %d", name, w.version)
	}
	k.owners[i] = w.op
	if v := k.versions[i]; w.value != "" && v.Value != w.value {
		a.f.found("wrong-value", because(w.op), "%s: version %d holds %q", name, w.version, v.Value)
	}
}

// claimed: an acknowledgement says that the version is its own.
func claimed(k *audited, version uint64) bool {
	return slices.ContainsFunc(k.writes, func(w keyWrite) bool {
		return w.op.Type == history.OK && w.version == version
	})
}

// attribute finds out who wrote a version that no acknowledgement names. Of several that may have, whoever began first
// explains everything that the others would.
func (a *audit) attribute(name space, k *audited, i int) {
	v := k.versions[i]
	var other, refused, part *history.Op
	for _, w := range k.writes {
		o := w.op
		same := w.value != "" && w.value == v.Value
		switch {
		case o.Type == history.Fail:
			if same {
				refused = o
			}
		case o.Type == history.OK && w.version != 0, a.found[o] != nil && a.found[o].version != v.Version:
			if same && uniqueValue(k, w.value) {
				other = o
			}
		case !a.explains(w, k, v):
		case !a.whole(o, v.Version):
			part = o
		default:
			a.own(o, k, i)
			return
		}
	}
	switch {
	case part != nil:
		a.own(part, k, i)
	case other != nil:
		a.f.found("double-apply", because(other),
			"%s: its effect is there again, as version %d", name, v.Version)
	case refused != nil:
		a.f.found("refused-write", because(refused),
			"%s: it is there as version %d", name, v.Version)
	default:
		a.f.found("phantom-version", nil,
			"%s holds %q as version %d, which nobody wrote", name, v.Value, v.Version)
	}
}

func (a *audit) own(o *history.Op, k *audited, i int) {
	k.owners[i] = o
	if a.found[o] == nil {
		a.found[o] = &foundWrite{k.versions[i].Version, k.versions[i].Value}
	}
}

// whole: at this version all keys hold what o would have written.
func (a *audit) whole(o *history.Op, version uint64) bool {
	for _, w := range writesOf(o) {
		k := a.keys[w.key]
		i := k.find(version)
		if i < 0 && !a.mayBeGone(k, version) || i >= 0 && !a.explains(w, k, k.versions[i]) {
			return false
		}
	}
	return true
}

func uniqueValue(k *audited, value string) bool {
	n := 0
	for _, w := range k.writes {
		if w.value == value && mayHaveHappened(w.op) {
			n++
		}
	}
	return n == 1
}

// explains says whether w may have made v of k.
func (a *audit) explains(w keyWrite, k *audited, v DumpVersion) bool {
	if w.value != "" && w.value != v.Value {
		return false
	}
	i := k.find(v.Version)
	if a.dump.NewestOnly || i == 0 && a.dump.SafePoint != 0 {
		return true // what was before it is not known
	}
	before := DumpVersion{}
	if i > 0 {
		before = k.versions[i-1]
	}
	if base, conditional := baseOf(w); conditional && base != before.Version {
		return false
	}
	if w.op.Kind == history.Incr {
		return v.Value == addDecimal(before.Value, w.op.Arg)
	}
	if w.value != "" {
		return true
	}
	had, list := strings.Fields(before.Value), strings.Fields(v.Value)
	return slices.ContainsFunc(w.op.Txn, func(m history.Mop) bool {
		return m.Key == w.key.key && m.Part == history.PartAppend && slices.Contains(list, m.Value) &&
			!slices.Contains(had, m.Value)
	})
}

// baseOf is the version that w demanded to be the newest, when it is known to have demanded one.
func baseOf(w keyWrite) (base uint64, known bool) {
	switch w.op.Kind {
	case history.CAS, history.Incr, history.Advance:
		return w.op.Base, w.op.Base != 0
	case history.Txn:
		for i := range w.op.Txn {
			if m := &w.op.Txn[i]; m.Key == w.key.key {
				return m.Version, w.op.At != 0
			}
		}
	}
	return 0, false
}

func addDecimal(a, b string) string {
	x, _ := strconv.ParseInt(a, 10, 64)
	y, err := strconv.ParseInt(b, 10, 64)
	if err != nil {
		return ""
	}
	return strconv.FormatInt(x+y, 10)
}

// checkWhole: a transaction of unknown outcome that is there is there on all its keys.
func (a *audit) checkWhole() {
	var ops []*history.Op
	for o := range maps.Keys(a.found) {
		ops = append(ops, o)
	}
	for _, o := range byTime(ops, invokedAt) {
		for _, w := range writesOf(o) {
			k := a.keys[w.key]
			version := a.found[o].version
			if k.find(version) < 0 && !a.mayBeGone(k, version) {
				a.f.found("torn-transaction", because(o),
					"It is there as version %d, but not on %s", version, w.key)
			}
		}
	}
}
