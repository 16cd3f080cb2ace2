package sim

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"

	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// coresPerStore is 2 so that handoffs between the cores of a store really cross.
const coresPerStore = 2

// store is one process and its disk. Everything but the disk is new after a crash.
type store struct {
	c    *cluster
	id   proto.StoreID
	port int // of its address: the id that it expected to get
	disk *engine.MemDisk
	r    *rand.Rand // its disk's and processor's delays

	up      bool
	boots   int    // events of an earlier boot never happen
	life    uint64 // counts crashes
	paused  bool
	lost    bool     // for good: its disk is gone
	unborn  bool     // there is an id, but there never was a store
	rotten  bool     // a bit of its disk was flipped
	failing bool     // its engine has failed, and its process is about to end
	waits   []func() // events that came while it was paused
	clock   clock

	logStall, applyStall int64 // until then the disk does not answer
	frontStall           int64 // until then what was evaluated may wait before it is proposed

	engine engine.Engine
	fs     engine.FS
	spans  *checkedSpans
	cores  [coresPerStore]*core
	logs   stream[replica.LogStep]
	applys stream[replica.ApplyStep]
	front  *front
	snaps  *snapshots
	status map[proto.RangeID]*replica.Status
}

// core is a replica.Core and whether it is due to be asked for effects.
type core struct {
	*replica.Core
	index int
	due   bool
}

func newStore(c *cluster, id int) *store {
	return &store{
		c: c, id: proto.StoreID(id), port: id, disk: engine.NewMemDisk(),
		r: c.k.rng("store", id), clock: newClock(c.k),
	}
}

// after makes an event of this boot of the store's process. It waits while the process is paused.
func (s *store) after(d int64, kind string, run func()) {
	boot := s.boots
	s.c.k.after(d, int(s.id), kind, func() { s.happen(boot, run) })
}

func (s *store) happen(boot int, run func()) {
	switch {
	case !s.up || s.boots != boot:
	case s.paused:
		s.waits = append(s.waits, func() { s.happen(boot, run) })
	default:
		run()
	}
}

// boot starts the process from what is on the disk.
func (s *store) boot() {
	if s.lost || s.up {
		return
	}
	s.boots++
	s.up, s.paused, s.waits = true, false, nil
	s.fs = engine.MemFS()
	opened, err := engine.OpenMem(s.disk, engine.Options{FS: s.fs})
	if err != nil {
		s.cannotOpen(err)
		return
	}
	s.engine, s.failing = &watched{opened, s}, false
	s.spans = newCheckedSpans(s)
	s.status = map[proto.RangeID]*replica.Status{}
	s.logs, s.applys = stream[replica.LogStep]{}, stream[replica.ApplyStep]{}
	s.snaps, s.front = newSnapshots(s), newFront(s)
	for i := range s.cores {
		cfg := s.c.o.coreConfig()
		cfg.Store, cfg.Reader, cfg.Spans, cfg.Logger = s.id, s.engine, s.spans, s.c.raftLog(s.id)
		s.cores[i] = &core{Core: replica.NewCore(cfg), index: i}
	}
	ids, err := replica.Ranges(s.engine)
	if err != nil {
		s.c.k.broken(Boot, "store %d: list ranges: %w", s.id, err)
		return
	}
	for _, id := range ids {
		if err := s.coreOf(id).Load(id); err != nil {
			s.c.k.broken(Boot, "store %d: boot: %w", s.id, err)
			return
		}
	}
	for _, id := range ids {
		s.c.oracle.compare(s, id)
	}
	for _, c := range s.cores {
		s.pump(c)
	}
	s.after(between(s.r, 0, s.c.o.TickNS), "tick", s.tick)
}

// crash stops the process. Its disk keeps what was synced and the first keep bytes of what was written after; stray as
// in MemDisk.CrashTorn.
func (s *store) crash(keep int, stray bool) {
	s.c.k.note("crash store %d, keep %d of %d bytes", s.id, keep, s.disk.UnsyncedBytes())
	s.disk.CrashTorn(keep, stray)
	s.up, s.waits = false, nil
	s.front.proc.kill()
	s.life++
	s.c.count.crashes++
	s.c.oracle.reborn(s)
}

// reboot ends the process in good order and starts it again.
func (s *store) reboot() {
	s.crash(s.disk.UnsyncedBytes(), false)
	s.boot()
}

// exit is what a process does when its disk fails a write: it ends. Somebody starts it again, and again.
func (s *store) exit(err error) {
	if !s.up {
		return
	}
	s.c.k.note("store %d ends: %v", s.id, err)
	s.c.count.exits++
	s.crash(s.r.IntN(s.disk.UnsyncedBytes()+1), false)
	s.restart()
}

// watched is an engine whose failure ends the process, whoever writes: replicas, or the code above them.
type watched struct {
	engine.Engine
	s *store
}

// Commit implements engine.Engine.
func (w *watched) Commit(b *storage.Batch, sync bool) error {
	err := w.Engine.Commit(b, sync)
	if errors.Is(err, engine.ErrFailed) && !w.s.failing {
		w.s.failing = true
		w.s.after(0, "exit", func() { w.s.exit(err) })
	}
	return err
}

func (s *store) restart() {
	life := s.life
	s.c.k.after(between(s.r, 200*ms, 2*sec), 0, "restart", func() {
		if s.life == life {
			s.boot()
		}
	})
}

// cannotOpen: a disk without room is tried again; one that is damaged is given up, if it is damaged.
func (s *store) cannotOpen(err error) {
	s.up = false
	s.life++
	switch {
	case errors.Is(err, engine.ErrDiskFull):
		s.restart()
	case errors.Is(err, engine.ErrCorrupt) && s.rotten:
		s.c.count.rotFound++
		s.c.lose(s, err.Error())
	default:
		s.c.k.broken(Boot, "store %d: open: %w", s.id, err)
	}
}

func (s *store) pause() { s.paused = true }

func (s *store) resume() {
	s.paused = false
	waits := s.waits
	s.waits = nil
	for _, w := range waits {
		w()
	}
}

// tick: a process that was paused gets one tick for all that it missed.
func (s *store) tick() {
	for _, c := range s.cores {
		c.Tick()
		s.pump(c)
	}
	s.after(s.clock.interval(s.c.o.TickNS), "tick", s.tick)
}

func (s *store) coreOf(id proto.RangeID) *core { return s.cores[uint64(id)%coresPerStore] }

// with hands an event to the core that owns the range.
func (s *store) with(id proto.RangeID, f func(*replica.Core)) {
	c := s.coreOf(id)
	f(c.Core)
	s.pump(c)
}

// pump asks the core for its effects a little later: what comes until then shares them.
func (s *store) pump(c *core) {
	if c.due {
		return
	}
	c.due = true
	s.after(between(s.r, 0, 200*us), "pump", func() {
		c.due = false
		s.dispatch(c, c.Ready())
		s.front.proc.poll()
	})
}

// dispatch carries effects out. Statuses come before answers.
func (s *store) dispatch(c *core, e *replica.Effects) {
	if e.Fatal != nil {
		s.c.k.broken(Fatal, "store %d: %w", s.id, e.Fatal)
		return
	}
	for i := range e.Log {
		s.logs.jobs = append(s.logs.jobs, job[replica.LogStep]{c, e.Log[i]})
	}
	s.runLog()
	if e.Apply.Token != 0 {
		s.applys.jobs = append(s.applys.jobs, job[replica.ApplyStep]{c, e.Apply})
		s.runApply()
	}
	if !s.up { // a write failed, and the process is gone
		return
	}
	s.send(e.Messages)
	for i := range e.Statuses {
		s.publish(&e.Statuses[i])
	}
	for _, h := range e.Handoffs {
		s.c.nemesis.moment(s, "handoff")
		d := between(s.r, 0, 300*us)
		if s.r.IntN(20) == 0 { // the other core is busy
			d = between(s.r, 0, 2*sec)
		}
		s.after(d, "handoff", func() { s.with(h.To, func(c *replica.Core) { c.Handoff(h) }) })
	}
	if e.SlowDisk {
		s.front.calls.NoteSlowDisk()
	}
	for i := range e.Outcomes {
		s.front.outcome(&e.Outcomes[i])
	}
	for i := range e.Reads {
		s.front.readable(&e.Reads[i])
	}
	for _, r := range e.Reservations {
		s.snaps.reserved(r)
	}
	for _, id := range e.Dropped {
		s.snaps.drop(id)
	}
	for _, snap := range e.Snapshots {
		s.snaps.start(snap)
	}
}

// ranges lists the replicas here in order of their ids.
func (s *store) ranges() []proto.RangeID { return slices.Sorted(maps.Keys(s.status)) }

func (s *store) publish(st *replica.Status) {
	s.c.oracle.status(s, st)
	s.front.calls.Publish(st)
	if st.Removed {
		s.c.nemesis.moment(s, "removed")
		delete(s.status, st.Range)
		return
	}
	s.status[st.Range] = st
	if st.Descriptor != nil {
		s.c.hand.observe(st.Descriptor)
	}
}

// send encodes messages and gives them to the network.
func (s *store) send(ms []*internalpb.RaftMessage) {
	for _, m := range ms {
		data, err := gproto.Marshal(m)
		s.c.truth.clear(data, "a message", s.id)
		if err != nil {
			s.c.k.fail("store %d: encode: %w", s.id, err)
			return
		}
		to := s.c.store(proto.StoreID(m.ToStore))
		if to == nil {
			s.c.k.fail("store %d: a message to store %d, which never was", s.id, m.ToStore)
			return
		}
		s.c.net.send(int(s.id), int(to.id), "raft", data, to.receive)
	}
}

// receive takes a message in. A process that does not know yet which store of the cluster it is has nobody who would.
func (s *store) receive(data []byte) {
	s.happen(s.boots, func() {
		if !s.front.joined {
			return
		}
		m := &internalpb.RaftMessage{}
		if err := gproto.Unmarshal(data, m); err != nil {
			s.c.k.fail("store %d: decode: %w", s.id, err)
			return
		}
		s.with(proto.RangeID(m.RangeId), func(c *replica.Core) { c.Message(m) })
	})
}
