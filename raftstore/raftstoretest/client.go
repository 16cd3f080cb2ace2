package raftstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// Key is a key of tenant 1.
func Key(name string) []byte { return append(slices.Clone(UserStart), "k"+name...) }

// Contains tells whether a descriptor's span holds a key.
func Contains(d *internalpb.Descriptor, key []byte) bool {
	return d != nil && bytes.Compare(d.Start, key) <= 0 && (len(d.End) == 0 || bytes.Compare(key, d.End) < 0)
}

// Leader is a store that says it leads a range for which ok is true: the newest term's. Nil when there is none.
func (c *Cluster) Leader(ok func(*replica.Status) bool) (*raftstore.Store, *replica.Status) {
	var store *raftstore.Store
	var best *replica.Status
	for _, n := range c.nodes {
		s := n.Store()
		if s == nil {
			continue
		}
		s.Statuses(func(st *replica.Status) bool {
			if st.Leads && st.Descriptor != nil && ok(st) && (best == nil || st.Term > best.Term) {
				store, best = s, st
			}
			return true
		})
	}
	return store, best
}

func byID(id proto.RangeID) func(*replica.Status) bool {
	return func(st *replica.Status) bool { return st.Range == id }
}

// WaitLeader waits until a range has a leader that may begin commands.
func (c *Cluster) WaitLeader(id proto.RangeID) (*raftstore.Store, *internalpb.Descriptor) {
	c.T.Helper()
	var store *raftstore.Store
	var desc *internalpb.Descriptor
	c.Wait(fmt.Sprintf("range %d has a leader", id), func() bool {
		s, _ := c.Leader(byID(id))
		if s == nil {
			return false
		}
		d, _, err := s.Begin(id)
		store, desc = s, d
		return err == nil
	})
	return store, desc
}

// LeaderStore is the store that leads a range.
func (c *Cluster) LeaderStore(id proto.RangeID) proto.StoreID {
	c.T.Helper()
	s, _ := c.WaitLeader(id)
	for _, n := range c.nodes {
		if n.Store() == s {
			return n.ID
		}
	}
	c.T.Fatalf("the leader of range %d is gone", id)
	return 0
}

// ErrNoLeader: no store says that it leads the range.
var ErrNoLeader = errors.New("no store leads the range")

// Put writes a key once: begin, evaluate, propose.
func (c *Cluster) Put(ctx context.Context, key, value []byte) error {
	s, st := c.Leader(func(st *replica.Status) bool { return Contains(st.Descriptor, key) })
	if s == nil {
		return ErrNoLeader
	}
	return Put(ctx, s, st.Range, key, value)
}

// Put writes a key once through a store.
func Put(ctx context.Context, s *raftstore.Store, id proto.RangeID, key, value []byte) error {
	d, term, err := s.Begin(id)
	if err != nil {
		return err
	}
	return s.Propose(ctx, id, WriteCommand(d, term, key, value))
}

// WriteCommand is a command that writes a key, evaluated under a descriptor and a term.
func WriteCommand(d *internalpb.Descriptor, term uint64, key, value []byte) *internalpb.Command {
	var b storage.Batch
	k := keys.Data(key)
	b.Set(k, value)
	return &internalpb.Command{EpochVersion: d.Epoch.Version, EvalTerm: term,
		Kind: &internalpb.Command_Write{Write: &internalpb.WriteCommand{
			Tenant: 1, Batch: b.Bytes(), DeltaBytes: int64(len(k) + len(value))}}}
}

// Harmless: the write had no effect and may be evaluated again.
func Harmless(err error) bool {
	var notLeader *rpcerr.NotLeaderError
	var stale *rpcerr.StaleEpochError
	var throttled *rpcerr.ThrottledError
	return errors.As(err, &notLeader) || errors.As(err, &stale) || errors.As(err, &throttled) ||
		errors.Is(err, ErrNoLeader)
}

// MustPut writes a key, again and again until it is acknowledged: the write is idempotent.
func (c *Cluster) MustPut(key, value []byte) {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	c.Wait(fmt.Sprintf("write %q", key), func() bool {
		err := c.Put(ctx, key, value)
		var ambiguous *rpcerr.AmbiguousError
		if err != nil && !Harmless(err) && !errors.As(err, &ambiguous) {
			c.T.Fatalf("write %q: %v", key, err)
		}
		return err == nil
	})
}

// Get reads a key linearizably, once.
func (c *Cluster) Get(ctx context.Context, key []byte) ([]byte, error) {
	s, st := c.Leader(func(st *replica.Status) bool { return Contains(st.Descriptor, key) })
	if s == nil {
		return nil, ErrNoLeader
	}
	_, term, err := s.Begin(st.Range)
	if err != nil {
		return nil, err
	}
	if err := s.Confirm(ctx, st.Range, term); err != nil {
		return nil, err
	}
	view := s.NewView()
	defer func() { _ = view.Close() }()
	state, err := replica.ReadState(view, st.Range)
	if err != nil {
		return nil, err
	}
	if !Contains(state.Desc, key) {
		return nil, &rpcerr.StaleEpochError{}
	}
	return view.Get(keys.Data(key))
}

// MustGet reads a key, waiting for a leader.
func (c *Cluster) MustGet(key []byte) (value []byte, found bool) {
	c.T.Helper()
	c.Wait(fmt.Sprintf("read %q", key), func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		v, err := c.Get(ctx, key)
		value, found = v, err == nil
		if err != nil && !Harmless(err) && !errors.Is(err, storage.ErrNotFound) && ctx.Err() == nil {
			c.T.Fatalf("read %q: %v", key, err)
		}
		return err == nil || errors.Is(err, storage.ErrNotFound)
	})
	return value, found
}

// Place makes a range's voters exactly those on the given stores, step by step, and waits for it.
func (c *Cluster) Place(id proto.RangeID, stores ...proto.StoreID) {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	if err := c.TryPlace(ctx, id, stores...); err != nil {
		c.T.Fatal(err)
	}
}

// TryPlace is Place for goroutines other than the test's own.
func (c *Cluster) TryPlace(ctx context.Context, id proto.RangeID, stores ...proto.StoreID) error {
	var last error
	for {
		s, st := c.Leader(byID(id))
		if s != nil {
			step := c.nextStep(ctx, s, st, stores)
			if step == nil && placed(st.Descriptor, stores) {
				return nil
			}
			if step != nil {
				_, last = s.ChangeReplicas(ctx, id, st.Descriptor.Epoch, step)
			}
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("place range %d on %v: %w (last step: %w; leader %+v)", id, stores, err, last, st)
		}
	}
}

func placed(d *internalpb.Descriptor, stores []proto.StoreID) bool {
	if len(d.Replicas) != len(stores) {
		return false
	}
	for _, p := range d.Replicas {
		if p.Role != internalpb.ReplicaRole_VOTER || !slices.Contains(stores, proto.StoreID(p.StoreId)) {
			return false
		}
	}
	return true
}

// nextStep is what brings a descriptor closer to voters on stores: leave a joint configuration, add a learner, promote
// all learners that have caught up and take the others out.
func (c *Cluster) nextStep(ctx context.Context, s *raftstore.Store, st *replica.Status,
	stores []proto.StoreID) *internalpb.ChangeReplicasStep {
	d := st.Descriptor
	if replica.InJoint(d) {
		return &internalpb.ChangeReplicasStep{LeaveJoint: true}
	}
	joint := &internalpb.JointStep{}
	for _, p := range d.Replicas {
		switch {
		case p.Role == internalpb.ReplicaRole_LEARNER && !slices.Contains(stores, proto.StoreID(p.StoreId)):
			return &internalpb.ChangeReplicasStep{RemoveLearnerReplica: p.ReplicaId}
		case p.Role == internalpb.ReplicaRole_LEARNER:
			joint.PromoteReplicas = append(joint.PromoteReplicas, p.ReplicaId)
		case !slices.Contains(stores, proto.StoreID(p.StoreId)):
			joint.RemoveReplicas = append(joint.RemoveReplicas, p.ReplicaId)
		}
	}
	for _, store := range stores {
		if !slices.ContainsFunc(d.Replicas, func(p *internalpb.Replica) bool { return p.StoreId == uint64(store) }) {
			return &internalpb.ChangeReplicasStep{AddLearnerStore: uint64(store)}
		}
	}
	for _, id := range joint.PromoteReplicas {
		if !caughtUp(ctx, s, st, id) {
			return nil
		}
	}
	if len(joint.PromoteReplicas)+len(joint.RemoveReplicas) == 0 {
		return nil
	}
	return &internalpb.ChangeReplicasStep{EnterJoint: joint}
}

func caughtUp(ctx context.Context, s *raftstore.Store, st *replica.Status, id uint64) bool {
	led, _, _, err := s.Led(ctx, 1<<30)
	if err != nil {
		return false
	}
	for _, r := range led {
		if r.Desc.RangeId != uint64(st.Range) {
			continue
		}
		for _, p := range r.Progress {
			if p.ReplicaId == id {
				return !p.InSnapshot && p.Match >= st.Applied
			}
		}
	}
	return false
}

func isStale(err error) bool {
	var stale *rpcerr.StaleEpochError
	return errors.As(err, &stale)
}

// pause waits a moment before a write is tried again.
func pause(ctx context.Context) error {
	t := time.NewTimer(2 * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
