package sim

import (
	"fmt"

	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// snapshots are a store's range snapshots on their way out and in. Tables lie in the store's own file system, which a
// crash empties.
type snapshots struct {
	s    *store
	in   map[uint64]*inbound
	next uint64
}

// outbound is what the sender holds while the receiver decides and receives.
type outbound struct {
	replica.SendSnapshot
	header *internalpb.SnapshotHeader
	rows   storage.Batch
	ended  bool
}

// inbound is what the receiver holds.
type inbound struct {
	id       uint64
	header   *internalpb.SnapshotHeader
	tables   []string
	answer   func(replica.Reservation)
	received bool
}

// snapshotPatience is how long either side waits for the other.
const snapshotPatience = 4 * sec

func newSnapshots(s *store) *snapshots { return &snapshots{s: s, in: map[uint64]*inbound{}} }

// start makes a range snapshot from a view and offers it. The rows are read now and sent when it is accepted.
func (n *snapshots) start(send replica.SendSnapshot) {
	s := n.s
	view := s.engine.NewView()
	defer view.Close()
	out := &outbound{SendSnapshot: send}
	state, err := replica.ReadState(view, send.Range)
	if err != nil { // the replica was destroyed since
		n.end(out, false)
		return
	}
	m, err := replica.SnapshotMessage(send.Template, state)
	if err == nil {
		err = readSpan(view, state.Desc, &out.rows)
	}
	if err != nil {
		s.c.k.fail("store %d: make a snapshot of range %d: %w", s.id, send.Range, err)
		return
	}
	out.header = &internalpb.SnapshotHeader{Message: m, State: state, ApproximateBytes: uint64(out.rows.Len())}
	data, err := gproto.Marshal(out.header)
	if err != nil {
		s.c.k.fail("store %d: encode a snapshot header: %w", s.id, err)
		return
	}
	s.after(snapshotPatience, "snapshot-patience", func() { n.end(out, false) })
	from, boot := int(s.id), s.boots
	to := s.c.store(send.ToStore)
	s.c.net.send(from, int(to.id), "snapshot-offer", data, func(data []byte) {
		to.happen(to.boots, func() {
			to.snaps.offer(data, func(r replica.Reservation) {
				s.c.net.send(int(to.id), from, "snapshot-answer", nil, func([]byte) {
					s.happen(boot, func() { n.answered(out, to, r) })
				})
			})
		})
	})
}

// answered sends the rows, or gives up.
func (n *snapshots) answered(out *outbound, to *store, r replica.Reservation) {
	if out.ended || !r.Accepted {
		n.end(out, false)
		return
	}
	s := n.s
	boot, from := s.boots, int(s.id)
	toBoot := to.boots
	s.after(between(s.r, 1*ms, 300*ms), "snapshot-rows", func() {
		s.c.net.send(from, int(to.id), "snapshot-rows", out.rows.Bytes(), func(rows []byte) {
			to.happen(toBoot, func() {
				ok := to.snaps.receive(r.Snapshot, rows)
				s.c.net.send(int(to.id), from, "snapshot-done", nil, func([]byte) {
					s.happen(boot, func() { n.end(out, ok) })
				})
			})
		})
	})
}

// end tells the core once what became of it.
func (n *snapshots) end(out *outbound, ok bool) {
	if out.ended {
		return
	}
	out.ended = true
	n.s.with(out.Range, func(c *replica.Core) { c.SnapshotSent(out.Range, out.ToReplica, ok) })
}

// offer asks the core for a reservation.
func (n *snapshots) offer(data []byte, answer func(replica.Reservation)) {
	h := &internalpb.SnapshotHeader{}
	if err := gproto.Unmarshal(data, h); err != nil {
		n.s.c.k.fail("store %d: decode a snapshot header: %w", n.s.id, err)
		return
	}
	if !n.s.front.joined { // as for any message
		answer(replica.Reservation{Reason: "the store is not open"})
		return
	}
	n.next++
	in := &inbound{id: n.next, header: h, answer: answer}
	n.in[in.id] = in
	n.s.c.count.offers++
	n.s.with(proto.RangeID(h.Message.RangeId), func(c *replica.Core) { c.ReserveSnapshot(in.id, h.Message, h.State) })
}

func (n *snapshots) reserved(r replica.Reservation) {
	in := n.in[r.Snapshot]
	if in == nil {
		n.s.c.k.fail("store %d: a reservation that nobody asked for", n.s.id)
		return
	}
	in.answer(r)
	if !r.Accepted {
		n.s.c.k.note("store %d refuses a snapshot of range %d: %s", n.s.id, in.header.Message.RangeId, r.Reason)
		delete(n.in, r.Snapshot)
		return
	}
	n.s.after(snapshotPatience, "snapshot-abort", func() {
		if !in.received {
			delete(n.in, in.id)
			id := proto.RangeID(in.header.Message.RangeId)
			n.s.with(id, func(c *replica.Core) { c.SnapshotAborted(id, in.id) })
		}
	})
}

// receive writes the rows into tables and hands the range snapshot to the core.
func (n *snapshots) receive(id uint64, rows []byte) bool {
	in := n.in[id]
	if in == nil || in.received {
		return false
	}
	in.received = true
	var err error
	if in.tables, err = n.write(id, rows); err != nil {
		n.s.c.k.fail("store %d: write tables: %w", n.s.id, err)
		return false
	}
	n.s.c.nemesis.moment(n.s, "received")
	n.s.with(proto.RangeID(in.header.Message.RangeId), func(c *replica.Core) {
		c.SnapshotReceived(id, in.header.Message)
	})
	return true
}

// tableRows is small, so that a range snapshot has several tables.
const tableRows = 50

func (n *snapshots) write(id uint64, rows []byte) (tables []string, err error) {
	b, err := storage.Decode(rows)
	if err != nil {
		return nil, err
	}
	ops := b.Ops()
	for more := b.Count(); more > 0; more -= tableRows {
		path := fmt.Sprintf("snapshot-%d-%d", id, len(tables))
		f, err := engine.CreateFile(n.s.fs, path)
		if err != nil {
			return nil, err
		}
		w := engine.NewTableWriter(f)
		for range min(more, tableRows) {
			op, _, err := ops.Next()
			if err == nil {
				err = w.Set(op.Key, op.Value)
			}
			if err != nil {
				return nil, err
			}
		}
		if _, err := w.Finish(); err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		tables = append(tables, path)
	}
	return tables, nil
}

// take gives the tables to the engine, which removes them.
func (n *snapshots) take(id uint64) ([]string, bool) {
	in := n.in[id]
	delete(n.in, id)
	if in == nil {
		return nil, false
	}
	return in.tables, in.received
}

// drop: the core has no use for it any more. It may be on its way still.
func (n *snapshots) drop(id uint64) { delete(n.in, id) }

// readSpan reads a range's data in the order of the engine.
func readSpan(v storage.Reader, d *internalpb.Descriptor, rows *storage.Batch) error {
	lower, upper := keys.DataSpan(d.Start, d.End)
	it, err := v.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	if err != nil {
		return err
	}
	for ok := it.SeekGE(lower); ok; ok = it.Next() {
		rows.Set(it.Item())
	}
	return it.Close()
}
