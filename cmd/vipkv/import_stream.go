package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/proto/rpcerr"
)

// The bounds of one Append.
const (
	importBatchBytes = 256 << 10
	resyncsMax       = 5 // for one batch
)

// importStream carries one conversation on. Position p of the file is record p of the stream: what the stream has
// already is compared at both ends and left alone, the rest is appended on condition that the stream has not moved.
// Owned by one worker.
type importStream struct {
	tenant string
	name   string
	cl     *client.Client
	batch  int // records an Append

	opened   bool
	position uint64 // messages of the file seen so far
	last     uint64 // the stream's last record, as far as is known
	checks   map[uint64]string
	lastID   string // client id at position

	pending      []importMessage // positions last+1 on
	pendingBytes int

	appended   uint64
	duplicates uint64
}

// add takes the next message of the file. It appends when a batch is full.
func (s *importStream) add(ctx context.Context, m importMessage) error {
	if !s.opened {
		if err := s.sync(ctx); err != nil {
			return err
		}
		s.opened = true
	}
	s.position++
	s.lastID = m.clientID
	if s.position <= s.last {
		if err := s.check(s.position, m.clientID); err != nil {
			return err
		}
		s.duplicates++
		return nil
	}
	if len(s.pending) > 0 && s.pendingBytes+len(m.body) > importBatchBytes {
		if err := s.flush(ctx); err != nil {
			return err
		}
	}
	s.pending = append(s.pending, m)
	s.pendingBytes += len(m.body)
	if len(s.pending) >= s.batch {
		return s.flush(ctx)
	}
	return nil
}

// flush appends what is pending. A stream that moved, or an outcome that is not known, is looked at and compared; what
// is there is not appended again.
func (s *importStream) flush(ctx context.Context) error {
	unknown := false
	for resyncs := 0; resyncs < resyncsMax; resyncs++ {
		if len(s.pending) == 0 {
			return nil
		}
		records := make([]client.Record, len(s.pending))
		for i, m := range s.pending {
			records[i] = client.Record{ClientID: m.clientID, Body: m.body}
		}
		last := s.last
		done, err := s.cl.Append(ctx, s.name, records, client.AppendOptions{ExpectLastSeq: &last})
		var conflict *rpcerr.StreamConflictError
		var ambiguous *rpcerr.AmbiguousError
		var full *rpcerr.TailFullError
		switch {
		case errors.As(err, &full):
			if err := wait(ctx, time.Duration(full.RetryAfterMs)*time.Millisecond); err != nil {
				return s.failed(err)
			}
			resyncs--
			continue
		case err == nil:
			if want := s.last + uint64(len(records)); done.LastSeq != want {
				return s.mismatch(want, fmt.Sprintf("the append ended at %d", done.LastSeq))
			}
			s.settle(done.LastSeq, true)
			return nil
		case errors.As(err, &ambiguous) && ctx.Err() == nil:
			unknown = true
		case !errors.As(err, &conflict):
			return s.failed(err)
		}
		if err := s.sync(ctx); err != nil {
			return err
		}
		if s.last == last && conflict != nil {
			return s.failed(err) // it has not moved, so it is another conflict
		}
		if err := s.passed(last, unknown); err != nil {
			return err
		}
	}
	return failf(exitUnavailable, "run the import again: it goes on where it stopped",
		"line %d: conversation %q of tenant %q: the outcome stayed unknown", s.pending[0].line, s.name, s.tenant)
}

// sync learns where the stream is, and which client ids must be at its ends.
func (s *importStream) sync(ctx context.Context) error {
	h, err := s.cl.Head(ctx, s.name)
	if err != nil {
		return s.failed(err)
	}
	before := s.last
	if h.LastSeq < before {
		return s.mismatch(before, fmt.Sprintf("the stream ends at %d, but it was longer before", h.LastSeq))
	}
	s.last = h.LastSeq
	s.checks = make(map[uint64]string, 2)
	for _, seq := range []uint64{before + 1, h.LastSeq} {
		if seq > h.LastSeq || seq < h.FloorSeq || s.checks[seq] != "" {
			continue // not there, or truncated
		}
		if err := s.learn(ctx, seq); err != nil {
			return err
		}
	}
	return nil
}

// learn reads the client id of one record.
func (s *importStream) learn(ctx context.Context, seq uint64) error {
	page, err := s.cl.Read(ctx, s.name, client.ReadOptions{After: seq - 1, Limit: 1})
	if err != nil {
		return s.failed(err)
	}
	if len(page.Records) == 0 || page.Records[0].Seq != seq {
		return s.mismatch(seq, "the record can not be read")
	}
	s.checks[seq] = page.Records[0].ClientID
	if s.checks[seq] == "" {
		return s.mismatch(seq, "the record has no client id")
	}
	return nil
}

// check compares the file with the stream at a position.
func (s *importStream) check(position uint64, clientID string) error {
	if want := s.checks[position]; want != "" && want != clientID {
		return s.mismatch(position, fmt.Sprintf("the file has client id %q, the stream %q", clientID, want))
	}
	return nil
}

// passed compares those of the pending messages that the stream turned out to have, and lets go of them.
func (s *importStream) passed(from uint64, ours bool) error {
	for i, m := range s.pending {
		if p := from + uint64(i) + 1; p <= s.last {
			if err := s.check(p, m.clientID); err != nil {
				return err
			}
		}
	}
	to := s.last
	s.last = from
	s.settle(to, ours)
	return nil
}

// settle lets go of pending messages up to number to, and counts them.
func (s *importStream) settle(to uint64, ours bool) {
	n := min(to-s.last, uint64(len(s.pending)))
	if ours {
		s.appended += n
	} else {
		s.duplicates += n
	}
	for _, m := range s.pending[:n] {
		s.pendingBytes -= len(m.body)
	}
	rest := copy(s.pending, s.pending[n:])
	clear(s.pending[rest:])
	s.pending = s.pending[:rest]
	s.last = to
}

// finish appends the rest. When the stream has more than the file, the file's last message must be in its place.
func (s *importStream) finish(ctx context.Context) error {
	if err := s.flush(ctx); err != nil {
		return err
	}
	if s.position == 0 || s.position >= s.last || s.checks[s.position] != "" {
		return nil
	}
	h, err := s.cl.Head(ctx, s.name)
	if err != nil {
		return s.failed(err)
	}
	if s.position < h.FloorSeq {
		return nil
	}
	if err := s.learn(ctx, s.position); err != nil {
		return err
	}
	return s.check(s.position, s.lastID)
}

// wait returns after d, at least a second, or with the context's error.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(max(d, time.Second))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *importStream) mismatch(position uint64, reason string) error {
	return failf(exitConflict, "it was not written by an import of this file, or the file was changed",
		"conversation %q of tenant %q, position %d: %s", s.name, s.tenant, position, reason)
}

func (s *importStream) failed(err error) error {
	if len(s.pending) > 0 {
		return fmt.Errorf("line %d: conversation %q of tenant %q: %w", s.pending[0].line, s.name, s.tenant, err)
	}
	return fmt.Errorf("conversation %q of tenant %q: %w", s.name, s.tenant, err)
}
