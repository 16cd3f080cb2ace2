package raftstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// snapshotChunkBytes is how much of a table is compressed and sent at a time.
const snapshotChunkBytes = 256 << 10

// snapshotStall is how long a range snapshot may stand still: a receiver that is cut off must not hold a slot.
const snapshotStall = 30 * time.Second

type sendJob struct {
	w    *worker
	snap replica.SendSnapshot
}

// startSend queues a range snapshot; where there is no room, raft is told that it failed and asks again later.
func (s *Store) startSend(w *worker, snap replica.SendSnapshot) {
	select {
	case s.sends <- sendJob{w, snap}:
	default:
		w.box.put(func(c *replica.Core) { c.SnapshotSent(snap.Range, snap.ToReplica, false) })
	}
}

// runSends sends range snapshots, one at a time; SendSlots of it run.
func (s *Store) runSends(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-s.sends:
			start := time.Now()
			size, err := s.sendSnapshot(ctx, j.snap)
			attrs := []any{slog.Uint64("range", uint64(j.snap.Range)), slog.Uint64("store", uint64(j.snap.ToStore)),
				slog.Uint64("bytes", size), slog.Duration("took", time.Since(start))}
			if err != nil {
				s.metrics.snapshotsFailed.Inc()
				s.cfg.Logger.Info("range snapshot failed", append(attrs, slog.Any("error", err))...)
				s.pause(ctx, 200*time.Millisecond)
			} else {
				s.metrics.snapshotsSent.Inc()
				s.metrics.snapshotBytes.Add(float64(size))
				s.cfg.Logger.Info("range snapshot sent", attrs...)
			}
			j.w.box.put(func(c *replica.Core) { c.SnapshotSent(j.snap.Range, j.snap.ToReplica, err == nil) })
		}
	}
}

func (s *Store) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// sendSnapshot sends what one view holds of the range: raft's metadata, the state and the data are of that view.
func (s *Store) sendSnapshot(ctx context.Context, snap replica.SendSnapshot) (size uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.SnapshotTimeout)
	defer cancel()
	view := s.NewView()
	defer func() { err = errors.Join(err, view.Close()) }()
	state, err := replica.ReadState(view, snap.Range)
	if err != nil {
		return 0, err
	}
	m, err := replica.SnapshotMessage(snap.Template, state)
	if err != nil {
		return 0, err
	}
	stall := time.AfterFunc(snapshotStall, cancel)
	defer stall.Stop()
	stream, err := s.cfg.Transport.Snapshot(ctx, snap.ToStore)
	if err != nil {
		return 0, err
	}
	send := func(c *internalpb.SnapshotChunk) error {
		stall.Reset(snapshotStall)
		err := stream.Send(c)
		if errors.Is(err, io.EOF) { // the receiver has ended the stream, and says why
			var answer *internalpb.SnapshotResponse
			if answer, err = stream.Recv(); err == nil {
				err = fmt.Errorf("ended by the receiver: %s", answer.Reason)
			}
		}
		return err
	}
	if err := send(&internalpb.SnapshotChunk{Kind: &internalpb.SnapshotChunk_Header{Header: &internalpb.SnapshotHeader{
		Message: m, State: state, ApproximateBytes: state.Bytes}}}); err != nil {
		return 0, err
	}
	answer, err := stream.Recv()
	if err != nil {
		return 0, err
	}
	if !answer.Accepted {
		return 0, fmt.Errorf("refused: %s", answer.Reason)
	}
	x := &exporter{s: s, ctx: ctx, send: send, began: time.Now()}
	if size, err = x.export(view, state.Desc); err != nil {
		return size, err
	}
	stall.Reset(snapshotStall)
	if answer, err = stream.Recv(); err != nil {
		return size, err
	}
	if !answer.Installed {
		return size, fmt.Errorf("not installed: %s", answer.Reason)
	}
	return size, stream.CloseSend()
}

// exporter cuts a span into tables and sends them. It is the table writer's output: what is written is hashed,
// compressed and sent in chunks, at a bounded rate; nothing but the current chunk and the table's index is held.
type exporter struct {
	s     *Store
	ctx   context.Context
	send  func(*internalpb.SnapshotChunk) error
	began time.Time

	enc    *zstd.Encoder
	buf    []byte
	sum    *xxhash.Digest
	table  uint64 // bytes of the current table
	total  uint64
	tables uint32
}

func (x *exporter) export(view storage.View, d *internalpb.Descriptor) (uint64, error) {
	var err error
	x.enc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(snapshotChunkBytes))
	if err != nil {
		return 0, fmt.Errorf("make an encoder: %w", err)
	}
	if err := x.walk(view, d); err != nil {
		return x.total, err
	}
	return x.total, x.send(&internalpb.SnapshotChunk{Kind: &internalpb.SnapshotChunk_End{
		End: &internalpb.SnapshotEnd{Tables: x.tables}}})
}

func (x *exporter) walk(view storage.View, d *internalpb.Descriptor) (err error) {
	lower, upper := keys.DataSpan(d.Start, d.End)
	it, err := view.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var w *engine.TableWriter
	defer func() {
		if w != nil {
			w.Abort()
		}
	}()
	for ok := it.SeekGE(lower); ok; ok = it.Next() {
		k, v := it.Item()
		if w == nil {
			x.sum, x.table = xxhash.New(), 0
			w = engine.NewTableWriter(x)
		}
		if err := w.Set(k, v); err != nil {
			return err
		}
		if w.Size() >= x.s.cfg.SnapshotTableBytes {
			if err := x.finish(w); err != nil {
				return err
			}
			w = nil
		}
	}
	if w != nil {
		err := x.finish(w)
		w = nil
		return err
	}
	return nil
}

func (x *exporter) finish(w *engine.TableWriter) error {
	if _, err := w.Finish(); err != nil {
		return err
	}
	if err := x.flush(); err != nil {
		return err
	}
	x.tables++
	return x.send(&internalpb.SnapshotChunk{Kind: &internalpb.SnapshotChunk_TableEnd{
		TableEnd: &internalpb.TableEnd{Bytes: x.table, Xxhash64: x.sum.Sum64()}}})
}

// Write implements io.Writer for the table writer.
func (x *exporter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(len(p), snapshotChunkBytes-len(x.buf))
		x.buf = append(x.buf, p[:take]...)
		p = p[take:]
		if len(x.buf) == snapshotChunkBytes {
			if err := x.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (x *exporter) flush() error {
	if len(x.buf) == 0 {
		return nil
	}
	_, _ = x.sum.Write(x.buf) // a digest never fails
	x.table += uint64(len(x.buf))
	x.total += uint64(len(x.buf))
	packed := x.enc.EncodeAll(x.buf, nil) // the stream keeps what it is given
	x.buf = x.buf[:0]
	if err := x.send(&internalpb.SnapshotChunk{Kind: &internalpb.SnapshotChunk_Data{Data: packed}}); err != nil {
		return err
	}
	due := time.Duration(float64(x.total) / float64(x.s.cfg.SnapshotBytesPerSecond) * float64(time.Second))
	if ahead := due - time.Since(x.began); ahead > 0 {
		x.s.pause(x.ctx, ahead)
	}
	return x.ctx.Err()
}
