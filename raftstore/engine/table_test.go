package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/engine/enginetest"
)

func writeTable(w io.Writer, n int) error {
	t := engine.NewTableWriter(w)
	defer t.Abort()
	for i := range n {
		if err := t.Set(keys.Version(fmt.Appendf(nil, "k%06d", i), 7), bytes.Repeat([]byte{byte(i)}, 100)); err != nil {
			return err
		}
	}
	return finish(t)
}

// A table is made in a buffer, so that it can be sent, and is the same bytes each time, so that it can be resumed.
func TestTableInABuffer(t *testing.T) {
	var a, b bytes.Buffer
	if err := errors.Join(writeTable(&a, 5000), writeTable(&b, 5000)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the same content gave other bytes")
	}
	for _, open := range []func() (*enginetest.Harness, error){openPebble, openMem} {
		h, err := open()
		if err != nil {
			t.Fatal(err)
		}
		path := h.FS.PathJoin(h.Dir, "received")
		if err := engine.WriteFile(h.FS, path, a.Bytes()); err != nil {
			t.Fatal(err)
		}
		in := engine.Ingest{Tables: []string{path}, Excise: engine.Span{Start: keys.Data(nil), End: keys.Data([]byte{0xff})}}
		if err := h.Engine.IngestAndExcise(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		v, err := h.Engine.Get(keys.Version([]byte("k004999"), 7))
		if err != nil || len(v) != 100 {
			t.Errorf("%d bytes, %v", len(v), err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, syscall.ENOSPC
	}
	return len(p), nil
}

func TestTableWriterErrors(t *testing.T) {
	a, b := keys.Data([]byte("a")), keys.Data([]byte("b"))
	for _, c := range []struct{ first, second []byte }{{b, a}, {a, a}, {a, []byte("malformed")}} {
		w := engine.NewTableWriter(io.Discard)
		if err := w.Set(c.first, nil); err != nil {
			t.Fatal(err)
		}
		if err := w.Set(c.second, nil); err == nil {
			t.Errorf("%x after %x is accepted", c.second, c.first)
		}
		if _, err := w.Finish(); err == nil {
			t.Error("finished after an error")
		}
	}
	if err := writeTable(&brokenWriter{left: 50_000}, 5000); !errors.Is(err, engine.ErrDiskFull) {
		t.Errorf("full disk: %v", err)
	}
	w := engine.NewTableWriter(io.Discard)
	w.Abort()
	if _, err := w.Finish(); err == nil {
		t.Error("finished after abort")
	}
}

// A bit flip in a table on disk is an error, never a value, and stops the store.
func TestCorruptTableStopsTheStore(t *testing.T) {
	fs := engine.MemFS()
	var fatal atomic.Int32
	o := engine.Options{FS: fs, CacheBytes: 1 << 20, OnFatal: func(err error) {
		if errors.Is(err, engine.ErrCorrupt) {
			fatal.Add(1)
		}
	}}
	e, err := engine.OpenPebble(storeDir, o)
	if err != nil {
		t.Fatal(err)
	}
	key := keys.Data([]byte("k"))
	var b storage.Batch
	b.Set(key, []byte("the value that must not come back wrong"))
	if err := errors.Join(e.Commit(&b, true), engine.Churn(e, false), e.Close()); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List(storeDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if path := fs.PathJoin(storeDir, n); strings.HasSuffix(n, ".sst") {
			data := readFile(t, fs, path)
			data[bytes.Index(data, []byte("must not"))] ^= 1
			if err := engine.WriteFile(fs, path, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if e, err = engine.OpenPebble(storeDir, o); err != nil {
		t.Fatal(err)
	}
	if v, err := e.Get(key); !errors.Is(err, engine.ErrCorrupt) {
		t.Errorf("get: %q, %v", v, err)
	}
	if err := e.Commit(&b, true); !errors.Is(err, engine.ErrCorrupt) || !errors.Is(err, engine.ErrFailed) {
		t.Errorf("commit after corruption: %v", err)
	}
	if n := fatal.Load(); n != 1 {
		t.Errorf("%d calls of OnFatal", n)
	}
	if err := e.Close(); !errors.Is(err, engine.ErrCorrupt) {
		t.Errorf("close: %v", err)
	}
}
