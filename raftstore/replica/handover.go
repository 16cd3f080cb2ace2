package replica

import (
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// logWrite is a log step of a replica that is not done.
type logWrite struct {
	last      uint64 // of its entries; 0: it has none
	committed int    // the replica's tick at which that entry was seen to be committed; 0: it was not
}

// inLog notes a log step that was handed out. Steps are done in the same order.
func (r *replica) inLog(entries []*raftpb.Entry) {
	w := logWrite{}
	if n := len(entries); n > 0 {
		w.last = entries[n-1].GetIndex()
	}
	r.logWrites = append(r.logWrites, w)
}

// outOfLog notes that the oldest log step is done.
func (r *replica) outOfLog() { r.logWrites = r.logWrites[1:] }

// overdue is the last of the entries that have been committed for too long without being on this disk; 0: none have. So
// it is the time that this store takes above that of a quorum: when all disks are slow alike, none is overdue.
func (r *replica) overdue(commit uint64) (last uint64) {
	for i := range r.logWrites {
		w := &r.logWrites[i]
		switch {
		case w.last == 0 || w.last > commit:
		case w.committed == 0:
			w.committed = r.ticks
		case r.ticks-w.committed >= r.c.cfg.OverdueTicks:
			last = max(last, w.last)
		}
	}
	return last
}

// watchDisk reports a disk that is slower than others, and hands the range to a follower when this replica leads it: a
// leader may not apply what it has not written, so nobody is answered although a quorum without it commits.
func (r *replica) watchDisk() {
	if len(r.logWrites) == 0 || r.c.cfg.OverdueTicks == 0 {
		return
	}
	st := r.node.BasicStatus()
	last := r.overdue(st.HardState.GetCommit())
	if last == 0 {
		return
	}
	r.c.eff.SlowDisk = true
	if !r.leads() || st.LeadTransferee != raft.None {
		return
	}
	to, _ := r.handOver(last, r.heirs)
	if to == 0 { // all were tried in this term
		r.heirs = nil
		to, _ = r.handOver(last, nil)
	}
	if to != 0 {
		fault.Reached("left-slow-disk")
		r.heirs = append(r.heirs, to)
	}
}

// handOver asks raft to pass leadership to the voter that has the most of the log on its disk, of those that were heard
// of lately, have least at the least, and are not in not. It says who that is, or 0 and whether there is one that could
// come into question later. What comes of it shows in the statuses.
func (r *replica) handOver(least uint64, not []proto.ReplicaID) (to proto.ReplicaID, later bool) {
	var best *internalpb.ReplicaProgress
	for _, p := range r.progress() {
		if p.ReplicaId == uint64(r.replicaID) || !r.mayLead(p.ReplicaId) ||
			slices.Contains(not, proto.ReplicaID(p.ReplicaId)) {
			continue
		}
		later = true
		if p.Match < least || !p.RecentlyActive || p.InSnapshot {
			continue
		}
		if best == nil || p.Match > best.Match {
			best = p
		}
	}
	if best == nil {
		return 0, later
	}
	r.node.TransferLeader(best.ReplicaId)
	r.c.mark(r)
	return proto.ReplicaID(best.ReplicaId), false
}

// mayLead: the replica is a voter and stays one.
func (r *replica) mayLead(id uint64) bool {
	p := replicaByID(r.state.Desc, id)
	return p != nil && staysVoter(p)
}

func staysVoter(p *internalpb.Replica) bool {
	return p.Role == internalpb.ReplicaRole_VOTER || p.Role == internalpb.ReplicaRole_VOTER_INCOMING
}

// Voters counts the replicas that may vote, and go on to.
func Voters(d *internalpb.Descriptor) (n int) {
	for _, p := range d.GetReplicas() {
		if staysVoter(p) {
			n++
		}
	}
	return n
}

// HandOver asks raft to pass the range's leadership to whichever other voter can take it best, none of not. It says
// which one that is; or 0, and whether one may be able to later.
func (c *Core) HandOver(
	id proto.RangeID, not []proto.ReplicaID,
) (to proto.ReplicaID, later bool) {
	c.guard(func() {
		if r := c.replicas[id]; r != nil && r.leads() && r.initialised() {
			to, later = r.handOver(0, not)
		}
	})
	return to, later
}
