package engine

import (
	"context"
	"errors"
)

// Churn flushes the memtable and, at every other call, compacts everything.
func Churn(e Engine, compact bool) error {
	p, ok := e.(*pebbleEngine)
	if !ok {
		return nil
	}
	if err := p.db.Flush(); err != nil || !compact {
		return err
	}
	all := allKeys()
	return p.db.Compact(context.Background(), all.Start, all.End, false)
}

// NewComparer is Pebble's view of the order of keys.
var NewComparer = newComparer

// FrozenFS is fs behind the fence of an engine that has failed, with a file that was opened before.
func FrozenFS(fs FS, path string) (FS, File, error) {
	f := &fence{FS: fs, fail: &failure{failed: make(chan struct{}), notify: func(error) {}}}
	file, err := f.Create(path, "")
	f.fail.set(errors.New("frozen"))
	return f, file, err
}
