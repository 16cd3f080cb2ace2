package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// TableWriter writes one sorted table, which both engines ingest. It holds a block, the index and 4 bytes a prefix for
// the filter in memory: cut a long run into tables of, say, 64 MiB. Finish or Abort must be called.
type TableWriter struct {
	w    *sstable.Writer
	out  *tableOutput
	err  error
	done bool
}

// NewTableWriter returns a writer of a table to w. When w has a method Sync() error, Finish calls it: a table must be
// durable before it is ingested. w is not closed. w must not keep the slices that it is given.
func NewTableWriter(w io.Writer) *TableWriter {
	o := tableOptions(DefaultFS())
	o.EnsureDefaults()
	out := &tableOutput{w: w}
	// Level 0, not the last: there Pebble takes tombstones for obsolete and hides them.
	wo := o.MakeWriterOptions(0, pebble.FormatNewest.MaxTableFormat())
	return &TableWriter{w: sstable.NewWriter(out, wo), out: out}
}

// Set adds a key, which is greater than all before it. An error is final.
func (t *TableWriter) Set(key, value []byte) error {
	if t.err == nil {
		t.err = validateKey(key)
	}
	if t.err == nil && t.w.Raw().ComparePrev(key) <= 0 {
		t.err = fmt.Errorf("table: key is not greater than the one before")
	}
	if t.err == nil {
		t.err = classify(t.w.Set(key, value))
	}
	return t.err
}

// Size is about how many bytes the table would have if it were finished now.
func (t *TableWriter) Size() int64 { return int64(t.w.Raw().EstimatedSize()) }

// Finish completes the table and returns its size in bytes.
func (t *TableWriter) Finish() (int64, error) {
	if t.err != nil {
		t.Abort()
		return 0, t.err
	}
	if t.done {
		return 0, errors.New("table: finished twice")
	}
	t.done = true
	if err := t.w.Close(); err != nil {
		return 0, fmt.Errorf("finish table: %w", classify(err))
	}
	return t.out.size, nil
}

// Abort frees the writer. What was written is not a table. After Finish or Abort it does nothing.
func (t *TableWriter) Abort() {
	if t.done {
		return
	}
	t.done, t.out.aborted = true, true
	_ = t.w.Close() // fails with errAborted
}

var errAborted = errors.New("table: aborted")

// tableOutput is an objstorage.Writable on an io.Writer.
type tableOutput struct {
	w       io.Writer
	size    int64
	aborted bool
}

func (o *tableOutput) Write(p []byte) error {
	if o.aborted {
		return errAborted
	}
	n, err := o.w.Write(p)
	o.size += int64(n)
	return err
}

func (o *tableOutput) Finish() error {
	if s, ok := o.w.(interface{ Sync() error }); ok {
		return s.Sync()
	}
	return nil
}

func (o *tableOutput) Abort() {}

// table is what is known of a table to ingest.
type table struct {
	path        string
	first, last []byte // nil for an empty table
	items       []item // filled on request
}

// readTable opens the table at path and checks that TableWriter made it: sets only. When all is set, it reads it.
func readTable(ctx context.Context, fs FS, path string, all bool) (t table, err error) {
	t.path = path
	defer func() {
		if err != nil {
			err = fmt.Errorf("table %s: %w", path, classify(err))
		}
	}()
	o := tableOptions(fs)
	o.EnsureDefaults()
	if err := checkProperties(ctx, fs, path, o); err != nil {
		return t, err
	}
	f, err := fs.Open(path)
	if err != nil {
		return t, err
	}
	it, err := pebble.NewExternalIterWithContext(ctx, o, nil, [][]sstable.ReadableFile{{f}})
	if err != nil {
		return t, errors.Join(err, f.Close())
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	if it.Last() {
		t.last = slices.Clone(it.Key())
	}
	for ok := it.First(); ok; ok = it.Next() {
		if t.first == nil {
			t.first = slices.Clone(it.Key())
		}
		if !all {
			break
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return t, err
		}
		t.items = append(t.items, item{slices.Clone(it.Key()), slices.Clone(v)})
	}
	return t, it.Error()
}

func checkProperties(ctx context.Context, fs FS, path string, o *pebble.Options) error {
	f, err := fs.Open(path)
	if err != nil {
		return err
	}
	in, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r, err := sstable.NewReader(ctx, in, o.MakeReaderOptions())
	if err != nil {
		return errors.Join(err, in.Close())
	}
	p, err := r.ReadPropertiesBlock(ctx, nil)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	if p.NumDeletions+p.NumRangeDeletions+p.NumRangeKeyDels+p.NumRangeKeySets+p.NumMergeOperands > 0 {
		return fmt.Errorf("%w: table holds more than sets", ErrBadIngest)
	}
	return nil
}
