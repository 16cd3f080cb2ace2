package engine_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	"github.com/vipkv/vipkv/raftstore/engine"
)

func TestStoreDirectory(t *testing.T) {
	marker := engine.Marker
	for _, c := range []struct {
		name  string
		files map[string]string
		want  error
	}{
		{"missing", nil, nil},
		{"empty", map[string]string{}, nil},
		{"of a file system", map[string]string{"lost+found": ""}, nil},
		{"of a first start cut short", map[string]string{marker + ".tmp": "This dir", "LOCK": ""}, nil},
		{"somebody else's", map[string]string{"etcd.db": "x", "LOCK": ""}, engine.ErrForeignDir},
		{"newer", map[string]string{marker: "a store\nformat 7\n"}, engine.ErrNewerFormat},
		{"marker without format", map[string]string{marker: "a store\n"}, engine.ErrCorrupt},
		{"marker with garbage", map[string]string{marker: "format x\n"}, engine.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := engine.MemFS()
			if c.files != nil {
				if err := fs.MkdirAll(storeDir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for name, text := range c.files {
				if err := engine.WriteFile(fs, fs.PathJoin(storeDir, name), []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
			before, _ := fs.List(storeDir)
			if err := engine.CheckDir(fs, storeDir); !errors.Is(err, c.want) {
				t.Errorf("check: %v", err)
			}
			e, err := engine.OpenPebble(storeDir, engine.Options{FS: fs})
			if !errors.Is(err, c.want) {
				t.Fatalf("open: %v", err)
			}
			if err != nil {
				if after, _ := fs.List(storeDir); len(after) != len(before) {
					t.Errorf("a directory that was refused was changed: %v to %v", before, after)
				}
				return
			}
			if err := engine.CheckDir(fs, storeDir); !errors.Is(err, engine.ErrLocked) {
				t.Errorf("check an open store: %v", err)
			}
			if _, err := engine.OpenPebble(storeDir, engine.Options{FS: fs}); !errors.Is(err, engine.ErrLocked) {
				t.Errorf("open an open store: %v", err)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if err := engine.CheckDir(fs, storeDir); err != nil {
				t.Errorf("check a closed store: %v", err)
			}
		})
	}
}

func TestNewerFormatSaysBoth(t *testing.T) {
	err := &engine.NewerFormatError{Found: 7, Supported: 1}
	if text := err.Error(); !strings.Contains(text, "format 7") || !strings.Contains(text, "format 1") {
		t.Error(text)
	}
}

// The real file system: the lock, hard links of ingested tables, and files that are really there.
func TestStoreOnDisk(t *testing.T) {
	fs, dir := engine.DefaultFS(), t.TempDir()+"/a/b"
	o := engine.Options{MemTableBytes: 1 << 20, CacheBytes: 1 << 20}
	e, err := engine.OpenPebble(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.CheckDir(fs, dir); !errors.Is(err, engine.ErrLocked) {
		t.Errorf("check an open store: %v", err)
	}
	path := fs.PathJoin(t.TempDir(), "table")
	f, err := engine.CreateFile(fs, path)
	if err != nil {
		t.Fatal(err)
	}
	k := keys.Data([]byte("k"))
	w := engine.NewTableWriter(f)
	if err := errors.Join(w.Set(k, []byte("v")), finish(w), f.Close()); err != nil {
		t.Fatal(err)
	}
	var local storage.Batch
	local.Set(keys.Local(1, keys.KindApplied), []byte("l"))
	in := engine.Ingest{
		Tables: []string{path}, Local: &local,
		Excise: engine.Span{Start: keys.Data(nil), End: keys.Data([]byte("z"))},
	}
	if err := e.IngestAndExcise(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if m := e.Metrics(); m.DiskTotalBytes == 0 || m.DiskFreeBytes == 0 || m.DiskBytes == 0 || m.Ingests != 1 {
		t.Errorf("metrics: %+v", m)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if e, err = engine.OpenPebble(dir, o); err != nil {
		t.Fatal(err)
	}
	if v, err := e.Get(k); err != nil || string(v) != "v" {
		t.Errorf("get: %q, %v", v, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if text := readFile(t, fs, fs.PathJoin(dir, engine.Marker)); !strings.Contains(string(text), "VIPKV") {
		t.Errorf("marker: %s", text)
	}
}
