package enginetest

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	"github.com/vipkv/vipkv/raftstore/engine"
)

func testIngest(t *testing.T, h *Harness) {
	one := []byte("1")
	commit(t, h, batch(bare("a"), one, bare("b"), one, version("c", 3), one, bare("d"), one), false)
	noError(t, h.Churn())
	commit(t, h, batch(bare("bb"), []byte("1")), false)
	noError(t, h.Ingest(dataSpan("b", "d"), []KV{
		{version("b", 9), []byte("2")}, {version("b", 8), []byte("2")}, {bare("cc"), []byte("2")},
	}, nil))
	want := Model{
		{bare("a"), []byte("1")}, {version("b", 9), []byte("2")}, {version("b", 8), []byte("2")},
		{bare("cc"), []byte("2")}, {bare("d"), []byte("1")},
	}
	same(t, want, h.Engine)
	commit(t, h, batch(bare("cc"), []byte("3")), false) // newer than the table
	want[3].Value = []byte("3")
	same(t, want, h.Engine)
	noError(t, h.Churn())
	same(t, want, h.Engine)
	noError(t, h.Ingest(dataSpan("", ""), nil, nil)) // only the excise
	same(t, nil, h.Engine)
	names, err := h.FS.List(h.Dir)
	noError(t, err)
	for _, n := range names {
		if len(n) > 5 && n[:5] == "table" {
			t.Errorf("table file %s is still there", n)
		}
	}
}

// testIngestLocal installs a range snapshot: the user span, the range's local state and the reset of its log.
func testIngestLocal(t *testing.T, h *Harness) {
	var m Model
	for i := uint64(1); i <= 20; i++ {
		other := []byte("other")
		b := batch(keys.LogEntry(5, i), []byte("old"), keys.LogEntry(4, i), other, keys.LogEntry(6, i), other)
		commit(t, h, b, i%3 == 0)
		m = m.Apply(b)
		if i == 10 {
			noError(t, h.Churn())
		}
	}
	b := batch(keys.Local(5, keys.KindApplied), []byte("old"), bare("x"), []byte("old"), version("xx", 3), []byte("old"))
	commit(t, h, b, false)
	m = m.Apply(b)

	var local storage.Batch
	local.DeleteRange(logSpan(5, 0, 1<<64-1))
	local.Set(keys.LogEntry(5, 100), []byte("new"))
	local.Set(keys.Local(5, keys.KindApplied), []byte("new"))
	local.Set(keys.Local(5, keys.KindTruncated), []byte("new"))
	local.Set(keys.Store("beside"), []byte("new"))
	var all storage.Batch
	all.DeleteRange(bare("x"), bare("y"))
	all.Set(version("x", 7), []byte("new"))
	all.Append(&local)
	noError(t, h.Ingest(dataSpan("x", "y"), []KV{{version("x", 7), []byte("new")}}, &local))
	m = m.Apply(&all)
	same(t, m, h.Engine)
	noError(t, h.Crash(0))
	same(t, m, h.Engine)
	noError(t, h.Churn())
	same(t, m, h.Engine)
	// The tombstones of the ingest do not reach what is written after it.
	b = batch(keys.LogEntry(5, 101), []byte("next"), keys.LogEntry(5, 7), []byte("next"))
	commit(t, h, b, true)
	noError(t, h.Churn())
	same(t, m.Apply(b), h.Engine)
}

func testIngestLocalOrder(t *testing.T, h *Harness) {
	log := batch(keys.LogEntry(1, 1), nil, keys.LogEntry(1, 5), nil, keys.LogEntry(9, 1), nil)
	log.Set(bare("zz"), nil)
	commit(t, h, log, false)
	var local storage.Batch
	local.Set(keys.LogEntry(1, 2), []byte("gone"))
	local.DeleteRange(logSpan(1, 2, 9))
	local.DeleteRange(logSpan(1, 0, 3)) // overlaps the one before
	local.DeleteRange(logSpan(1, 9, 9)) // empty
	local.Set(keys.LogEntry(1, 3), []byte("first"))
	local.Set(keys.LogEntry(1, 3), []byte("last"))
	local.Set(keys.LogEntry(9, 1), []byte("gone"))
	local.Delete(keys.LogEntry(9, 1))
	local.Set(bare("zz"), []byte("above"))
	local.DeleteRange(bare("zzz"), bare("zzzz"))
	noError(t, h.Ingest(dataSpan("a", "z"), []KV{{bare("k"), nil}}, &local))
	want := Model{{keys.LogEntry(1, 3), []byte("last")}, {bare("k"), nil}, {bare("zz"), []byte("above")}}
	same(t, want, h.Engine)
	noError(t, h.Churn())
	same(t, want, h.Engine)
}

func testBadIngest(t *testing.T, h *Harness) {
	commit(t, h, batch(bare("a"), []byte("1"), keys.Local(1, 'a'), []byte("1")), true)
	table := func(kvs ...KV) string {
		path, err := h.Table(kvs)
		noError(t, err)
		return path
	}
	inside, outside := table(KV{bare("b"), nil}, KV{bare("c"), nil}), table(KV{bare("y"), nil})
	overlap := table(KV{bare("bb"), nil})
	torn := h.FS.PathJoin(h.Dir, "torn")
	noError(t, engine.WriteFile(h.FS, torn, []byte("this is not a table at all, but it is long enough to have a footer")))
	var straddle, within storage.Batch
	straddle.DeleteRange(keys.Local(1, 'a'), bare("c"))
	within.Set(bare("b"), nil)
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	span := dataSpan("a", "x")
	suffixed := engine.Span{Start: version("a", 1), End: bare("b")}
	inverted := engine.Span{Start: bare("b"), End: bare("a")}
	for _, c := range []struct {
		name string
		ctx  context.Context
		in   engine.Ingest
		want error
	}{
		{"no span", nil, engine.Ingest{Tables: []string{inside}}, engine.ErrBadIngest},
		{"span with a suffix", nil, engine.Ingest{Excise: suffixed}, engine.ErrBadIngest},
		{"span upside down", nil, engine.Ingest{Excise: inverted}, engine.ErrBadIngest},
		{"table outside", nil, engine.Ingest{Tables: []string{inside, outside}, Excise: span}, engine.ErrBadIngest},
		{"tables overlap", nil, engine.Ingest{Tables: []string{inside, overlap}, Excise: span}, engine.ErrBadIngest},
		{"local straddles", nil, engine.Ingest{Excise: span, Local: &straddle}, engine.ErrBadIngest},
		{"local within", nil, engine.Ingest{Excise: span, Local: &within}, engine.ErrBadIngest},
		{"no table", nil, engine.Ingest{Tables: []string{h.FS.PathJoin(h.Dir, "none")}, Excise: span}, os.ErrNotExist},
		{"torn table", nil, engine.Ingest{Tables: []string{torn}, Excise: span}, engine.ErrCorrupt},
		{"cancelled", cancelled, engine.Ingest{Tables: []string{inside}, Excise: span}, context.Canceled},
	} {
		ctx := c.ctx
		if ctx == nil {
			ctx = context.Background()
		}
		if err := h.Engine.IngestAndExcise(ctx, c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		same(t, Model{{keys.Local(1, 'a'), []byte("1")}, {bare("a"), []byte("1")}}, h.Engine)
	}
	noError(t, h.Engine.IngestAndExcise(context.Background(), engine.Ingest{Tables: []string{inside}, Excise: span}))
}

func testCrash(t *testing.T, h *Harness) {
	var past History
	past.Add(nil, true)
	for i := range uint64(60) {
		sync := i%7 == 6
		b := batch(keys.LogEntry(1, i), []byte("entry"), keys.Local(1, 'a'), []byte{byte(i)})
		commit(t, h, b, sync)
		past.Add(past.Now().Apply(b), sync)
		if i%11 == 10 {
			noError(t, h.Crash(int(i)))
			m, err := past.Survivor(h.Engine)
			noError(t, err)
			past = History{States: []Model{m}}
		}
	}
}

func testBarrier(t *testing.T, h *Harness) {
	b := batch(bare("a"), []byte("1"))
	commit(t, h, b, false)
	commit(t, h, &storage.Batch{}, false)
	commit(t, h, &storage.Batch{}, true)
	commit(t, h, batch(bare("b"), []byte("1")), false)
	past := History{States: []Model{nil}}
	past.Add(Model{}.Apply(b), true)
	past.Add(Model{{bare("a"), []byte("1")}, {bare("b"), []byte("1")}}, false)
	noError(t, h.Crash(0))
	_, err := past.Survivor(h.Engine)
	noError(t, err)
}

func testIngestCrash(t *testing.T, h *Harness) {
	for _, churn := range []bool{false, true} { // the span in memory, and in files
		before := batch(bare("before"), []byte("1"), bare("m"), []byte("old"), keys.Local(1, 'a'), []byte("1"))
		commit(t, h, before, false)
		if churn {
			noError(t, h.Churn())
		}
		commit(t, h, batch(keys.Local(2, 'a'), []byte("1")), false) // not in the span
		table, local := []KV{{version("m", 1), []byte("new")}}, batch(keys.Local(1, 'a'), []byte("2"))
		noError(t, h.Ingest(dataSpan("m", "n"), table, local))
		noError(t, h.Crash(0))
		same(t, Model{
			{keys.Local(1, 'a'), []byte("2")}, {keys.Local(2, 'a'), []byte("1")},
			{bare("before"), []byte("1")}, {version("m", 1), []byte("new")},
		}, h.Engine)
		noError(t, h.Ingest(dataSpan("", ""), nil, nil))
		var b storage.Batch
		b.DeleteRange(keys.AllLocal())
		commit(t, h, &b, true)
	}
}
