package raftstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/replica"
)

var errNotWanted = errors.New("the replica did not want the range snapshot any more")

// snapshotStream is the receiver's end of a range snapshot.
type snapshotStream interface {
	Context() context.Context
	Recv() (*internalpb.SnapshotChunk, error)
	Send(*internalpb.SnapshotResponse) error
}

// incoming holds the range snapshots that are on their way in.
type incoming struct {
	s     *Store
	slots chan struct{}

	mu   sync.Mutex
	next uint64
	m    map[uint64]*inbound
}

// inbound is one of them. Its tables are written by the goroutine of its stream and, once that has handed it to the
// core, read by the log writer.
type inbound struct {
	id     uint64
	tables []string
	answer chan replica.Reservation // capacity 1
	done   chan error               // capacity 1
}

// newIncoming removes what a crash left behind.
func newIncoming(s *Store) (*incoming, error) {
	if err := s.cfg.FS.RemoveAll(s.cfg.SnapshotDir); err != nil {
		return nil, fmt.Errorf("clear %s: %w", s.cfg.SnapshotDir, err)
	}
	if err := s.cfg.FS.MkdirAll(s.cfg.SnapshotDir, 0o700); err != nil {
		return nil, fmt.Errorf("make %s: %w", s.cfg.SnapshotDir, err)
	}
	return &incoming{s: s, slots: make(chan struct{}, s.cfg.ReceiveSlots), m: map[uint64]*inbound{}}, nil
}

func (in *incoming) add() *inbound {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.next++
	b := &inbound{id: in.next, answer: make(chan replica.Reservation, 1), done: make(chan error, 1)}
	in.m[b.id] = b
	return b
}

func (in *incoming) get(id uint64) *inbound {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.m[id]
}

func (in *incoming) reserved(r replica.Reservation) {
	if b := in.get(r.Snapshot); b != nil {
		b.answer <- r
	}
}

func (in *incoming) tables(id uint64) []string {
	if b := in.get(id); b != nil {
		return b.tables
	}
	return nil
}

// finish tells the stream what became of its range snapshot.
func (in *incoming) finish(id uint64, err error) {
	if b := in.get(id); b != nil {
		select {
		case b.done <- err:
		default: // it has been told
		}
	}
}

// forget removes an inbound and what is left of its files.
func (in *incoming) forget(b *inbound) {
	in.mu.Lock()
	delete(in.m, b.id)
	in.mu.Unlock()
	for _, t := range b.tables {
		_ = in.s.cfg.FS.Remove(t) // gone already when it was installed; otherwise Open clears the directory
	}
}

// ReceiveSnapshot takes one range snapshot from its stream: it is accepted or refused on its header, before the sender
// makes any data, and answered once it is installed. Memory is one chunk and one table's buffer.
func (s *Store) ReceiveSnapshot(stream snapshotStream) error {
	first, err := stream.Recv()
	if err != nil {
		return fmt.Errorf("receive a range snapshot: %w", err)
	}
	h := first.GetHeader()
	if h.GetMessage() == nil || h.GetState().GetDesc() == nil {
		return errors.New("receive a range snapshot: no header")
	}
	select {
	case s.incoming.slots <- struct{}{}:
		defer func() { <-s.incoming.slots }()
	default:
		return stream.Send(&internalpb.SnapshotResponse{Reason: "all slots are taken", RetryAfterMs: 500})
	}
	b := s.incoming.add()
	defer s.incoming.forget(b)
	id := proto.RangeID(h.Message.RangeId)
	box := s.workerOf(id).box
	box.put(func(c *replica.Core) { c.ReserveSnapshot(b.id, h.Message, h.State) })
	select {
	case r := <-b.answer:
		if !r.Accepted {
			return stream.Send(&internalpb.SnapshotResponse{Reason: r.Reason, RetryAfterMs: 500})
		}
	case <-s.stopped:
		return ErrStopped
	}
	err = stream.Send(&internalpb.SnapshotResponse{Accepted: true})
	if err == nil {
		err = s.receiveTables(stream, b)
	}
	if err != nil {
		box.put(func(c *replica.Core) { c.SnapshotAborted(id, b.id) })
		return fmt.Errorf("receive a snapshot of range %d: %w", id, err)
	}
	message := h.Message
	box.put(func(c *replica.Core) { c.SnapshotReceived(b.id, message) })
	select { // from here on the tables belong to the core: the end of the stream does not end it
	case err := <-b.done:
		if err != nil {
			return stream.Send(&internalpb.SnapshotResponse{Accepted: true, Reason: err.Error()})
		}
		return stream.Send(&internalpb.SnapshotResponse{Accepted: true, Installed: true})
	case <-s.stopped:
		return ErrStopped
	}
}

// receiveTables writes the tables of a range snapshot to files and checks each.
func (s *Store) receiveTables(stream snapshotStream, b *inbound) error {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return fmt.Errorf("make a decoder: %w", err)
	}
	defer dec.Close()
	t := &tableFile{s: s, b: b}
	defer t.abort()
	var buf []byte
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the sender stopped half-way")
		}
		if err != nil {
			return err
		}
		switch k := chunk.Kind.(type) {
		case *internalpb.SnapshotChunk_Data:
			if buf, err = dec.DecodeAll(k.Data, buf[:0]); err != nil {
				return fmt.Errorf("decompress: %w", err)
			}
			err = t.write(buf)
		case *internalpb.SnapshotChunk_TableEnd:
			err = t.finish(k.TableEnd)
		case *internalpb.SnapshotChunk_End:
			if t.file != nil || int(k.End.Tables) != len(b.tables) {
				return fmt.Errorf("%d tables came, %d were sent", len(b.tables), k.End.Tables)
			}
			return nil
		default:
			return errors.New("an unknown chunk")
		}
		if err != nil {
			return err
		}
	}
}

// tableFile is the table that is being received.
type tableFile struct {
	s    *Store
	b    *inbound
	file engine.File
	sum  *xxhash.Digest
	size uint64
}

func (t *tableFile) write(p []byte) error {
	if t.file == nil {
		fs := t.s.cfg.FS
		path := fs.PathJoin(t.s.cfg.SnapshotDir, fmt.Sprintf("in-%d-%d.sst", t.b.id, len(t.b.tables)))
		f, err := engine.CreateFile(fs, path)
		if err != nil {
			return fmt.Errorf("create a table: %w", err)
		}
		t.file, t.sum, t.size = f, xxhash.New(), 0
		t.b.tables = append(t.b.tables, path)
	}
	_, _ = t.sum.Write(p) // a digest never fails
	t.size += uint64(len(p))
	if _, err := t.file.Write(p); err != nil {
		return fmt.Errorf("write a table: %w", err)
	}
	return nil
}

func (t *tableFile) finish(end *internalpb.TableEnd) error {
	if t.file == nil {
		return errors.New("the end of a table without a table")
	}
	f := t.file
	t.file = nil
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("finish a table: %w", err)
	}
	if t.size != end.Bytes || t.sum.Sum64() != end.Xxhash64 {
		return errors.New("a table was damaged on the way")
	}
	return nil
}

func (t *tableFile) abort() {
	if t.file != nil {
		_ = t.file.Close() // the file is removed with its inbound
	}
}
