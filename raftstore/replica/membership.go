package replica

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	gproto "google.golang.org/protobuf/proto"

	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// InJoint tells whether the descriptor is in a joint configuration.
func InJoint(d *internalpb.Descriptor) bool {
	return slices.ContainsFunc(d.GetReplicas(), func(p *internalpb.Replica) bool {
		return p.Role == internalpb.ReplicaRole_VOTER_INCOMING || p.Role == internalpb.ReplicaRole_VOTER_OUTGOING
	})
}

func replicaByID(d *internalpb.Descriptor, id uint64) *internalpb.Replica {
	for _, p := range d.Replicas {
		if p.ReplicaId == id {
			return p
		}
	}
	return nil
}

func replicaOnStore(d *internalpb.Descriptor, store uint64) *internalpb.Replica {
	for _, p := range d.Replicas {
		if p.StoreId == store {
			return p
		}
	}
	return nil
}

func cloneDescriptor(d *internalpb.Descriptor) *internalpb.Descriptor {
	return gproto.Clone(d).(*internalpb.Descriptor)
}

// Change computes what one step of membership makes of a descriptor, and the change for raft:
// learners first, then voters through a joint configuration, learners out last, so that the range
// tolerates as many faults all along.
//
// A voter that goes is a learner when the joint configuration is left, and is removed as such by a
// step of its own. Were it gone at once, a voter that has the entry which leaves, but not yet its
// commit, could need the vote of the one that is gone, and hold more of the log than those that do
// not: nobody could be elected for ever. Whoever has the entry that removes the learner has, in the
// same write, the commit of the entry before (I4).
func Change(d *internalpb.Descriptor, step *internalpb.ChangeReplicasStep) (
	after *internalpb.Descriptor, cc *raftpb.ConfChangeV2, err error) {
	after = cloneDescriptor(d)
	after.Epoch.Conf++
	cc = &raftpb.ConfChangeV2{}
	switch {
	case step.LeaveJoint:
		if !InJoint(d) {
			return nil, nil, fmt.Errorf("range %d is not in a joint configuration", d.RangeId)
		}
		for _, p := range after.Replicas {
			switch p.Role {
			case internalpb.ReplicaRole_VOTER_INCOMING:
				p.Role = internalpb.ReplicaRole_VOTER
			case internalpb.ReplicaRole_VOTER_OUTGOING:
				p.Role = internalpb.ReplicaRole_LEARNER
			}
		}
		return after, cc, nil
	case InJoint(d):
		return nil, nil, fmt.Errorf("range %d is in a joint configuration; leave it first", d.RangeId)
	case step.AddLearnerStore != 0:
		err = addLearner(after, step.AddLearnerStore, cc)
	case step.RemoveLearnerReplica != 0:
		err = removeLearner(after, step.RemoveLearnerReplica, cc)
	case step.EnterJoint != nil:
		err = enterJoint(after, step.EnterJoint, cc)
	default:
		err = fmt.Errorf("an empty step")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("range %d: %w", d.RangeId, err)
	}
	return after, cc, nil
}

func addLearner(after *internalpb.Descriptor, store uint64, cc *raftpb.ConfChangeV2) error {
	if replicaOnStore(after, store) != nil {
		return fmt.Errorf("store %d has a replica already", store)
	}
	p := &internalpb.Replica{StoreId: store, ReplicaId: after.NextReplicaId, Role: internalpb.ReplicaRole_LEARNER}
	after.NextReplicaId++
	after.Replicas = append(after.Replicas, p)
	addChange(cc, raftpb.ConfChangeAddLearnerNode, p.ReplicaId)
	return nil
}

func removeLearner(after *internalpb.Descriptor, id uint64, cc *raftpb.ConfChangeV2) error {
	p := replicaByID(after, id)
	if p == nil || p.Role != internalpb.ReplicaRole_LEARNER {
		return fmt.Errorf("replica %d is not a learner", id)
	}
	after.Replicas = slices.DeleteFunc(after.Replicas, func(q *internalpb.Replica) bool { return q.ReplicaId == id })
	addChange(cc, raftpb.ConfChangeRemoveNode, id)
	return nil
}

func enterJoint(
	after *internalpb.Descriptor, step *internalpb.JointStep, cc *raftpb.ConfChangeV2,
) error {
	cc.Transition = raftpb.ConfChangeTransitionJointExplicit.Enum()
	for _, id := range step.PromoteReplicas {
		p := replicaByID(after, id)
		if p == nil || p.Role != internalpb.ReplicaRole_LEARNER {
			return fmt.Errorf("replica %d is not a learner", id)
		}
		p.Role = internalpb.ReplicaRole_VOTER_INCOMING
		addChange(cc, raftpb.ConfChangeAddNode, id)
	}
	for _, id := range step.RemoveReplicas {
		p := replicaByID(after, id)
		if p == nil || p.Role != internalpb.ReplicaRole_VOTER {
			return fmt.Errorf("replica %d is not a voter", id)
		}
		p.Role = internalpb.ReplicaRole_VOTER_OUTGOING
		addChange(cc, raftpb.ConfChangeAddLearnerNode, id)
	}
	voters := 0
	for _, p := range after.Replicas {
		if p.Role == internalpb.ReplicaRole_VOTER || p.Role == internalpb.ReplicaRole_VOTER_INCOMING {
			voters++
		}
	}
	if len(cc.Changes) == 0 || voters == 0 {
		return fmt.Errorf("a joint step must change something and leave a voter")
	}
	return nil
}

func addChange(cc *raftpb.ConfChangeV2, t raftpb.ConfChangeType, id uint64) {
	cc.Changes = append(cc.Changes, &raftpb.ConfChangeSingle{Type: t.Enum(), NodeId: &id})
}

// confState derives raft's configuration from a descriptor, the only place where membership is
// kept.
func confState(d *internalpb.Descriptor) *raftpb.ConfState {
	cs := &raftpb.ConfState{}
	for _, p := range d.GetReplicas() {
		switch p.Role {
		case internalpb.ReplicaRole_VOTER:
			cs.Voters = append(cs.Voters, p.ReplicaId)
			cs.VotersOutgoing = append(cs.VotersOutgoing, p.ReplicaId)
		case internalpb.ReplicaRole_LEARNER:
			cs.Learners = append(cs.Learners, p.ReplicaId)
		case internalpb.ReplicaRole_VOTER_INCOMING:
			cs.Voters = append(cs.Voters, p.ReplicaId)
		case internalpb.ReplicaRole_VOTER_OUTGOING:
			cs.VotersOutgoing = append(cs.VotersOutgoing, p.ReplicaId)
			cs.LearnersNext = append(cs.LearnersNext, p.ReplicaId)
		}
	}
	if !InJoint(d) {
		cs.VotersOutgoing = nil
	}
	return cs
}
