package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/cockroachdb/pebble/v2"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
)

// item is a key and its value. The value nil, in localRun, is a tombstone.
type item struct{ key, value []byte }

// plan is a checked Ingest. It shares no memory with it.
type plan struct {
	span   Span
	given  []string // paths
	tables []table  // sorted, without empty ones
	local  []localRun
}

// localRun is what Ingest.Local amounts to on one side of the excised span.
type localRun struct {
	dels  []Span // sorted, disjoint: what is removed first
	items []item // sorted: then set, or, where the value is nil, removed
}

// planIngest checks in (read reads the tables too). Both engines use it, so they refuse the same.
func planIngest(ctx context.Context, fs FS, in Ingest, read bool) (plan, error) {
	var p plan
	start, end := in.Excise.Start, in.Excise.End
	if validateKey(start) != nil || validateKey(end) != nil || compare(start, end) >= 0 ||
		keys.Split(start) != len(start) || keys.Split(end) != len(end) {
		return p, fmt.Errorf("%w: excised span is empty or has a suffix", ErrBadIngest)
	}
	p.span = Span{slices.Clone(in.Excise.Start), slices.Clone(in.Excise.End)}
	p.given = slices.Clone(in.Tables)
	for _, path := range p.given {
		t, err := readTable(ctx, fs, path, read)
		if err != nil {
			return p, err
		}
		if t.first == nil {
			continue
		}
		if !in.Excise.Contains(t.first) || !in.Excise.Contains(t.last) {
			return p, fmt.Errorf("%w: table %s has keys outside the excised span", ErrBadIngest, path)
		}
		p.tables = append(p.tables, t)
	}
	slices.SortFunc(p.tables, func(a, b table) int { return compare(a.first, b.first) })
	for i := 1; i < len(p.tables); i++ {
		if a, b := p.tables[i-1], p.tables[i]; compare(a.last, b.first) >= 0 {
			return p, fmt.Errorf("%w: tables %s and %s overlap", ErrBadIngest, a.path, b.path)
		}
	}
	var err error
	p.local, err = planLocal(in)
	return p, err
}

// planLocal splits in.Local at the excised span: ingested tables, and the bounds of one with both sides would, must
// not overlap.
func planLocal(in Ingest) ([]localRun, error) {
	if in.Local == nil || in.Local.Count() == 0 {
		return nil, nil
	}
	if err := checkBatch(in.Local); err != nil {
		return nil, fmt.Errorf("%w: local: %w", ErrBadIngest, err)
	}
	var below, above storage.Batch
	for r := in.Local.Ops(); ; {
		op, ok, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("%w: local: %w", ErrBadIngest, err)
		}
		if !ok {
			break
		}
		end := op.Key // last key touched, exclusive for a range
		if op.Kind == storage.OpDeleteRange {
			end = op.Value
			if compare(op.Key, end) >= 0 {
				continue
			}
		}
		side := &below
		switch {
		case compare(op.Key, in.Excise.End) >= 0:
			side = &above
		case op.Kind == storage.OpDeleteRange && compare(end, in.Excise.Start) <= 0:
		case op.Kind != storage.OpDeleteRange && compare(op.Key, in.Excise.Start) < 0:
		default:
			return nil, fmt.Errorf("%w: local touches the excised span", ErrBadIngest)
		}
		switch op.Kind {
		case storage.OpSet:
			side.Set(op.Key, op.Value)
		case storage.OpDelete:
			side.Delete(op.Key)
		case storage.OpDeleteRange:
			side.DeleteRange(op.Key, end)
		}
	}
	var runs []localRun
	for _, b := range []*storage.Batch{&below, &above} {
		if b.Count() > 0 {
			runs = append(runs, flatten(b))
		}
	}
	return runs, nil
}

// flatten turns a batch, whose writes are in order, into one where all ranges are removed first: in a table all
// entries have one sequence number, and a range tombstone removes only what is older than itself.
func flatten(b *storage.Batch) localRun {
	var run localRun
	for r := b.Ops(); ; {
		op, ok, err := r.Next()
		if err != nil || !ok { // b was built by Set, Delete and DeleteRange
			break
		}
		switch op.Kind {
		case storage.OpSet:
			run.items = append(run.items, item{op.Key, append([]byte{}, op.Value...)})
		case storage.OpDelete:
			run.items = append(run.items, item{op.Key, nil})
		case storage.OpDeleteRange:
			s := Span{op.Key, op.Value}
			run.items = slices.DeleteFunc(run.items, func(i item) bool { return s.Contains(i.key) })
			run.dels = append(run.dels, s)
		}
	}
	slices.SortStableFunc(run.items, func(a, b item) int { return compare(a.key, b.key) })
	last := run.items[:0]
	for i, it := range run.items { // of equal keys the last write stays
		if i+1 == len(run.items) || compare(it.key, run.items[i+1].key) != 0 {
			last = append(last, it)
		}
	}
	run.items = last
	slices.SortFunc(run.dels, func(a, b Span) int { return compare(a.Start, b.Start) })
	var joined []Span
	for _, s := range run.dels {
		if n := len(joined); n > 0 && compare(s.Start, joined[n-1].End) <= 0 {
			if compare(s.End, joined[n-1].End) > 0 {
				joined[n-1].End = s.End
			}
			continue
		}
		joined = append(joined, s)
	}
	run.dels = joined
	return run
}

// IngestAndExcise implements Engine (I3). The tables are linked into the store's directory, and either the log or the
// manifest names them, the excise and the tables of local records together.
func (e *pebbleEngine) IngestAndExcise(ctx context.Context, in Ingest) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := planIngest(ctx, e.opts.FS, in, false)
	if err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	if err = e.result(e.guard(func() error { return e.ingest(ctx, p) })); err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	return nil
}

func (e *pebbleEngine) ingest(ctx context.Context, p plan) (err error) {
	paths := make([]string, 0, len(p.tables)+len(p.local))
	for _, t := range p.tables {
		paths = append(paths, t.path)
	}
	var local []string
	defer func() {
		if err != nil {
			err = errors.Join(err, removeFiles(e.opts.FS, local))
		}
	}()
	for _, run := range p.local {
		n := localTablePrefix + strconv.FormatUint(e.ingests.Add(1), 10)
		path := e.opts.FS.PathJoin(e.dir, n)
		local = append(local, path)
		if err := writeLocal(e.opts.FS, path, run); err != nil {
			return err
		}
	}
	if err := e.barrier(true); err != nil || e.fail.get() != nil {
		return err
	}
	paths = append(paths, local...)
	err = e.exclude(func() error {
		span := pebble.KeyRange{Start: p.span.Start, End: p.span.End}
		_, err := e.db.IngestAndExcise(ctx, paths, nil, nil, span)
		return err
	})
	if err != nil || e.fail.get() != nil {
		return err
	}
	return removeFiles(e.opts.FS, p.given) // empty ones, and what Pebble could not remove
}

func removeFiles(fs FS, paths []string) error {
	var all error
	for _, p := range paths {
		if err := fs.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			all = errors.Join(all, err)
		}
	}
	return all
}

// writeLocal writes the table of one run.
func writeLocal(fs FS, path string, run localRun) (err error) {
	f, err := CreateFile(fs, path)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	t := NewTableWriter(f)
	defer t.Abort()
	for _, s := range run.dels {
		if err := t.w.DeleteRange(s.Start, s.End); err != nil {
			return err
		}
	}
	for _, i := range run.items {
		if i.value == nil {
			err = t.w.Delete(i.key)
		} else {
			err = t.w.Set(i.key, i.value)
		}
		if err != nil {
			return err
		}
	}
	_, err = t.Finish()
	return err
}
