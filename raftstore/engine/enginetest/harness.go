package enginetest

import (
	"context"
	"testing"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	"github.com/vipkv/vipkv/raftstore/engine"
)

// Harness is an open engine and what a test may do to it.
type Harness struct {
	Engine engine.Engine
	FS     engine.FS // where the engine takes tables from
	Dir    string    // a directory in FS that exists
	// Reopen closes the engine and opens it again.
	Reopen func() error
	// Crash loses what is not durable, opens what is left, and sets Engine and FS. An engine that can choose keeps
	// some of the unsynced batches, as keep, any number >= 0, says.
	Crash func(keep int) error
	// Churn makes the engine move what it holds from memory to files and between files.
	Churn func() error
	// Close frees everything.
	Close func() error

	tables int
}

// Table writes a table of kvs, which are sorted, and returns its path.
func (h *Harness) Table(kvs []KV) (string, error) {
	h.tables++
	path := h.FS.PathJoin(h.Dir, "table-"+string(rune('a'+h.tables%26)))
	f, err := engine.CreateFile(h.FS, path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	w := engine.NewTableWriter(f)
	defer w.Abort()
	for _, kv := range kvs {
		if err := w.Set(kv.Key, kv.Value); err != nil {
			return "", err
		}
	}
	_, err = w.Finish()
	return path, err
}

// Ingest replaces span by kvs in up to two tables, with local beside it.
func (h *Harness) Ingest(span engine.Span, kvs []KV, local *storage.Batch) error {
	in := engine.Ingest{Excise: span, Local: local}
	half := len(kvs) / 2
	for _, part := range [][]KV{kvs[half:], kvs[:half]} { // in the wrong order, and perhaps an empty one
		path, err := h.Table(part)
		if err != nil {
			return err
		}
		in.Tables = append(in.Tables, path)
	}
	return h.Engine.IngestAndExcise(context.Background(), in)
}

func dataSpan(start, end string) engine.Span {
	lower, upper := keys.DataSpan([]byte(start), []byte(end))
	return engine.Span{Start: lower, End: upper}
}

func logSpan(id proto.RangeID, from, to uint64) (start, end []byte) {
	return keys.LogEntry(id, from), keys.LogEntry(id, to)
}

func bare(k string) []byte               { return keys.Data([]byte(k)) }
func version(k string, ts uint64) []byte { return keys.Version([]byte(k), proto.Timestamp(ts)) }

// batch makes a batch of key, value, key, value...
func batch(kv ...[]byte) *storage.Batch {
	var b storage.Batch
	for i := 0; i+1 < len(kv); i += 2 {
		b.Set(kv[i], kv[i+1])
	}
	return &b
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func commit(t testing.TB, h *Harness, b *storage.Batch, sync bool) {
	t.Helper()
	noError(t, h.Engine.Commit(b, sync))
}

// same fails the test when r does not hold exactly m.
func same(t testing.TB, m Model, r storage.Reader) {
	t.Helper()
	diff, err := m.Diff(r)
	noError(t, err)
	if diff != "" {
		t.Fatal(diff)
	}
}
