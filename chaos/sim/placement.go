package sim

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/replica"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// voters is how many voters a range should have.
const voters = 3

// deadAfter is how long a store is silent before its replicas are replaced.
const deadAfter = 6 * sec

// hand is another hand than the placement driver's: it splits and moves ranges when the nemesis says so, by the same
// calls.
type hand struct {
	c      *cluster
	r      *rand.Rand
	latest map[proto.RangeID]*internalpb.Descriptor // newest applied anywhere
}

func newHand(c *cluster) *hand {
	return &hand{c: c, r: c.k.rng("hand", 0), latest: map[proto.RangeID]*internalpb.Descriptor{}}
}

func newer(a, b *internalpb.Epoch) bool { return a.Version+a.Conf > b.Version+b.Conf }

// observe is told of every descriptor that a store has applied.
func (h *hand) observe(d *internalpb.Descriptor) {
	id := proto.RangeID(d.RangeId)
	had := h.latest[id]
	if had != nil && !newer(d.Epoch, had.Epoch) {
		return
	}
	h.latest[id] = d
	if had == nil || had.Epoch.Conf == d.Epoch.Conf {
		return
	}
	h.c.count.changes++
	h.c.truth.changed(had, d)
	in, out := 0, 0
	for _, r := range d.Replicas {
		switch r.Role {
		case internalpb.ReplicaRole_VOTER_INCOMING:
			in++
		case internalpb.ReplicaRole_VOTER_OUTGOING:
			out++
		}
	}
	if in > 0 && out > 0 {
		h.c.count.moves++
	}
	h.c.k.note("range %d c%d: %v", d.RangeId, d.Epoch.Conf, d.Replicas)
}

func contains(d *internalpb.Descriptor, key []byte) bool {
	return bytes.Compare(d.Start, key) <= 0 && (len(d.End) == 0 || bytes.Compare(key, d.End) < 0)
}

// step lets the leader's node carry one step out, as when an administrator asks.
func (h *hand) step(
	l leaderStatus, d *internalpb.Descriptor, step *internalpb.ChangeReplicasStep,
) *internalpb.Descriptor {
	ctx, cancel := l.store.front.proc.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	resp, err := l.store.front.member.Ranges().AdminRange(ctx, &internalpb.AdminRangeRequest{
		RangeId: uint64(l.Range), Epoch: d.Epoch, Step: &internalpb.AdminRangeRequest_Change{Change: step}})
	if err != nil {
		h.c.k.note("range %d: %v: %v", l.Range, step, err)
		return nil
	}
	return resp.Desc
}

// split cuts a range between two keys that it has.
func (h *hand) split(l leaderStatus) bool {
	if l.Range == proto.SystemRange { // which is never split
		all := h.c.leaders()
		l = all[h.r.IntN(len(all))]
	}
	if l.Range == proto.SystemRange || len(h.latest) >= 1+h.c.o.RangesMax || !l.store.front.joined {
		return false
	}
	key := whole(h.key(l))
	if key == nil {
		return false
	}
	f := l.store.front
	f.proc.Go(func() {
		ctx, cancel := f.proc.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		resp, err := f.member.Ranges().AdminRange(ctx, &internalpb.AdminRangeRequest{
			RangeId: uint64(l.Range), Epoch: l.Descriptor.Epoch,
			Step: &internalpb.AdminRangeRequest_Split{Split: &internalpb.SplitStep{Key: key}}})
		h.c.k.note("split range %d at %q: %v %v", l.Range, key, resp.GetDesc().GetEpoch(), err)
	})
	return true
}

// whole moves a split key to the front of the keys of a workload whose operations touch several keys at a time: cut
// apart they would all be refused.
func whole(key []byte) []byte {
	for _, w := range []string{"bank/", "fork/", "list-append/"} {
		if p := mvcc.PlainKey(simTenant, []byte(w)); bytes.HasPrefix(key, p) {
			return p
		}
	}
	return key
}

// keysMax bounds how far a range is read for a key.
const keysMax = 3000

// key draws one of the keys of a range.
func (h *hand) key(l leaderStatus) (key []byte) {
	lower, upper := keys.DataSpan(l.Descriptor.Start, l.Descriptor.End)
	it, err := l.store.engine.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	if err != nil {
		h.c.k.fail("store %d: %w", l.store.id, err)
		return nil
	}
	n := 0
	for ok := it.SeekGE(lower); ok && n < keysMax; ok = it.Next() {
		k, _ := it.Item()
		if n++; h.r.IntN(n) == 0 {
			if key, _, err = keys.ParseData(k); err != nil {
				h.c.k.fail("store %d: %w", l.store.id, err)
			}
			key = bytes.Clone(key)
		}
	}
	if err := it.Close(); err != nil {
		h.c.k.fail("store %d: %w", l.store.id, err)
	}
	return key
}

// move takes a replica away from a store, which may be the leader's own, in the steps that the driver would take. It
// gives up when something comes between; the driver mends what is left.
func (h *hand) move(l leaderStatus, from proto.StoreID) {
	free := h.freeStores(l.Descriptor)
	if len(free) == 0 || !l.store.front.joined {
		return
	}
	to := free[h.r.IntN(len(free))]
	f := l.store.front
	f.proc.Go(func() {
		d := h.step(l, l.Descriptor, &internalpb.ChangeReplicasStep{AddLearnerStore: uint64(to)})
		learner, victim := replicaOn(d, to), replicaOn(d, from)
		if learner == nil || victim == nil {
			return
		}
		for range 40 {
			_ = f.proc.Sleep(context.Background(), 100*time.Millisecond)
			if h.caughtUp(l, learner.ReplicaId) {
				d = h.step(l, d, &internalpb.ChangeReplicasStep{EnterJoint: &internalpb.JointStep{
					PromoteReplicas: []uint64{learner.ReplicaId}, RemoveReplicas: []uint64{victim.ReplicaId}}})
				break
			}
		}
		if d != nil && replica.InJoint(d) && h.r.IntN(2) == 0 {
			h.step(l, d, &internalpb.ChangeReplicasStep{LeaveJoint: true})
		}
	})
}

func replicaOn(d *internalpb.Descriptor, id proto.StoreID) *internalpb.Replica {
	for _, r := range d.GetReplicas() {
		if r.StoreId == uint64(id) {
			return r
		}
	}
	return nil
}

func (h *hand) freeStores(d *internalpb.Descriptor) (free []proto.StoreID) {
	for _, s := range h.c.stores {
		if s.up && s.front.joined && replicaOn(d, s.id) == nil {
			free = append(free, s.id)
		}
	}
	return free
}

func (h *hand) caughtUp(l leaderStatus, id uint64) bool {
	st := l.store.status[l.Range]
	if st == nil {
		return false
	}
	return slices.ContainsFunc(l.store.coreOf(l.Range).Progress(l.Range), func(p *internalpb.ReplicaProgress) bool {
		return p.ReplicaId == id && p.RecentlyActive && !p.InSnapshot && p.Match+20 >= st.Commit
	})
}
