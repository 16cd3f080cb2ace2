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
	began int    // the replica's tick
	last  uint64 // of its entries; 0: it has none
}

// inLog notes a log step that was handed out. Steps are done in the same order.
func (r *replica) inLog(entries []*raftpb.Entry) {
	w := logWrite{began: r.ticks}
	if n := len(entries); n > 0 {
		w.last = entries[n-1].GetIndex()
	}
	r.logWrites = append(r.logWrites, w)
}

// outOfLog notes that the oldest log step is done.
func (r *replica) outOfLog() { r.logWrites = r.logWrites[1:] }

// overdue is the last of the entries that have been on their way to the disk for too long; 0: none are.
func (r *replica) overdue() (last uint64) {
	limit := r.c.cfg.OverdueTicks
	for _, w := range r.logWrites {
		if limit == 0 || r.ticks-w.began < limit {
			break
		}
		last = max(last, w.last)
	}
	return last
}

// leaveSlowDisk hands the range to a follower when this leader's log writes hang: it can not apply what it has not
// written, so nobody is answered although a quorum without it commits. That the entries are committed tells a slow disk
// from a slow cluster, in which nothing would be gained.
func (r *replica) leaveSlowDisk() {
	last, st := r.overdue(), r.node.BasicStatus()
	if last == 0 || st.HardState.GetCommit() < last || st.LeadTransferee != raft.None {
		return
	}
	if r.handOver(last, nil) != 0 {
		fault.Reached("left-slow-disk")
		r.c.eff.SlowDisk = true
	}
}

// handOver asks raft to pass leadership to the voter that has the most of the log on its disk, of those that were heard
// of lately, have least at the least, and are not in not. It says who that is; 0: nobody. What comes of it shows in the
// statuses.
func (r *replica) handOver(least uint64, not []proto.ReplicaID) proto.ReplicaID {
	var best *internalpb.ReplicaProgress
	for _, p := range r.progress() {
		if p.ReplicaId == uint64(r.replicaID) || p.Match < least || !p.RecentlyActive || p.InSnapshot ||
			!r.mayLead(p.ReplicaId) || slices.Contains(not, proto.ReplicaID(p.ReplicaId)) {
			continue
		}
		if best == nil || p.Match > best.Match {
			best = p
		}
	}
	if best == nil {
		return 0
	}
	r.node.TransferLeader(best.ReplicaId)
	r.c.mark(r)
	return proto.ReplicaID(best.ReplicaId)
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
// which one that is; 0: there is none.
func (c *Core) HandOver(id proto.RangeID, not []proto.ReplicaID) (to proto.ReplicaID) {
	c.guard(func() {
		if r := c.replicas[id]; r != nil && r.leads() && r.initialised() {
			to = r.handOver(0, not)
		}
	})
	return to
}
