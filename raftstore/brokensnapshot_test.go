package raftstore_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
	"go.etcd.io/raft/v3/raftpb"
	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/raftstoretest"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// sentChunks is the receiver's end of a stream on which these chunks come and then err.
type sentChunks struct {
	ctx     context.Context
	chunks  []*internalpb.SnapshotChunk
	err     error
	answers []*internalpb.SnapshotResponse
}

func (s *sentChunks) Context() context.Context { return s.ctx }

func (s *sentChunks) Recv() (*internalpb.SnapshotChunk, error) {
	if len(s.chunks) == 0 {
		return nil, s.err
	}
	c := s.chunks[0]
	s.chunks = s.chunks[1:]
	return c, nil
}

func (s *sentChunks) Send(r *internalpb.SnapshotResponse) error {
	s.answers = append(s.answers, r)
	return nil
}

// newRange is a range snapshot of a range that is new to store 2: header, one table, its end, the end.
func newRange(t *testing.T) []*internalpb.SnapshotChunk {
	t.Helper()
	d := &internalpb.Descriptor{RangeId: 99, Start: raftstoretest.UserStart, Epoch: &internalpb.Epoch{Version: 1, Conf: 1},
		Replicas:      []*internalpb.Replica{{StoreId: 1, ReplicaId: 1}, {StoreId: 2, ReplicaId: 2}},
		NextReplicaId: 3}
	state := &internalpb.RangeState{Desc: d, AppliedIndex: 50, AppliedTerm: 6, ApplyVersion: 1, ReplicaId: 1}
	snap := raftpb.MsgSnap
	rm := &raftpb.Message{Type: &snap, From: gproto.Uint64(1), To: gproto.Uint64(2), Term: gproto.Uint64(6)}
	data, err := gproto.Marshal(rm)
	if err != nil {
		t.Fatal(err)
	}
	m, err := replica.SnapshotMessage(&internalpb.RaftMessage{
		RangeId: 99, FromStore: 1, FromReplica: 1, ToStore: 2, ToReplica: 2, Message: data}, state)
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	w := engine.NewTableWriter(&table)
	if err := w.Set(keys.Version(raftstoretest.Key("a"), 7), []byte("value")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return []*internalpb.SnapshotChunk{
		{Kind: &internalpb.SnapshotChunk_Header{Header: &internalpb.SnapshotHeader{Message: m, State: state}}},
		{Kind: &internalpb.SnapshotChunk_Data{Data: enc.EncodeAll(table.Bytes(), nil)}},
		{Kind: &internalpb.SnapshotChunk_TableEnd{TableEnd: &internalpb.TableEnd{
			Bytes: uint64(table.Len()), Xxhash64: xxhash.Sum64(table.Bytes())}}},
		{Kind: &internalpb.SnapshotChunk_End{End: &internalpb.SnapshotEnd{Tables: 1}}},
	}
}

// A range snapshot that breaks off or is damaged on its way is never installed: nothing of it stays, and the next one
// is taken.
func TestBrokenSnapshotIsNotInstalled(t *testing.T) {
	for name, spoil := range map[string]func([]*internalpb.SnapshotChunk) []*internalpb.SnapshotChunk{
		"breaks off after the header": func(c []*internalpb.SnapshotChunk) []*internalpb.SnapshotChunk { return c[:1] },
		"breaks off in a table":       func(c []*internalpb.SnapshotChunk) []*internalpb.SnapshotChunk { return c[:2] },
		"breaks off before its end":   func(c []*internalpb.SnapshotChunk) []*internalpb.SnapshotChunk { return c[:3] },
		"damaged": func(c []*internalpb.SnapshotChunk) []*internalpb.SnapshotChunk {
			c[2].GetTableEnd().Xxhash64++
			return c
		},
		"garbage": func(c []*internalpb.SnapshotChunk) []*internalpb.SnapshotChunk {
			c[1].GetData()[3] ^= 0xFF
			return c
		},
		"a table is missing": func(c []*internalpb.SnapshotChunk) []*internalpb.SnapshotChunk {
			c[3].GetEnd().Tables = 2
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := raftstoretest.New(t, raftstoretest.Options{Stores: 2})
			store := c.Node(2).Store()
			broken := &sentChunks{ctx: t.Context(), chunks: spoil(newRange(t)), err: io.EOF}
			if err := store.ReceiveSnapshot(broken); err == nil {
				t.Errorf("it was taken: %v", broken.answers)
			}
			if st, ok := store.Status(99); ok && st.Descriptor != nil {
				t.Fatalf("it was installed: %+v", st)
			}
			if _, err := c.Node(2).Engine().Get(keys.Local(proto.RangeID(99), keys.KindApplied)); err == nil {
				t.Fatal("its state is in the engine")
			}
			whole := &sentChunks{ctx: t.Context(), chunks: newRange(t), err: io.EOF}
			c.WaitNil("the next one is taken", func() error {
				whole.chunks = newRange(t)
				return store.ReceiveSnapshot(whole)
			})
			if last := whole.answers[len(whole.answers)-1]; !last.Installed {
				t.Errorf("the next one: %v", last)
			}
		})
	}
}
