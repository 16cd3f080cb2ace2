package placement

import (
	"context"
	"fmt"

	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// Join admits a node. Without an id it gets a new one (its store's id is the same), saved before the answer; with an
// id it is known and only its addresses are taken in. Errors: NotLeader; InvalidArgument when the node was declared
// lost, is not known, or its peer address belongs to a live node; those of State.
func (d *Driver) Join(
	ctx context.Context, req *internalpb.JoinRequest,
) (*internalpb.JoinResponse, error) {
	info := req.GetNode()
	if info.GetPeerAddress() == "" {
		return nil, rpcerr.Invalid("node.peer_address", "is needed to join")
	}
	if err := d.acquire(ctx); err != nil {
		return nil, err
	}
	defer d.release()
	d.mu.Lock()
	a := d.mu.act
	if a == nil {
		d.mu.Unlock()
		return nil, notLeader()
	}
	rec, stale, err := a.admit(info, d.cfg.NowMs()-d.cfg.UnreachableAfter.Milliseconds())
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	kv, err := record(nodeKey(proto.NodeID(rec.Node.NodeId)), rec)
	if err != nil {
		return nil, err
	}
	var deletes [][]byte
	if stale != nil {
		deletes = append(deletes, nodeKey(stale.node()))
	}
	if err := d.state.Save(ctx, a.term, []KV{kv}, deletes); err != nil {
		return nil, fmt.Errorf("join node %d: %w", rec.Node.NodeId, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	a.welcome(rec, stale, d.cfg.NowMs()) // it is saved: the answer holds, whoever is in office now
	d.cfg.Logger.Info("node joined", "node", rec.Node.NodeId, "peer_address", rec.Node.PeerAddress)
	return &internalpb.JoinResponse{
		ClusterId: d.cfg.ClusterID, NodeId: rec.Node.NodeId, StoreId: rec.StoreId,
	}, nil
}

// admit makes the record of a node that joins. stale is a member that never came to anything at the same address: the
// answer to its join was lost, and it is forgotten in the same save. New ids are above all that were ever given: a
// record goes only when a greater one comes in the same save. A member that was heard since liveMs is live.
func (a *activation) admit(
	info *internalpb.NodeInfo, liveMs int64,
) (rec *internalpb.NodeRecord, stale *member, err error) {
	info = gproto.Clone(info).(*internalpb.NodeInfo)
	if id := proto.NodeID(info.GetNodeId()); id != 0 {
		m := a.memberOfNode(id)
		switch {
		case m == nil:
			return nil, nil, rpcerr.Invalid("node.node_id",
				fmt.Sprintf("node %d is not known to this cluster", id))
		case m.rec.GetLost():
			return nil, nil, rpcerr.Invalid("node.node_id", fmt.Sprintf(
				"node %d was declared lost and must not come back: clear its directory, join it anew", id))
		}
		rec = gproto.Clone(m.rec).(*internalpb.NodeRecord)
		rec.Node = info
		return rec, nil, nil
	}
	var greatest uint64
	for _, m := range a.members {
		greatest = max(greatest, uint64(m.node()), uint64(m.store()))
		if m.rec.GetNode().GetPeerAddress() != info.GetPeerAddress() || m.rec.GetLost() {
			continue
		}
		if m.heard && m.lastMs >= liveMs {
			return nil, nil, rpcerr.Invalid("node.peer_address", fmt.Sprintf(
				"%s belongs to node %d, which is live", info.GetPeerAddress(), m.node()))
		}
		if !m.heard && !a.holdsReplica(m.store()) {
			stale = m
		}
	}
	info.NodeId = greatest + 1
	return &internalpb.NodeRecord{Node: info, StoreId: greatest + 1}, stale, nil
}

func (a *activation) holdsReplica(store proto.StoreID) bool {
	for _, r := range a.ranges.ordered {
		for _, rep := range r.Desc.GetReplicas() {
			if proto.StoreID(rep.GetStoreId()) == store {
				return true
			}
		}
	}
	return false
}

// welcome puts a saved record into memory.
func (a *activation) welcome(rec *internalpb.NodeRecord, stale *member, now int64) {
	if stale != nil {
		kept := a.members[:0]
		for _, m := range a.members {
			if m != stale {
				kept = append(kept, m)
			}
		}
		a.members = kept
		delete(a.dirtyNodes, stale.node())
	}
	if m := a.member(proto.StoreID(rec.StoreId)); m != nil {
		m.rec = rec
		delete(a.dirtyNodes, m.node())
	} else {
		a.members = append(a.members, &member{rec: rec, lastMs: now})
	}
	a.membersChanged()
}

// DeclareLost declares a node lost for good: its replicas are replaced at once and it must not come back. Errors:
// NotLeader; InvalidArgument when the node is not known; those of State.
func (d *Driver) DeclareLost(ctx context.Context, id proto.NodeID) error {
	if err := d.acquire(ctx); err != nil {
		return err
	}
	defer d.release()
	d.mu.Lock()
	a := d.mu.act
	if a == nil {
		d.mu.Unlock()
		return notLeader()
	}
	m := a.memberOfNode(id)
	if m == nil {
		d.mu.Unlock()
		return rpcerr.Invalid("node", fmt.Sprintf("node %d is not known", id))
	}
	rec := gproto.Clone(m.rec).(*internalpb.NodeRecord)
	d.mu.Unlock()
	rec.Lost = true
	kv, err := record(nodeKey(id), rec)
	if err != nil {
		return err
	}
	if err := d.state.Save(ctx, a.term, []KV{kv}, nil); err != nil {
		return fmt.Errorf("declare node %d lost: %w", id, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	a.welcome(rec, nil, d.cfg.NowMs())
	d.cfg.Logger.Warn("node declared lost", "node", id)
	return nil
}

// AllocateIDs hands out req.Count ids in a row (1 to 100,000) that nobody ever had: for ranges.
func (d *Driver) AllocateIDs(
	ctx context.Context, req *internalpb.AllocateIdsRequest,
) (*internalpb.AllocateIdsResponse, error) {
	count := uint64(req.GetCount())
	if count == 0 || count > allocateMax {
		return nil, rpcerr.Invalid("count", fmt.Sprintf("must be 1 to %d", allocateMax))
	}
	first, _, err := d.takeIDs(count)
	if err != nil {
		return nil, err
	}
	if first == 0 {
		if first, err = d.saveAndTakeIDs(ctx, count); err != nil {
			return nil, err
		}
	}
	return &internalpb.AllocateIdsResponse{First: first}, nil
}

func (d *Driver) saveAndTakeIDs(ctx context.Context, count uint64) (first uint64, err error) {
	if err := d.acquire(ctx); err != nil {
		return 0, err
	}
	defer d.release()
	for {
		// First: another call may have saved a block while this one waited. Then: others may have used up the new block.
		first, a, err := d.takeIDs(count)
		if err != nil || first != 0 {
			return first, err
		}
		d.mu.Lock()
		saved := a.nextID + count + d.cfg.IDBlock
		d.mu.Unlock()
		kv, err := record([]byte(allocatorKey), &internalpb.AllocatorRecord{Next: saved})
		if err != nil {
			return 0, err
		}
		if err := d.state.Save(ctx, a.term, []KV{kv}, nil); err != nil {
			return 0, fmt.Errorf("save the allocator: %w", err)
		}
		d.mu.Lock()
		a.savedID = saved
		d.mu.Unlock()
	}
}

// takeIDs takes ids from the saved block, if they fit: else first is 0 and a is the activation in office.
func (d *Driver) takeIDs(count uint64) (first uint64, a *activation, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a = d.mu.act
	if a == nil {
		return 0, nil, notLeader()
	}
	if a.nextID+count > a.savedID {
		return 0, a, nil
	}
	first = a.nextID
	a.nextID += count
	return first, a, nil
}
