package replica

import (
	"maps"
	"slices"

	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/keys"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// askAfter election timeouts without a leader a replica asks whether it is still a member, and
// again after as many.
const askAfter = 5

// askWhetherGone writes to all replicas that this one knows, without a message of raft: one that
// was removed while it was away hears from nobody, and if it is a learner raft has nothing to say
// either.
func (r *replica) askWhetherGone() {
	ask := func(replicaID, store uint64) {
		if replicaID == uint64(r.replicaID) {
			return
		}
		m := &internalpb.RaftMessage{
			RangeId: uint64(r.id), FromStore: uint64(r.c.cfg.Store), FromReplica: uint64(r.replicaID),
			ToStore: store, ToReplica: replicaID,
		}
		if d := r.state.Desc; d != nil {
			m.RangeStart, m.EpochConf = d.Start, d.Epoch.Conf
		}
		r.c.eff.Messages = append(r.c.eff.Messages, m)
	}
	for _, p := range r.state.Desc.GetReplicas() {
		ask(p.ReplicaId, p.StoreId)
	}
	for _, id := range slices.Sorted(maps.Keys(r.peers)) {
		if d := r.state.Desc; d == nil || replicaByID(d, id) == nil {
			ask(id, r.peers[id])
		}
	}
}

// tellGone answers a replica that the descriptor does not know any more. What has been applied was
// committed, so the answer is final.
func (r *replica) tellGone(m *internalpb.RaftMessage) bool {
	d := r.acked.Desc
	if d == nil || m.FromReplica >= d.NextReplicaId || replicaByID(d, m.FromReplica) != nil ||
		m.EpochConf > d.Epoch.Conf {
		return false
	}
	if fault.Buggify("forget-to-tell-gone") {
		return true
	}
	r.c.eff.Messages = append(r.c.eff.Messages, &internalpb.RaftMessage{
		RangeId: uint64(r.id), FromStore: uint64(r.c.cfg.Store), FromReplica: uint64(r.replicaID),
		ToStore: m.FromStore, ToReplica: m.FromReplica,
		Gone: &internalpb.Gone{NextReplicaId: m.FromReplica + 1},
	})
	return true
}

// destroy begins to remove the replica: replica ids below next must not come back.
func (r *replica) destroy(next uint64) {
	if r.doomed == 0 {
		r.failProposals()
		r.failReads()
	}
	r.doomed = max(r.doomed, next)
	r.c.mark(r)
}

// maybeDestroy removes a doomed replica once nothing of it is on the way to the disk: one batch
// (I3).
func (r *replica) maybeDestroy() {
	if r.gone || r.doomed == 0 || len(r.logWrites) > 0 || r.applyInFlight > 0 || r.preparing || r.installing {
		return
	}
	if r.snapshot != nil {
		r.c.eff.Dropped = append(r.c.eff.Dropped, r.snapshot.id)
		r.snapshot = nil
	}
	b := &r.c.eff.Apply.Batch
	if d := r.state.Desc; d != nil {
		lower, upper := keys.DataSpan(d.Start, d.End)
		b.DeleteRange(lower, upper)
	}
	lower, upper := keys.LocalSpan(r.id)
	b.DeleteRange(lower, upper)
	tombstone := &internalpb.Tombstone{NextReplicaId: r.doomed}
	if err := setProto(b, keys.Local(r.id, keys.KindTombstone), tombstone); err != nil {
		r.c.fail(err)
		return
	}
	r.applyInFlight++
	r.c.leaving[r.id] = true
	r.c.applyAcks = append(r.c.applyAcks, applyAck{r: r, removed: true})
	r.c.queueBytes -= r.queueBytes
	r.queueBytes = 0
	r.c.drop(r)
}
