package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	"github.com/vipkv/vipkv/raftstore/engine"
)

// RunConformance checks everything that engine.Engine promises. open makes a new, empty engine.
func RunConformance(t *testing.T, open func() (*Harness, error)) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *Harness)
	}{
		{"point reads", testGet},
		{"order of versions", testOrder},
		{"iterators keep to their bounds", testBounds},
		{"next prefix skips versions", testNextPrefix},
		{"time bounds never hide a bare key or a wanted version", testTimeBounds},
		{"writes of a batch take effect in order", testBatchOrder},
		{"malformed keys are refused whole", testMalformed},
		{"the caller may reuse its memory", testReuse},
		{"a view sees nothing later", testView},
		{"an iterator sees nothing later", testIterPinned},
		{"ingest replaces a span", testIngest},
		{"ingest resets a log in the same step", testIngestLocal},
		{"local writes of an ingest take effect in order", testIngestLocalOrder},
		{"a bad ingest has no effect", testBadIngest},
		{"a crash loses a suffix", testCrash},
		{"an empty synced batch is a barrier", testBarrier},
		{"ingest is durable and so is all before it", testIngestCrash},
		{"reopening loses nothing", testReopen},
		{"a closed engine says so", testClosed},
		{"identity", testIdentity},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := open()
			noError(t, err)
			c.run(t, h)
			noError(t, h.Close())
		})
	}
}

func testGet(t *testing.T, h *Harness) {
	commit(t, h, batch(bare("a"), []byte("1"), bare("b"), nil, version("a", 5), []byte("5")), false)
	for _, c := range []struct {
		key  []byte
		want []byte
	}{{bare("a"), []byte("1")}, {bare("b"), []byte{}}, {version("a", 5), []byte("5")}} {
		v, err := h.Engine.Get(c.key)
		if err != nil || !bytes.Equal(v, c.want) {
			t.Errorf("get %x: %q, %v; want %q", c.key, v, err, c.want)
		}
	}
	for _, k := range [][]byte{bare("aa"), version("a", 4), version("b", 1), bare("")} {
		if v, err := h.Engine.Get(k); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("get %x: %q, %v; want not found", k, v, err)
		}
	}
}

func testOrder(t *testing.T, h *Harness) {
	want := Model{}
	for _, k := range [][]byte{
		keys.Store("s"), keys.Local(3, keys.KindApplied), keys.LogEntry(3, 1), keys.LogEntry(3, 256),
		bare("a"), version("a", 1<<63), version("a", 256), version("a", 255), version("a", 1),
		version("a\x00", 7), version("a\x00\x09", 7), bare("a\x01"), version("b", 9), version("\xff\xff", 1),
	} {
		want = append(want, KV{k, []byte("v")})
	}
	for i := range want { // written in another order
		commit(t, h, batch(want[i*5%len(want)].Key, []byte("v")), false)
	}
	same(t, want, h.Engine)
	noError(t, h.Churn())
	same(t, want, h.Engine)
	it, err := h.Engine.NewIter(storage.IterOptions{})
	noError(t, err)
	ok := it.SeekLT([]byte{0xff, 0x00})
	for i := len(want) - 1; i >= 0; i-- {
		if k, _ := it.Item(); !ok || !bytes.Equal(k, want[i].Key) {
			t.Errorf("backwards %d: %x, want %x", i, k, want[i].Key)
		}
		ok = it.Prev()
	}
	if ok || it.Next() || it.Prev() || it.NextPrefix() {
		t.Error("an iterator that is at no item moved")
	}
	noError(t, it.Close())
}

func testBounds(t *testing.T, h *Harness) {
	var m Model
	for _, k := range []string{"a", "b", "c", "d"} {
		b := batch(bare(k), []byte(k), version(k, 3), nil, version(k, 2), nil)
		commit(t, h, b, false)
		m = m.Apply(b)
	}
	bounds := [][]byte{nil, bare(""), bare("a"), version("b", 3), version("b", 2), bare("c"), bare("z")}
	for _, lower := range bounds {
		for _, upper := range bounds {
			if lower != nil && upper != nil && keys.Compare(lower, upper) > 0 {
				continue
			}
			checkWindow(t, h.Engine, m.Range(lower, upper), lower, upper)
		}
	}
}

// checkWindow seeks to every key from both sides, and steps back and forth there.
func checkWindow(t *testing.T, r storage.Reader, m Model, lower, upper []byte) {
	t.Helper()
	it, err := r.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	noError(t, err)
	at := func(what string, ok bool, i int) {
		t.Helper()
		k, _ := it.Item()
		if in := i >= 0 && i < len(m); ok != in || in && !bytes.Equal(k, m[i].Key) {
			t.Errorf("[%x,%x) %s: %v %x, want item %d of %d", lower, upper, what, ok, k, i, len(m))
		}
	}
	probes := [][]byte{bare(""), bare("aa"), version("c", 9), bare("zz")}
	for _, kv := range m {
		probes = append(probes, kv.Key)
	}
	for _, p := range probes {
		i, _ := m.find(p)
		at(fmt.Sprintf("seek >= %x", p), it.SeekGE(p), i)
		if i+1 < len(m) {
			at("next", it.Next(), i+1)
			at("prev", it.Prev(), i)
			at("next again", it.Next(), i+1)
		}
		at(fmt.Sprintf("seek < %x", p), it.SeekLT(p), i-1)
		if i >= 2 {
			at("prev", it.Prev(), i-2)
			at("next", it.Next(), i-1)
			at("prev again", it.Prev(), i-2)
		}
	}
	noError(t, it.Close())
}

func testNextPrefix(t *testing.T, h *Harness) {
	for ts := uint64(1); ts <= 50; ts++ {
		commit(t, h, batch(version("a", ts), nil, version("b", ts), nil), false)
	}
	commit(t, h, batch(bare("b"), nil, version("b\x00", 1), nil, bare("c"), nil), false)
	for _, upper := range [][]byte{nil, bare("z"), version("c", 1)} { // the last one has a suffix
		it, err := h.Engine.NewIter(storage.IterOptions{Upper: upper})
		noError(t, err)
		ok := it.SeekGE(version("a", 30))
		for _, want := range [][]byte{version("a", 30), bare("b"), version("b\x00", 1), bare("c")} {
			if k, _ := it.Item(); !ok || !bytes.Equal(k, want) {
				t.Errorf("next prefix: %v %x, want %x", ok, k, want)
			}
			ok = it.NextPrefix()
		}
		if ok {
			t.Error("next prefix went past the end")
		}
		it.SeekLT(version("b", 1)) // backwards, in the middle of b
		it.Prev()
		if ok, k := it.NextPrefix(), first(it); !ok || !bytes.Equal(k, version("b\x00", 1)) {
			t.Errorf("next prefix after prev: %v %x", ok, k)
		}
		noError(t, it.Close())
	}
}

func first(it storage.Iter) []byte {
	k, _ := it.Item()
	return k
}

func testTimeBounds(t *testing.T, h *Harness) {
	value := bytes.Repeat([]byte("v"), 1000)
	for i := range uint64(400) {
		commit(t, h, batch(version(fmt.Sprintf("k%03d", i), 1000+i), value), false)
	}
	commit(t, h, batch(bare("k100"), value, version("old", 1), value, version("new", 1<<64-1), value), false)
	noError(t, h.Churn())
	// Hides the old version of k200: a filter must not skip one without the other.
	var b storage.Batch
	b.Delete(version("k200", 1200))
	commit(t, h, &b, false)
	noError(t, h.Churn())
	for _, c := range []struct{ low, high uint64 }{
		{1200, 1210}, {1, 1}, {1<<64 - 1, 1<<64 - 1}, {0, 1<<64 - 1}, {5000, 6000},
	} {
		it, err := h.Engine.NewIter(storage.IterOptions{MinTS: c.low, MaxTS: c.high})
		noError(t, err)
		seen := map[string]bool{}
		for ok := it.SeekGE(nil); ok; ok = it.Next() {
			seen[string(first(it))] = true
		}
		noError(t, it.Close())
		want := Model{{Key: bare("k100")}}
		for i := range uint64(400) {
			want = append(want, KV{Key: version(fmt.Sprintf("k%03d", i), 1000+i)})
		}
		for _, kv := range append(want, KV{Key: version("old", 1)}, KV{Key: version("new", 1<<64-1)}) {
			_, ts, err := keys.ParseData(kv.Key)
			noError(t, err)
			wanted := ts == 0 || uint64(ts) >= c.low && uint64(ts) <= c.high
			if wanted && ts != 1200 && !seen[string(kv.Key)] {
				t.Errorf("[%d,%d] hides %x", c.low, c.high, kv.Key)
			}
		}
		if seen[string(version("k200", 1200))] {
			t.Errorf("[%d,%d] shows a deleted version", c.low, c.high)
		}
	}
}

func testBatchOrder(t *testing.T, h *Harness) {
	var b storage.Batch
	b.Set(bare("a"), []byte("gone"))
	b.Set(bare("c"), []byte("gone"))
	b.DeleteRange(bare("a"), bare("d"))
	b.Set(bare("b"), []byte("1"))
	b.Set(bare("b"), []byte("2"))
	b.Set(bare("d"), []byte("3"))
	b.Set(bare("e"), []byte("gone"))
	b.Delete(bare("e"))
	b.DeleteRange(bare("d"), bare("d")) // empty
	b.DeleteRange(bare("z"), bare("a")) // empty
	commit(t, h, &b, true)
	same(t, Model{{bare("b"), []byte("2")}, {bare("d"), []byte("3")}}, h.Engine)
	var c storage.Batch
	c.DeleteRange(bare("z"), bare("a"))
	commit(t, h, &c, true) // nothing at all
	same(t, Model{{bare("b"), []byte("2")}, {bare("d"), []byte("3")}}, h.Engine)
}

func testMalformed(t *testing.T, h *Harness) {
	for _, k := range [][]byte{nil, []byte("x"), []byte("\x03a\x00\x01"), {9}} {
		var set, del, from, to storage.Batch
		set.Set(k, nil)
		del.Delete(k)
		from.DeleteRange(k, bare("a"))
		to.DeleteRange(bare("a"), k)
		for _, bad := range []*storage.Batch{&set, &del, &from, &to} {
			b := batch(bare("good"), nil)
			b.Append(bad)
			if err := h.Engine.Commit(b, true); !errors.Is(err, engine.ErrBadKey) {
				t.Errorf("key %x: %v", k, err)
			}
		}
	}
	same(t, nil, h.Engine)
}

func testReuse(t *testing.T, h *Harness) {
	k, v := bare("a"), []byte("1")
	var b storage.Batch
	b.Set(k, v)
	commit(t, h, &b, false)
	k[1], v[0] = 'x', 'x'
	b.Reset()
	b.Set(bare("q"), []byte("q"))
	got, err := h.Engine.Get(bare("a"))
	noError(t, err)
	got[0] = 'y'
	same(t, Model{{bare("a"), []byte("1")}}, h.Engine)
}

func testView(t *testing.T, h *Harness) {
	before := Model{}.Apply(batch(bare("a"), []byte("1"), bare("m"), []byte("1"), keys.Local(7, 'a'), []byte("1")))
	commit(t, h, batch(bare("a"), []byte("1"), bare("m"), []byte("1"), keys.Local(7, 'a'), []byte("1")), false)
	flushed, unflushed := h.Engine.NewView(), h.Engine.NewView()
	same(t, before, flushed)
	noError(t, h.Churn())
	late := h.Engine.NewView()
	var b storage.Batch
	b.Set(bare("a"), []byte("2"))
	b.Delete(bare("m"))
	commit(t, h, &b, false)
	local := batch(keys.Local(7, 'a'), []byte("2"))
	noError(t, h.Ingest(dataSpan("", ""), []KV{{bare("b"), []byte("3")}}, local))
	noError(t, h.Churn())
	for _, v := range []storage.View{flushed, unflushed, late} {
		same(t, before, v)
		if got, err := v.Get(bare("a")); err != nil || string(got) != "1" {
			t.Errorf("view: a is %q, %v", got, err)
		}
		if _, err := v.Get(bare("b")); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("view: b is there: %v", err)
		}
		noError(t, v.Close())
		if _, err := v.Get(bare("a")); err == nil {
			t.Error("a closed view answers")
		}
	}
	same(t, Model{{keys.Local(7, 'a'), []byte("2")}, {bare("b"), []byte("3")}}, h.Engine)
}

func testIterPinned(t *testing.T, h *Harness) {
	commit(t, h, batch(bare("a"), []byte("1"), bare("b"), []byte("1")), false)
	it, err := h.Engine.NewIter(storage.IterOptions{})
	noError(t, err)
	commit(t, h, batch(bare("a"), []byte("2"), bare("ab"), []byte("2")), false)
	noError(t, h.Ingest(dataSpan("b", ""), []KV{{bare("c"), []byte("3")}}, nil))
	if d := (Model{{bare("a"), []byte("1")}, {bare("b"), []byte("1")}}).diffIter(it); d != "" {
		t.Error(d)
	}
	noError(t, it.Close())
}

func testReopen(t *testing.T, h *Harness) {
	commit(t, h, batch(bare("a"), []byte("1")), false)
	noError(t, h.Ingest(dataSpan("b", "c"), []KV{{bare("b"), []byte("2")}}, nil))
	commit(t, h, batch(bare("d"), []byte("3")), false)
	for range 2 {
		noError(t, h.Reopen())
		same(t, Model{{bare("a"), []byte("1")}, {bare("b"), []byte("2")}, {bare("d"), []byte("3")}}, h.Engine)
	}
}

func testClosed(t *testing.T, h *Harness) {
	e := h.Engine
	v := e.NewView()
	noError(t, v.Close())
	noError(t, h.Reopen())
	_, get := e.Get(bare("a"))
	_, iter := e.NewIter(storage.IterOptions{})
	_, view := e.NewView().Get(bare("a"))
	ingest := e.IngestAndExcise(context.Background(), engine.Ingest{Excise: dataSpan("", "")})
	for i, err := range []error{get, iter, view, ingest, e.Commit(batch(bare("a"), nil), true), e.Close()} {
		if !errors.Is(err, engine.ErrClosed) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	same(t, nil, h.Engine)
}

func testIdentity(t *testing.T, h *Harness) {
	if _, err := engine.ReadIdentity(h.Engine); !errors.Is(err, engine.ErrNoIdentity) {
		t.Errorf("new store: %v", err)
	}
	id := engine.Identity{
		ClusterID: [16]byte{1, 2, 3}, StoreID: 4, NodeID: proto.NodeID(5), FormatVersion: engine.FormatVersion,
	}
	noError(t, engine.WriteIdentity(h.Engine, id))
	noError(t, h.Crash(0))
	if got, err := engine.ReadIdentity(h.Engine); err != nil || got != id {
		t.Errorf("identity is %+v, %v", got, err)
	}
	k := keys.Store("ident")
	v, err := h.Engine.Get(k)
	noError(t, err)
	v[len(v)-1]++
	commit(t, h, batch(k, v), true)
	if _, err := engine.ReadIdentity(h.Engine); !errors.Is(err, engine.ErrNewerFormat) {
		t.Errorf("newer store: %v", err)
	}
	commit(t, h, batch(k, v[:9]), true)
	if _, err := engine.ReadIdentity(h.Engine); !errors.Is(err, engine.ErrCorrupt) {
		t.Errorf("torn identity: %v", err)
	}
}
