package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/raft/v3"
	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/engine"
)

// world is a few stores, each with two cores and an in-memory engine, and the messages between them. Nothing happens
// by itself: stories say what does.
type world struct {
	cfg    Config
	stores map[proto.StoreID]*testStore
	cut    map[[2]proto.StoreID]bool
	caught map[[2]proto.StoreID][]*internalpb.RaftMessage // links that hold messages back
	wire   []*internalpb.RaftMessage
	out    strings.Builder
	next   uint64
	busy   bool // a core was given something while effects were taken
}

type testStore struct {
	w      *world
	id     proto.StoreID
	disk   *engine.MemDisk
	fs     engine.FS
	engine engine.Engine
	spans  *SpanTable
	cores  []*Core
	up     bool
	logs   []queued[LogStep]
	applys []queued[ApplyStep]
	// handoffs are between the cores of the store.
	handoffs []Handoff
	held     map[string]bool // "log", "apply", "handoff", "snapshot"
	snaps    []SendSnapshot
	tables   map[uint64][]string
	offers   map[uint64]*offered
	status   map[proto.RangeID]Status
}

type queued[T any] struct {
	core *Core
	step T
}

type offered struct {
	m    *internalpb.RaftMessage
	rows storage.Batch
	from *testStore
}

func newWorld() *world {
	cfg := DefaultConfig()
	cfg.Logger = quiet{}
	return &world{cfg: cfg, stores: map[proto.StoreID]*testStore{}, cut: map[[2]proto.StoreID]bool{},
		caught: map[[2]proto.StoreID][]*internalpb.RaftMessage{}}
}

func (w *world) printf(format string, args ...any) { fmt.Fprintf(&w.out, format+"\n", args...) }

func (w *world) ids() []proto.StoreID { return slices.Sorted(maps.Keys(w.stores)) }

func (w *world) addStore(id proto.StoreID) *testStore {
	s := &testStore{w: w, id: id, disk: engine.NewMemDisk(), held: map[string]bool{}}
	w.stores[id] = s
	return s
}

// bootstrap writes a range's first state into the stores of its replicas.
func (w *world) bootstrap(d *internalpb.Descriptor) error {
	for _, p := range d.Replicas {
		s := w.stores[proto.StoreID(p.StoreId)]
		e, err := engine.OpenMem(s.disk, engine.Options{})
		if err != nil {
			return err
		}
		var b storage.Batch
		if err := errors.Join(writeInitial(&b, d, p.ReplicaId, 0), e.Commit(&b, true), e.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (s *testStore) boot() error {
	var err error
	s.fs = engine.MemFS()
	if s.engine, err = engine.OpenMem(s.disk, engine.Options{FS: s.fs}); err != nil {
		return err
	}
	s.spans, s.cores = NewSpanTable(), nil
	s.logs, s.applys, s.handoffs, s.snaps = nil, nil, nil, nil
	s.tables, s.offers, s.status = map[uint64][]string{}, map[uint64]*offered{}, map[proto.RangeID]Status{}
	for range 2 {
		cfg := s.w.cfg
		cfg.Store, cfg.Reader, cfg.Spans = s.id, s.engine, s.spans
		s.cores = append(s.cores, NewCore(cfg))
	}
	ids, err := Ranges(s.engine)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.core(id).Load(id); err != nil {
			return err
		}
	}
	s.up = true
	s.w.collect()
	return nil
}

func (s *testStore) core(id proto.RangeID) *Core { return s.cores[uint64(id)%2] }

func (s *testStore) crash(keep int) {
	s.disk.Crash(keep)
	s.up = false
}

// collect takes the effects of all cores and reports answers.
func (w *world) collect() {
	for _, id := range w.ids() {
		s := w.stores[id]
		for _, c := range s.cores {
			if s.up {
				s.take(c, c.Ready())
			}
		}
	}
}

func (s *testStore) take(c *Core, e *Effects) {
	w := s.w
	if e.Fatal != nil {
		// The protobuf library picks the kind of its spaces anew for each binary.
		w.printf("store %d stops: %s", s.id, strings.ReplaceAll(e.Fatal.Error(), "\u00a0", " "))
		s.up = false
		return
	}
	w.wire = append(w.wire, e.Messages...)
	for i := range e.Log {
		s.logs = append(s.logs, queued[LogStep]{c, e.Log[i]})
	}
	if e.Apply.Token != 0 {
		s.applys = append(s.applys, queued[ApplyStep]{c, e.Apply})
	}
	s.handoffs = append(s.handoffs, e.Handoffs...)
	s.snaps = append(s.snaps, e.Snapshots...)
	for i := range e.Statuses {
		st := &e.Statuses[i]
		if st.Removed {
			w.printf("store %d: range %d is removed", s.id, st.Range)
			delete(s.status, st.Range)
			continue
		}
		s.status[st.Range] = *st
	}
	if e.SlowDisk {
		w.printf("store %d: the disk is slow", s.id)
	}
	for i := range e.Outcomes {
		s.report(&e.Outcomes[i])
	}
	for _, r := range e.Reads {
		w.printf("store %d: range %d read %d: ok=%v term=%d", s.id, r.Range, r.Read, r.OK, r.Term)
	}
	for _, r := range e.Reservations {
		s.reserved(r)
	}
	for _, id := range e.Dropped {
		w.printf("store %d: snapshot %d is dropped", s.id, id)
	}
}

func (s *testStore) report(o *Outcome) {
	names := map[Verdict]string{Applied: "applied", NotLeader: "not leader", StaleEpoch: "stale epoch",
		QueueFull: "queue full", Refused: "refused", Unknown: "unknown"}
	text := fmt.Sprintf("store %d: range %d proposal %d: %s", s.id, o.Range, o.Proposal, names[o.Verdict])
	if o.Reason != "" {
		text += " (" + o.Reason + ")"
	}
	for _, d := range o.Descriptors {
		text += "; " + describe(d)
	}
	s.w.printf("%s", text)
}

func describe(d *internalpb.Descriptor) string {
	end := string(d.End)
	if len(end) >= 4 {
		end = end[4:]
	}
	var start string
	if len(d.Start) >= 4 {
		start = string(d.Start[4:])
	}
	text := fmt.Sprintf("%d [%s,%s) v%d.c%d", d.RangeId, start, end, d.Epoch.Version, d.Epoch.Conf)
	for _, p := range d.Replicas {
		text += fmt.Sprintf(" %d@%d", p.ReplicaId, p.StoreId)
		if p.Role != internalpb.ReplicaRole_VOTER {
			text += strings.ToLower(":" + strings.TrimPrefix(p.Role.String(), "VOTER_"))
		}
	}
	return text
}

// stabilize lets everything that is not held happen until nothing is left to do.
func (w *world) stabilize() {
	for range 10_000 {
		w.busy = false
		w.collect()
		progress := w.deliver() || w.busy
		for _, id := range w.ids() {
			if s := w.stores[id]; s.up {
				progress = s.work() || progress
			}
		}
		if !progress {
			return
		}
	}
	w.printf("it does not come to rest")
}

func (w *world) deliver() bool {
	wire := w.wire
	w.wire = nil
	for _, m := range wire {
		link := [2]proto.StoreID{proto.StoreID(m.FromStore), proto.StoreID(m.ToStore)}
		to := w.stores[link[1]]
		if held, ok := w.caught[link]; ok {
			w.caught[link] = append(held, m)
			continue
		}
		if to.up && !w.cut[link] {
			to.core(proto.RangeID(m.RangeId)).Message(gproto.Clone(m).(*internalpb.RaftMessage))
		}
	}
	return len(wire) > 0
}

// work does one of each thing that waits.
func (s *testStore) work() (did bool) {
	if len(s.handoffs) > 0 && !s.held["handoff"] {
		h := s.handoffs[0]
		s.handoffs = s.handoffs[1:]
		s.core(h.To).Handoff(h)
		did = true
	}
	if len(s.logs) > 0 && !s.held["log"] {
		s.logStep()
		did = true
	}
	if len(s.applys) > 0 && !s.held["apply"] {
		s.applyStep()
		did = true
	}
	if len(s.snaps) > 0 && !s.held["snapshot"] {
		snap := s.snaps[0]
		s.snaps = s.snaps[1:]
		s.offer(snap)
		did = true
	}
	return did
}

func (s *testStore) must(err error) {
	if err != nil {
		s.w.printf("store %d: %v", s.id, err)
	}
}

func (s *testStore) logStep() {
	j := s.logs[0]
	s.logs = s.logs[1:]
	if in := j.step.Install; in != nil {
		s.must(s.engine.IngestAndExcise(context.Background(), engine.Ingest{Tables: s.tables[in.Snapshot],
			Excise: engine.Span{Start: in.ExciseStart, End: in.ExciseEnd}, Local: &in.Local}))
		s.w.printf("store %d: range %d installs snapshot %d", s.id, in.Range, in.Snapshot)
		s.w.wire = append(s.w.wire, j.step.After...)
		j.core.InstallDone(j.step.Token)
		return
	}
	s.must(s.engine.Commit(&j.step.Batch, j.step.Sync))
	s.w.wire = append(s.w.wire, j.step.After...)
	j.core.LogDone(j.step.Token)
}

func (s *testStore) applyStep() {
	j := s.applys[0]
	s.applys = s.applys[1:]
	s.must(s.engine.Commit(&j.step.Batch, false))
	j.core.ApplyDone(j.step.Token)
}

// offer makes a range snapshot from a view and offers it to the receiver.
func (s *testStore) offer(snap SendSnapshot) {
	view := s.engine.NewView()
	defer view.Close()
	state, err := ReadState(view, snap.Range)
	if err != nil {
		s.core(snap.Range).SnapshotSent(snap.Range, snap.ToReplica, false)
		return
	}
	m, err := SnapshotMessage(snap.Template, state)
	s.must(err)
	o := &offered{m: m, from: s}
	lower, upper := keys.DataSpan(state.Desc.Start, state.Desc.End)
	it, err := view.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	s.must(err)
	for ok := it.SeekGE(lower); ok; ok = it.Next() {
		o.rows.Set(it.Item())
	}
	s.must(it.Close())
	to := s.w.stores[snap.ToStore]
	if !to.up || s.w.cut[[2]proto.StoreID{s.id, to.id}] {
		s.core(snap.Range).SnapshotSent(snap.Range, snap.ToReplica, false)
		return
	}
	s.w.next++
	to.offers[s.w.next] = o
	to.core(snap.Range).ReserveSnapshot(s.w.next, m, state)
}

func (s *testStore) reserved(r Reservation) {
	s.w.busy = true
	o := s.offers[r.Snapshot]
	delete(s.offers, r.Snapshot)
	id, to := proto.RangeID(o.m.RangeId), proto.ReplicaID(o.m.ToReplica)
	if r.Accepted {
		s.w.printf("store %d: range %d accepts snapshot %d", s.id, id, r.Snapshot)
		s.tables[r.Snapshot] = s.writeTable(r.Snapshot, &o.rows)
		s.core(id).SnapshotReceived(r.Snapshot, o.m)
	} else {
		s.w.printf("store %d: range %d refuses snapshot %d: %s", s.id, id, r.Snapshot, r.Reason)
	}
	if o.from.up {
		o.from.core(id).SnapshotSent(id, to, r.Accepted)
	}
}

func (s *testStore) writeTable(id uint64, rows *storage.Batch) []string {
	path := fmt.Sprintf("snapshot-%d", id)
	f, err := engine.CreateFile(s.fs, path)
	s.must(err)
	t := engine.NewTableWriter(f)
	for ops := rows.Ops(); ; {
		op, ok, err := ops.Next()
		s.must(err)
		if !ok {
			break
		}
		s.must(t.Set(op.Key, op.Value))
	}
	_, err = t.Finish()
	s.must(errors.Join(err, f.Close()))
	return []string{path}
}

// testTenant owns all keys.
const testTenant = 7

func testKey(k string) []byte { return append([]byte{0, 0, 0, testTenant}, k...) }

// data lists what the store holds.
func (s *testStore) data() string {
	lower, upper := keys.DataSpan(nil, nil)
	it, err := s.engine.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	s.must(err)
	var out []string
	for ok := it.SeekGE(lower); ok; ok = it.Next() {
		k, v := it.Item()
		key, _, err := keys.ParseData(k)
		s.must(err)
		out = append(out, fmt.Sprintf("%s=%s", bytes.TrimPrefix(key, testKey("")), v))
	}
	s.must(it.Close())
	return strings.Join(out, " ")
}

// quiet keeps raft's log out of the stories.
type quiet struct{}

var _ raft.Logger = quiet{}

func (quiet) Debug(...any)              {}
func (quiet) Debugf(string, ...any)     {}
func (quiet) Info(...any)               {}
func (quiet) Infof(string, ...any)      {}
func (quiet) Warning(...any)            {}
func (quiet) Warningf(string, ...any)   {}
func (quiet) Error(...any)              {}
func (quiet) Errorf(string, ...any)     {}
func (quiet) Fatal(v ...any)            { panic(fmt.Sprint(v...)) }
func (quiet) Fatalf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }
func (quiet) Panic(v ...any)            { panic(fmt.Sprint(v...)) }
func (quiet) Panicf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }
