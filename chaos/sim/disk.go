package sim

import (
	"context"
	"errors"
	"fmt"

	"github.com/vipkv/vipkv/proto/storage"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// stream is work for the disk that is done in order.
type stream[T any] struct {
	jobs []job[T]
	busy bool
}

type job[T any] struct {
	core *core
	step T
}

// latency is how long the disk takes for a step.
func (s *store) latency(sync bool, stalled int64) int64 {
	lo, hi := 20*us, 300*us
	if sync {
		lo, hi = 200*us, 4*ms
	}
	if s.c.o.SlowDisks {
		hi *= 10
	}
	return tail(s.r, lo, hi) + max(0, stalled-s.c.k.now)
}

// runLog carries out what has gathered: a group of log writes, or one installation. The batch gets into the engine
// when the write begins or when it ends; it is durable when it ends.
func (s *store) runLog() {
	if s.logs.busy || len(s.logs.jobs) == 0 {
		return
	}
	s.logs.busy = true
	n := 1
	for first := &s.logs.jobs[0]; first.step.Install == nil && n < len(s.logs.jobs); n++ {
		if s.logs.jobs[n].step.Install != nil || s.r.IntN(4) == 0 {
			break
		}
	}
	group := s.logs.jobs[:n:n]
	s.logs.jobs = s.logs.jobs[n:]
	var batch storage.Batch
	sync := false
	for i := range group {
		batch.Append(&group[i].step.Batch)
		sync = sync || group[i].step.Sync
	}
	if s.r.IntN(2) == 0 && group[0].step.Install == nil {
		if !s.commit(&batch, false) {
			return
		}
		batch = storage.Batch{}
	}
	s.after(s.latency(sync, s.logStall), "log", func() {
		ok := true
		if in := group[0].step.Install; in != nil {
			ok = s.install(in)
		} else {
			ok = s.commit(&batch, sync)
		}
		if ok {
			s.logDone(group)
		}
	})
}

func (s *store) logDone(group []job[replica.LogStep]) {
	for i := range group {
		j := &group[i]
		s.send(j.step.After)
		if j.step.Install != nil {
			j.core.InstallDone(j.step.Token)
		} else {
			j.core.LogDone(j.step.Token)
		}
		s.pump(j.core)
	}
	s.logs.busy = false
	s.runLog()
}

func (s *store) commit(b *storage.Batch, sync bool) (ok bool) {
	if b.Count() == 0 && !sync {
		return true
	}
	if !s.up { // an earlier write failed, and the process is gone
		return false
	}
	err := s.engine.Commit(b, sync)
	if err != nil {
		s.writeFailed("commit", err)
	}
	return err == nil
}

// writeFailed: a disk that fails, or is found damaged, ends the process; anything else is a bug.
func (s *store) writeFailed(what string, err error) {
	if errors.Is(err, engine.ErrFailed) {
		s.exit(err)
		return
	}
	s.c.k.fail("store %d: %s: %w", s.id, what, err)
}

func (s *store) install(in *replica.Install) (ok bool) {
	tables, ok := s.snaps.take(in.Snapshot)
	if !ok {
		s.c.k.fail("store %d: install of range %d: its tables are gone", s.id, in.Range)
		return false
	}
	if err := s.engine.IngestAndExcise(context.Background(), engine.Ingest{
		Tables: tables, Excise: engine.Span{Start: in.ExciseStart, End: in.ExciseEnd}, Local: &in.Local,
	}); err != nil {
		s.writeFailed(fmt.Sprintf("install of range %d", in.Range), err)
		return false
	}
	s.c.count.installs++
	s.c.nemesis.moment(s, "installed")
	s.c.k.note("store %d installed a snapshot of range %d", s.id, in.Range)
	return true
}

// runApply commits applies as they gather, without a sync.
func (s *store) runApply() {
	if s.applys.busy || len(s.applys.jobs) == 0 {
		return
	}
	s.applys.busy = true
	n := 1
	for n < len(s.applys.jobs) && s.r.IntN(3) > 0 {
		n++
	}
	group := s.applys.jobs[:n:n]
	s.applys.jobs = s.applys.jobs[n:]
	var batch storage.Batch
	for i := range group {
		if !s.commit(&group[i].step.Ahead, false) {
			return
		}
		batch.Append(&group[i].step.Batch)
	}
	if s.r.IntN(2) == 0 {
		if !s.commit(&batch, false) {
			return
		}
		batch = storage.Batch{}
	}
	s.after(s.latency(false, s.applyStall), "apply", func() {
		if !s.commit(&batch, false) {
			return
		}
		for i := range group {
			group[i].core.ApplyDone(group[i].step.Token)
			s.pump(group[i].core)
		}
		s.applys.busy = false
		s.runApply()
	})
}
