package engine

import "context"

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
