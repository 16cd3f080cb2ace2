package replica

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/cryptotest"

	"github.com/cockroachdb/datadriven"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// TestStories runs testdata, one claim a file. The commands:
//
//	stores n=3 [limit=value ...]       make stores; limits are those of Config
//	range id=2 replicas=1,2,3 [start=] [end=]   a range's first state, replica i on the i-th store, then boot
//	campaign | tick | stabilize | transfer | crash | restart | cut | heal | hold | release | catch | let
//	put | delete-range | split | change | read | status | data | votes | wire | log | lose | damage | hand-over
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld()
		cryptotest.SetGlobalRandom(t, 1) // raft draws its election timeouts from it
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.out.Reset()
			c := story{w, t, d}
			run, ok := c.commands()[d.Cmd]
			if !ok {
				t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
			}
			run()
			w.collect()
			return w.out.String()
		})
	})
}

// story is one command.
type story struct {
	w *world
	t *testing.T
	d *datadriven.TestData
}

func (c story) commands() map[string]func() {
	return map[string]func(){
		"stores": c.stores, "range": c.makeRange, "campaign": c.campaign, "tick": c.tick, "stabilize": c.stabilize,
		"transfer": c.transfer, "crash": c.crash, "restart": c.restart, "cut": c.cut, "heal": c.heal, "hold": c.hold,
		"release": c.release, "catch": c.catch, "let": c.let, "put": c.put, "delete-range": c.deleteRange,
		"split": c.split, "change": c.change, "read": c.read, "status": c.status, "data": c.data, "log": c.log,
		"step": c.step, "lose": c.lose, "damage": c.damage, "hand-over": c.handOver,
	}
}

func (c story) num(name string, def uint64) uint64 {
	if !c.d.HasArg(name) {
		return def
	}
	var v uint64
	c.d.ScanArgs(c.t, name, &v)
	return v
}

func (c story) text(name string) string {
	var v string
	if c.d.HasArg(name) {
		c.d.ScanArgs(c.t, name, &v)
	}
	return v
}

func (c story) nums(name string) (out []uint64) {
	for _, a := range c.d.CmdArgs {
		if a.Key != name {
			continue
		}
		for _, v := range a.Vals {
			var n uint64
			if _, err := fmt.Sscan(v, &n); err != nil {
				c.t.Fatalf("%s: %v", c.d.Pos, err)
			}
			out = append(out, n)
		}
	}
	return out
}

func (c story) store() *testStore {
	s := c.w.stores[proto.StoreID(c.num("store", 1))]
	if s == nil {
		c.t.Fatalf("%s: no such store", c.d.Pos)
	}
	return s
}

func (c story) rangeID() proto.RangeID { return proto.RangeID(c.num("range", 2)) }

func (c story) stores() {
	cfg := &c.w.cfg
	cfg.ElectionTicks = int(c.num("election", uint64(cfg.ElectionTicks)))
	cfg.TruncateEntries = c.num("truncate", cfg.TruncateEntries)
	cfg.LogEntriesMax = c.num("log-entries", cfg.LogEntriesMax)
	cfg.QueueCountMax = int(c.num("queue", uint64(cfg.QueueCountMax)))
	cfg.CacheBytesMax = int(c.num("cache", uint64(cfg.CacheBytesMax)))
	for i := range c.num("n", 3) {
		c.w.addStore(proto.StoreID(i + 1))
	}
}

func (c story) makeRange() {
	d := &internalpb.Descriptor{RangeId: c.num("id", 2), Epoch: &internalpb.Epoch{Version: 1, Conf: 1},
		Start: testKey(c.text("start")), NextReplicaId: 1}
	if end := c.text("end"); end != "" {
		d.End = testKey(end)
	}
	for _, s := range c.nums("replicas") {
		d.Replicas = append(d.Replicas, &internalpb.Replica{StoreId: s, ReplicaId: d.NextReplicaId})
		d.NextReplicaId++
	}
	if err := c.w.bootstrap(d); err != nil {
		c.t.Fatal(err)
	}
	for _, id := range c.w.ids() {
		if s := c.w.stores[id]; !s.up && !c.d.HasArg("more") {
			c.boot(s)
		}
	}
}

func (c story) boot(s *testStore) {
	if err := s.boot(); err != nil {
		c.w.printf("store %d: %v", s.id, err)
	}
}

func (c story) campaign() {
	c.store().core(c.rangeID()).Campaign(c.rangeID())
	c.w.stabilize()
}

func (c story) tick() {
	for range c.num("n", 1) {
		for _, id := range c.w.ids() {
			s := c.w.stores[id]
			if !s.up || (c.d.HasArg("store") && s != c.store()) {
				continue
			}
			for _, core := range s.cores {
				core.Tick()
			}
		}
		if !c.d.HasArg("only") {
			c.w.stabilize()
		}
	}
}

func (c story) stabilize() { c.w.stabilize() }

func (c story) transfer() {
	c.store().core(c.rangeID()).TransferLeader(c.rangeID(), proto.ReplicaID(c.num("to", 0)))
	c.w.stabilize()
}

func (c story) handOver() {
	if to, later := c.store().core(c.rangeID()).HandOver(c.rangeID(), nil); to == 0 {
		c.w.printf("nobody can take it; later: %v", later)
	}
	c.settle()
}

// crash keeps all of what was written and not synced, unless keep says how many steps.
func (c story) crash() {
	s := c.store()
	s.crash(int(c.num("keep", uint64(s.disk.Unsynced()))))
}

func (c story) restart() { c.boot(c.store()) }

// lose takes the entries from an index on, and what raft knows of them, off the disk of a store, as a bad disk does.
func (c story) lose() {
	s, id, from := c.store(), c.rangeID(), c.num("from", 0)
	hs := &internalpb.HardState{}
	_, err := getProto(s.engine, keys.Local(id, keys.KindHardState), hs)
	s.must(err)
	hs.Commit = min(hs.Commit, from-1)
	var b storage.Batch
	s.must(setProto(&b, keys.Local(id, keys.KindHardState), hs))
	b.DeleteRange(keys.LogEntry(id, from), keys.LogEntry(id, math.MaxUint64))
	s.must(s.engine.Commit(&b, true))
}

// damage makes the command of an entry on the disk of a store one that nobody can read.
func (c story) damage() {
	s, id, index := c.store(), c.rangeID(), c.num("index", 0)
	e := &raftpb.Entry{}
	found, err := getProto(s.engine, keys.LogEntry(id, index), e)
	s.must(err)
	if !found {
		c.t.Fatalf("%s: no entry %d", c.d.Pos, index)
	}
	e.Data = []byte{0xff}
	var b storage.Batch
	s.must(setProto(&b, keys.LogEntry(id, index), e))
	s.must(s.engine.Commit(&b, true))
}

func (c story) link() [2]proto.StoreID {
	return [2]proto.StoreID{proto.StoreID(c.num("from", 0)), proto.StoreID(c.num("to", 0))}
}

// cut store=N isolates a store; cut from=A to=B cuts one way.
func (c story) cut() {
	if !c.d.HasArg("store") {
		c.w.cut[c.link()] = true
		return
	}
	for _, id := range c.w.ids() {
		c.w.cut[[2]proto.StoreID{id, c.store().id}] = true
		c.w.cut[[2]proto.StoreID{c.store().id, id}] = true
	}
}

func (c story) heal() { clear(c.w.cut) }

// hold keeps one kind of work of a store from happening.
func (c story) hold() { c.store().held[c.text("what")] = true }

func (c story) release() {
	delete(c.store().held, c.text("what"))
	if !c.d.HasArg("only") {
		c.w.stabilize()
	}
}

// step does one thing of a kind that is held.
func (c story) step() {
	s := c.store()
	for range c.num("n", 1) {
		switch what := c.text("what"); {
		case what == "log" && len(s.logs) > 0:
			s.logStep()
		case what == "apply" && len(s.applys) > 0:
			s.applyStep()
		default:
			c.w.printf("no %s waits", what)
		}
		c.w.collect()
	}
}

// catch keeps a link's messages back; let delivers them.
func (c story) catch() { c.w.caught[c.link()] = nil }

func (c story) let() {
	link := c.link()
	c.w.wire = append(c.w.wire, c.w.caught[link]...)
	delete(c.w.caught, link)
	c.w.stabilize()
}

// propose offers a command under the epoch and term that the store knows, or those that the story says.
func (c story) propose(b *storage.Batch, delta int64) {
	s := c.store()
	st := s.status[c.rangeID()]
	c.w.next++
	cmd := &internalpb.Command{
		EvalTerm: c.num("term", st.Term),
		Kind: &internalpb.Command_Write{Write: &internalpb.WriteCommand{
			Tenant: uint32(c.num("tenant", testTenant)), Batch: b.Bytes(), DeltaBytes: delta}},
	}
	if st.Descriptor != nil {
		cmd.EpochVersion = c.num("epoch", st.Descriptor.Epoch.Version)
	}
	id := c.num("proposal", c.w.next)
	if c.d.HasArg("unchecked") { // as if it had been proposed before the leader changed
		r := s.core(c.rangeID()).replicas[c.rangeID()]
		r.proposeData(id, cmd)
	} else {
		s.core(c.rangeID()).Propose(c.rangeID(), id, cmd)
	}
	c.settle()
}

func (c story) settle() {
	if c.d.HasArg("only") {
		c.w.collect()
		return
	}
	c.w.stabilize()
}

// put key=k value=v [n=3]: with n, that many puts of k0=v, k1=v...
func (c story) put() {
	n := c.num("n", 0)
	if n == 0 {
		c.putOne(c.text("key"))
	}
	for i := range n {
		c.putOne(fmt.Sprintf("%s%d", c.text("key"), i))
	}
}

func (c story) putOne(key string) {
	var b storage.Batch
	b.Set(keys.Data(testKey(key)), []byte(c.text("value")))
	c.propose(&b, int64(len(key)+len(c.text("value"))))
}

func (c story) deleteRange() {
	var b storage.Batch
	b.DeleteRange(keys.DataSpan(testKey(c.text("start")), testKey(c.text("end"))))
	c.propose(&b, 0)
}

func (c story) epoch() *internalpb.Epoch {
	st := c.store().status[c.rangeID()]
	e := &internalpb.Epoch{Version: st.Descriptor.Epoch.Version, Conf: st.Descriptor.Epoch.Conf}
	e.Version, e.Conf = c.num("epoch", e.Version), c.num("conf", e.Conf)
	return e
}

func (c story) split() {
	c.w.next++
	c.store().core(c.rangeID()).ProposeSplit(c.rangeID(), c.w.next, Split{Epoch: c.epoch(), Key: testKey(c.text("key")),
		Right: proto.RangeID(c.num("right", 3)), LeftBytes: c.num("left-bytes", 0),
		Campaigner: proto.ReplicaID(c.num("campaigner", 0))})
	c.settle()
}

func (c story) change() {
	c.w.next++
	step := &internalpb.ChangeReplicasStep{AddLearnerStore: c.num("add", 0), RemoveLearnerReplica: c.num("drop", 0),
		LeaveJoint: c.d.HasArg("leave")}
	if promote, remove := c.nums("promote"), c.nums("remove"); len(promote)+len(remove) > 0 {
		step.EnterJoint = &internalpb.JointStep{PromoteReplicas: promote, RemoveReplicas: remove}
	}
	c.store().core(c.rangeID()).ProposeChange(c.rangeID(), c.w.next, c.epoch(), step)
	c.settle()
}

func (c story) read() {
	c.w.next++
	c.store().core(c.rangeID()).Read(c.rangeID(), c.w.next)
	c.settle()
}

// status [range=2]: what each store says of the range, or of all.
func (c story) status() {
	for _, sid := range c.w.ids() {
		s := c.w.stores[sid]
		for id := proto.RangeID(1); id < 20 && s.up; id++ {
			st, ok := s.status[id]
			if !ok || (c.d.HasArg("range") && id != c.rangeID()) {
				continue
			}
			role := "follows"
			if st.Leads {
				role = "leads"
			}
			text := fmt.Sprintf("store %d: replica %d %s, term %d, applied %d of %d, log (%d,%d]", s.id, st.Replica, role,
				st.Term, st.Applied, st.Commit, st.FirstIndex-1, st.LastIndex)
			if st.Descriptor == nil {
				c.w.printf("%s: range %d is not initialised", text, id)
			} else {
				c.w.printf("%s: %s, %d bytes", text, describe(st.Descriptor), st.Bytes)
			}
		}
	}
}

func (c story) data() {
	for _, id := range c.w.ids() {
		if s := c.w.stores[id]; s.up && (!c.d.HasArg("store") || s == c.store()) {
			c.w.printf("store %d: %s", id, strings.TrimSpace(s.data()))
		}
	}
}

// log prints what of raft is on the disk of a store.
func (c story) log() {
	s, id := c.store(), c.rangeID()
	hs, tomb := &internalpb.HardState{}, &internalpb.Tombstone{}
	_, err := getProto(s.engine, keys.Local(id, keys.KindHardState), hs)
	s.must(err)
	c.w.printf("term %d vote %d commit %d replica %d", hs.Term, hs.Vote, hs.Commit, hs.ReplicaId)
	if state, err := ReadState(s.engine, id); err == nil {
		c.w.printf("applied %d: %s", state.AppliedIndex, describe(state.Desc))
	}
	if found, err := getProto(s.engine, keys.Local(id, keys.KindTombstone), tomb); found {
		s.must(err)
		c.w.printf("tombstone below %d", tomb.NextReplicaId)
	}
}
