package raftstore

import "sync/atomic"

// slowDisk remembers that log writes hang on this store and not on others.
type slowDisk struct {
	times atomic.Uint64
	armed atomic.Bool
	wake  atomic.Pointer[chan<- struct{}]
}

// NoteSlowDisk takes in Effects.SlowDisk.
func (s *Calls) NoteSlowDisk() {
	s.slowDisk.times.Add(1)
	if w := s.slowDisk.wake.Load(); w != nil && s.slowDisk.armed.CompareAndSwap(true, false) {
		select {
		case *w <- struct{}{}:
		default:
		}
	}
}

// SlowDisk counts the ticks at which log writes were overdue on this store and done on others.
func (s *Calls) SlowDisk() uint64 { return s.slowDisk.times.Load() }

// TellSlowDisk has wake signalled when SlowDisk next grows, once. wake has room for one.
func (s *Calls) TellSlowDisk(wake chan<- struct{}) {
	s.slowDisk.wake.Store(&wake)
	s.slowDisk.armed.Store(true)
}
