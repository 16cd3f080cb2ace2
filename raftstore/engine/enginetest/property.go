package enginetest

import (
	"bytes"
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
)

// RunModel plays random commits, ingests, views, reads, churns, reopens and crashes against a Model.
func RunModel(t *rapid.T, open func() (*Harness, error)) {
	h, err := open()
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{h: h, past: History{States: []Model{nil}}}
	t.Repeat(map[string]func(*rapid.T){
		"commit": m.commit,
		"ingest": m.ingest,
		"view":   m.view,
		"scan":   m.scan,
		"churn":  func(t *rapid.T) { check(t, m.h.Churn()) },
		"reopen": m.reopen,
		"crash":  m.crash,
		"":       m.invariant,
	})
	m.closeViews(t)
	check(t, h.Close())
}

// machine is a harness and what it should hold.
type machine struct {
	h     *Harness
	past  History
	views []pinned
}

type pinned struct {
	view storage.View
	want Model
}

const viewsMax = 3

func check(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// genKey draws one of few keys, so that they collide.
func genKey() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			id, index := rapid.IntRange(1, 2).Draw(t, "range"), rapid.IntRange(0, 9).Draw(t, "index")
			return keys.LogEntry(proto.RangeID(id), uint64(index))
		case 1:
			return keys.Local(proto.RangeID(rapid.IntRange(1, 2).Draw(t, "range")), keys.KindApplied)
		}
		k := genUser().Draw(t, "user")
		if ts := rapid.SampledFrom([]uint64{0, 0, 1, 2, 255, 256, 1 << 40}).Draw(t, "ts"); ts > 0 {
			return version(k, ts)
		}
		return bare(k)
	})
}

func genUser() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"", "a", "a\x00", "a\x00\x09", "b", "b\xff", "c", "\xff"})
}

func genBatch(key *rapid.Generator[[]byte]) *rapid.Generator[*storage.Batch] {
	return rapid.Custom(func(t *rapid.T) *storage.Batch {
		var b storage.Batch
		for range rapid.IntRange(0, 6).Draw(t, "writes") {
			k := key.Draw(t, "key")
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0:
				b.Delete(k)
			case 1:
				b.DeleteRange(k, key.Draw(t, "end"))
			default:
				// Some values are large, so that memtables fill and batches do not fit.
				n := rapid.SampledFrom([]int{0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 40_000, 140_000}).Draw(t, "size")
				b.Set(k, bytes.Repeat([]byte{byte(rapid.IntRange('a', 'z').Draw(t, "value"))}, n))
			}
		}
		return &b
	})
}

func (m *machine) commit(t *rapid.T) {
	b, sync := genBatch(genKey()).Draw(t, "batch"), rapid.Bool().Draw(t, "sync")
	check(t, m.h.Engine.Commit(b, sync))
	m.past.Add(m.past.Now().Apply(b), sync)
}

func (m *machine) ingest(t *rapid.T) {
	from, to := genUser().Draw(t, "from"), genUser().Draw(t, "to")
	if from >= to {
		to = "\xff\xff"
	}
	span := dataSpan(from, to)
	var whole storage.Batch
	whole.DeleteRange(span.Start, span.End)
	var kvs []KV
	for _, kv := range (Model{}).Apply(genBatch(genKey()).Draw(t, "tables")) {
		if span.Contains(kv.Key) {
			kvs = append(kvs, kv)
			whole.Set(kv.Key, kv.Value)
		}
	}
	outside := genKey().Filter(func(k []byte) bool { return keys.Compare(k, span.Start) < 0 })
	if span.Start[1] == 0 { // nothing of the data lies below
		outside = outside.Filter(func(k []byte) bool { return k[0] < span.Start[0] })
	}
	local := genBatch(outside).Draw(t, "local")
	whole.Append(local)
	check(t, m.h.Ingest(span, kvs, local))
	m.past.Add(m.past.Now().Apply(&whole), true)
}

func (m *machine) view(t *rapid.T) {
	if len(m.views) < viewsMax {
		m.views = append(m.views, pinned{m.h.Engine.NewView(), m.past.Now()})
		return
	}
	i := rapid.IntRange(0, viewsMax-1).Draw(t, "view")
	m.checkReader(t, m.views[i].want, m.views[i].view)
	check(t, m.views[i].view.Close())
	m.views = slices.Delete(m.views, i, i+1)
}

// scan walks an iterator at random between random bounds.
func (m *machine) scan(t *rapid.T) {
	var o storage.IterOptions
	if rapid.Bool().Draw(t, "bounded") {
		o.Lower, o.Upper = genKey().Draw(t, "lower"), genKey().Draw(t, "upper")
		if keys.Compare(o.Lower, o.Upper) > 0 {
			o.Lower, o.Upper = o.Upper, o.Lower
		}
	}
	want := m.past.Now().Range(o.Lower, o.Upper)
	it, err := m.h.Engine.NewIter(o)
	check(t, err)
	at := -1 // no item
	for range rapid.IntRange(1, 12).Draw(t, "moves") {
		var ok bool
		move := rapid.SampledFrom([]string{"ge", "lt", "next", "prev", "prefix"}).Draw(t, "move")
		k := genKey().Draw(t, "to")
		i, _ := want.find(k)
		switch move {
		case "ge":
			ok, at = it.SeekGE(k), i
		case "lt":
			ok, at = it.SeekLT(k), i-1
		case "next":
			ok = it.Next()
			at = moved(at, len(want), at+1)
		case "prev":
			ok = it.Prev()
			at = moved(at, len(want), at-1)
		case "prefix":
			ok = it.NextPrefix()
			at = moved(at, len(want), want.nextPrefix(at))
		}
		if at < 0 || at >= len(want) {
			at = -1
		}
		if got, _ := it.Item(); ok != (at >= 0) || ok && !bytes.Equal(got, want[at].Key) {
			t.Fatalf("%s %x: %v %x, want item %d of %d", move, k, ok, got, at, len(want))
		}
	}
	check(t, it.Close())
}

// moved is where a step leads: nowhere, from nowhere.
func moved(at, n, to int) int {
	if at < 0 || at >= n {
		return -1
	}
	return to
}

func (m Model) nextPrefix(at int) int {
	if at < 0 || at >= len(m) {
		return -1
	}
	prefix := m[at].Key[:keys.Split(m[at].Key)]
	for at++; at < len(m); at++ {
		if k := m[at].Key; !bytes.Equal(k[:keys.Split(k)], prefix) {
			break
		}
	}
	return at
}

func (m *machine) reopen(t *rapid.T) {
	m.closeViews(t)
	check(t, m.h.Reopen())
	m.past = History{States: []Model{m.past.Now()}}
}

func (m *machine) crash(t *rapid.T) {
	m.closeViews(t)
	check(t, m.h.Crash(rapid.IntRange(0, 100).Draw(t, "keep")))
	now, err := m.past.Survivor(m.h.Engine)
	check(t, err)
	m.past = History{States: []Model{now}}
}

func (m *machine) closeViews(t *rapid.T) {
	for _, v := range m.views {
		m.checkReader(t, v.want, v.view)
		check(t, v.view.Close())
	}
	m.views = nil
}

func (m *machine) invariant(t *rapid.T) { m.checkReader(t, m.past.Now(), m.h.Engine) }

func (m *machine) checkReader(t *rapid.T, want Model, r storage.Reader) {
	t.Helper()
	diff, err := want.Diff(r)
	check(t, err)
	if diff != "" {
		t.Fatal(fmt.Sprintf("differs from the model: %.200s", diff))
	}
	for _, kv := range want {
		if v, err := r.Get(kv.Key); err != nil || !bytes.Equal(v, kv.Value) {
			t.Fatalf("get %x: %d bytes, %v", kv.Key, len(v), err)
		}
	}
}
