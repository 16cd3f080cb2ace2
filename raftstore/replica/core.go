package replica

import (
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// Config of a Core. DefaultConfig fills all but the first five.
type Config struct {
	Store  proto.StoreID
	Reader storage.Reader // the engine, latest state
	Spans  Spans
	Logger raft.Logger
	// Liveness decides about ticks and votes. Default PlainTicks.
	Liveness Liveness

	// ElectionTicks without a leader start an election (between one and two times as many, drawn by raft). Default 10.
	ElectionTicks int
	// HeartbeatTicks between a leader's heartbeats. Default 2.
	HeartbeatTicks int
	// OverdueTicks is how long after its commit an entry may be on its way to this disk: a leader then hands the range to
	// a follower that has it. 0: as long as it likes. Default 7.
	OverdueTicks int
	// MessageBytesMax bounds the entries in one append message. Default 1 MiB.
	MessageBytesMax uint64
	// InflightMessages and InflightBytes bound what a leader sends to one follower ahead of its answers. Default 256
	// and 32 MiB.
	InflightMessages int
	InflightBytes    uint64
	// ApplyingBytesMax bounds the entries of one range that are being applied. Default 16 MiB.
	ApplyingBytesMax uint64
	// QueueBytesMax and QueueCountMax bound the proposals of one range that are not applied; above, QueueFull.
	// Default 32 MiB and 8,192.
	QueueBytesMax int
	QueueCountMax int
	// StoreQueueBytesMax bounds the same over all ranges of the core. Default 256 MiB.
	StoreQueueBytesMax int
	// CacheBytesMax is how much of a range's log stays in memory once applied. Default 256 KiB.
	CacheBytesMax int
	// TruncateEntries: a leader cuts the log when so many entries are applied by all. Default 512.
	TruncateEntries uint64
	// LogBytesMax and LogEntriesMax: above, a leader cuts the log although a follower still needs it; that follower
	// then takes a range snapshot. Default 64 MiB and 100,000.
	LogBytesMax   uint64
	LogEntriesMax uint64
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Liveness:           PlainTicks{},
		ElectionTicks:      10,
		HeartbeatTicks:     2,
		OverdueTicks:       7,
		MessageBytesMax:    1 << 20,
		InflightMessages:   256,
		InflightBytes:      32 << 20,
		ApplyingBytesMax:   16 << 20,
		QueueBytesMax:      32 << 20,
		QueueCountMax:      8192,
		StoreQueueBytesMax: 256 << 20,
		CacheBytesMax:      256 << 10,
		TruncateEntries:    512,
		LogBytesMax:        64 << 20,
		LogEntriesMax:      100_000,
	}
}

// Core is the replicas of one worker of one store. It is not safe for concurrent use.
type Core struct {
	cfg      Config
	replicas map[proto.RangeID]*replica
	order    []proto.RangeID // of replicas, ascending
	dirty    []*replica
	leaving  map[proto.RangeID]bool                      // destroyed, not yet acknowledged
	frozen   map[proto.RangeID]bool                      // a right-hand side between HandoffPrepare and HandoffInit
	early    map[proto.RangeID][]*internalpb.RaftMessage // messages that came for it in between
	pending  map[proto.RangeID]Handoff                   // HandoffPrepare that is not answered yet

	eff        Effects
	token      uint64
	readID     uint64
	logAcks    map[uint64][]logAck
	applyAcks  []applyAck // of the batch that is being filled
	applyWait  map[uint64][]applyAck
	queueBytes int
	fatal      error
}

type logAck struct {
	r         *replica
	responses []*raftpb.Message
}

type applyAck struct {
	r         *replica
	responses []*raftpb.Message
	outcomes  []Outcome
	state     *internalpb.RangeState // as of this batch
	removed   bool
	split     *splitAck
}

type splitAck struct {
	right    proto.RangeID
	key      []byte
	handoff  Handoff
	rightHas bool
}

// NewCore returns a core without replicas; Load adds those that the engine holds.
func NewCore(cfg Config) *Core {
	return &Core{
		cfg:       cfg,
		replicas:  map[proto.RangeID]*replica{},
		leaving:   map[proto.RangeID]bool{},
		frozen:    map[proto.RangeID]bool{},
		early:     map[proto.RangeID][]*internalpb.RaftMessage{},
		pending:   map[proto.RangeID]Handoff{},
		logAcks:   map[uint64][]logAck{},
		applyWait: map[uint64][]applyAck{},
	}
}

// Ranges lists the ids of all ranges of which the engine holds a replica with state.
func Ranges(r storage.Reader) (ids []proto.RangeID, err error) {
	lower, upper := keys.AllLocal()
	it, err := r.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	if err != nil {
		return nil, err
	}
	seek := lower
	for it.SeekGE(seek) {
		k, _ := it.Item()
		id, kind, err := keys.ParseLocal(k)
		if err != nil {
			return nil, fmt.Errorf("%w (%w)", err, it.Close())
		}
		if kind == keys.KindApplied {
			ids = append(ids, id)
			_, seek = keys.LocalSpan(id)
			continue
		}
		if kind < keys.KindApplied {
			seek = keys.Local(id, keys.KindApplied)
			continue
		}
		_, seek = keys.LocalSpan(id)
	}
	return ids, it.Close()
}

// Load adds the replica of a range that the engine holds (see Ranges).
func (c *Core) Load(id proto.RangeID) error {
	r, err := c.load(id, 0)
	if err != nil {
		return fmt.Errorf("load range %d: %w", id, err)
	}
	d := r.state.Desc
	if other, ok := c.cfg.Spans.Claim(id, d.Start, d.End); !ok {
		return fmt.Errorf("load range %d: its span overlaps that of range %d", id, other)
	}
	c.cfg.Spans.Set(id, d.Start, d.End)
	if !r.hosted() { // the crash was between its removal and its destruction
		fault.Reached("boot-of-removed")
		r.destroy(d.NextReplicaId)
	}
	return nil
}

// Tick advances the logical clock of all replicas by one.
func (c *Core) Tick() {
	c.guard(func() {
		for _, id := range slices.Clone(c.order) {
			if r := c.replicas[id]; r != nil {
				r.tick()
			}
		}
	})
}

// Message takes a message from another store.
func (c *Core) Message(m *internalpb.RaftMessage) {
	c.guard(func() { c.message(m) })
}

// earlyMax bounds the messages that wait for one right-hand side to be made. The first ones are the votes for whoever
// applied the split first: without them the range would have no leader until somebody's election timeout.
const earlyMax = 16

func (c *Core) message(m *internalpb.RaftMessage) {
	id := proto.RangeID(m.RangeId)
	if proto.StoreID(m.ToStore) != c.cfg.Store || c.leaving[id] {
		return
	}
	if c.frozen[id] {
		c.keepEarly(m)
		return
	}
	r := c.replicas[id]
	if m.Gone != nil {
		if r != nil && uint64(r.replicaID) < m.Gone.NextReplicaId {
			fault.Reached("told-gone")
			r.destroy(m.Gone.NextReplicaId)
		}
		return
	}
	switch {
	case r == nil:
		if len(m.Message) == 0 {
			return
		}
		if r = c.create(m); r == nil {
			return
		}
	case m.ToReplica > uint64(r.replicaID):
		fault.Reached("tombstone-raised")
		r.destroy(m.ToReplica)
		return
	case m.ToReplica < uint64(r.replicaID):
		return
	}
	if r.doomed != 0 || r.tellGone(m) || len(m.Message) == 0 {
		return
	}
	rm := &raftpb.Message{}
	if err := gproto.Unmarshal(m.Message, rm); err != nil {
		return // a sender that can't encode is no reason to stop; raft sends again
	}
	r.step(m, rm)
}

// keepEarly keeps a message for a right-hand side that is being made.
func (c *Core) keepEarly(m *internalpb.RaftMessage) {
	id := proto.RangeID(m.RangeId)
	held := c.early[id]
	if len(held) >= earlyMax || fault.Buggify("drop-early") {
		return
	}
	c.early[id] = append(held, m)
	fault.Reached("early-message")
}

// create makes an uninitialised replica, which can vote and take a range snapshot, unless a tombstone forbids it.
func (c *Core) create(m *internalpb.RaftMessage) *replica {
	id := proto.RangeID(m.RangeId)
	t := &internalpb.Tombstone{}
	if _, err := getProto(c.cfg.Reader, keys.Local(id, keys.KindTombstone), t); err != nil {
		c.fail(fmt.Errorf("read the tombstone of range %d: %w", id, err))
		return nil
	}
	if m.ToReplica < t.NextReplicaId && !fault.On(fault.ForgetTombstone) || m.ToReplica == 0 {
		fault.Reached("tombstone-hit")
		return nil
	}
	r, err := c.load(id, proto.ReplicaID(m.ToReplica))
	if err != nil {
		c.fail(fmt.Errorf("create a replica of range %d: %w", id, err))
		return nil
	}
	return r
}

func (c *Core) add(r *replica) {
	c.replicas[r.id] = r
	i, _ := slices.BinarySearch(c.order, r.id)
	c.order = slices.Insert(c.order, i, r.id)
	c.mark(r)
}

func (c *Core) drop(r *replica) {
	delete(c.replicas, r.id)
	if i, ok := slices.BinarySearch(c.order, r.id); ok {
		c.order = slices.Delete(c.order, i, i+1)
	}
	r.gone = true
}

func (c *Core) mark(r *replica) {
	if !r.marked {
		r.marked = true
		c.dirty = append(c.dirty, r)
	}
}

// LogDone says that a LogStep without Install is done: durable, where it said Sync.
func (c *Core) LogDone(token uint64) {
	c.guard(func() {
		acks := c.logAcks[token]
		delete(c.logAcks, token)
		for _, a := range acks {
			a.r.outOfLog()
			if a.r.gone {
				continue
			}
			a.r.deliver(a.responses)
			a.r.maybeDestroy()
			if !a.r.gone {
				c.mark(a.r)
			}
		}
	})
}

// InstallDone says that an Install is done and durable.
func (c *Core) InstallDone(token uint64) {
	c.guard(func() {
		acks := c.logAcks[token]
		delete(c.logAcks, token)
		for _, a := range acks {
			a.r.outOfLog()
			a.r.installed(a.responses)
			c.mark(a.r)
		}
	})
}

// ApplyDone says that an ApplyStep is in the engine.
func (c *Core) ApplyDone(token uint64) {
	c.guard(func() {
		acks := c.applyWait[token]
		delete(c.applyWait, token)
		for _, a := range acks {
			c.applied(a)
		}
	})
}

func (c *Core) applied(a applyAck) {
	r := a.r
	r.applyInFlight--
	c.eff.Outcomes = append(c.eff.Outcomes, a.outcomes...)
	if a.removed {
		delete(c.leaving, r.id)
		c.cfg.Spans.Remove(r.id)
		c.tryPrepared(r.id)
		c.eff.Statuses = append(c.eff.Statuses, Status{Range: r.id, Removed: true})
		return
	}
	if a.split != nil {
		right := a.split.right
		if !a.split.rightHas {
			right = 0
		}
		c.cfg.Spans.Split(r.id, right, a.split.key)
		c.eff.Handoffs = append(c.eff.Handoffs, a.split.handoff)
	}
	if r.gone {
		return
	}
	r.acked, r.statusDirty = a.state, true
	r.log.trim(a.state.AppliedIndex)
	r.deliver(a.responses)
	r.answerReads()
	r.afterApply()
	c.mark(r)
}

// Handoff takes a message from a core of the same store.
func (c *Core) Handoff(h Handoff) {
	c.guard(func() {
		switch h.Kind {
		case HandoffPrepare:
			c.prepareRight(h)
		case HandoffPrepared:
			if r := c.replicas[h.To]; r != nil {
				r.rightPrepared(h)
			}
		case HandoffInit:
			c.initRight(h)
		}
	})
}

// Ready returns what the driver has to do, and forgets it.
func (c *Core) Ready() *Effects {
	c.guard(func() {
		for len(c.dirty) > 0 {
			r := c.dirty[0]
			c.dirty = c.dirty[1:]
			r.marked = false
			if !r.gone {
				r.ready()
			}
			c.tryPrepared(r.id)
		}
		c.closeApply()
	})
	if c.fatal != nil {
		eff := &Effects{Fatal: c.fatal}
		if c.fatal == errStopped {
			eff.Fatal = nil
		}
		c.fatal = errStopped
		c.eff = Effects{}
		return eff
	}
	eff := c.eff
	c.eff = Effects{}
	return &eff
}

var errStopped = fmt.Errorf("the core has stopped")

// closeApply gives the batch that has been filled its token.
func (c *Core) closeApply() {
	if c.eff.Apply.Batch.Count() == 0 && len(c.applyAcks) == 0 {
		return
	}
	c.token++
	c.eff.Apply.Token = c.token
	c.applyWait[c.token] = c.applyAcks
	c.applyAcks = nil
}

func (c *Core) nextToken() uint64 {
	c.token++
	return c.token
}

// fail stops the core for good.
func (c *Core) fail(err error) {
	if c.fatal == nil {
		c.fatal = err
	}
}

// guard runs f unless the core has stopped, and turns a storage failure inside raft into the end of the core.
func (c *Core) guard(f func()) {
	if c.fatal != nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			failure, ok := p.(storageFailure)
			if !ok {
				panic(p)
			}
			c.fail(failure.err)
		}
	}()
	f()
}

func (c *Core) readContext() []byte {
	c.readID++
	return binary.BigEndian.AppendUint64(nil, c.readID)
}
