package schedule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// Kind names what an operator is for.
type Kind string

// The kinds of operators.
const (
	FinishJoint    Kind = "finish-joint"
	AddReplicas    Kind = "add-replicas"
	ReplaceReplica Kind = "replace-replica"
	RemoveReplica  Kind = "remove-replica"
	MoveReplica    Kind = "move-replica"
	TransferLeader Kind = "transfer-leader"
	DrainLeader    Kind = "drain-leader"
)

type action uint8

const (
	addLearner    action = iota // on store
	enterJoint                  // promote the learners on stores, remove replicas
	leaveJoint                  //
	removeLearner               // replicas[0]
	transfer                    // to the voter on store
)

type step struct {
	action  action
	store   proto.StoreID
	promote []proto.StoreID
	remove  []uint64 // replica ids
}

// operator is the way of one range to where it should be.
type operator struct {
	id      proto.RangeID
	kind    Kind
	reason  string
	steps   []step
	at      int
	version uint64 // of the epoch: a split or merge cancels
	conf    uint64 // of the epoch, last seen

	since uint64 // tick of the last progress
	match uint64 // of the learners that are behind, summed up: any change is progress
}

func newOperator(r *Range, kind Kind, reason string, steps ...step) *operator {
	return &operator{
		id: r.ID(), kind: kind, reason: reason, steps: steps,
		version: r.Desc.GetEpoch().GetVersion(), conf: r.Desc.GetEpoch().GetConf(),
	}
}

func (s *step) done(r *Range) bool {
	switch s.action {
	case addLearner:
		return r.replicaOn(s.store) != nil
	case enterJoint:
		return r.joint() || s.reached(r)
	case leaveJoint:
		return !r.joint()
	case removeLearner:
		return r.replica(s.remove[0]) == nil
	default:
		return r.Leader == s.store
	}
}

// reached: the goal of enterJoint is there although no joint configuration is to be seen (any more).
func (s *step) reached(r *Range) bool {
	for _, store := range s.promote {
		if rep := r.replicaOn(store); rep == nil || rep.GetRole() != internalpb.ReplicaRole_VOTER {
			return false
		}
	}
	for _, id := range s.remove {
		if r.replica(id) != nil {
			return false
		}
	}
	return true
}

// advance moves past steps that are done. It answers whether all are, or why the operator must end.
func (o *operator) advance(r *Range, tick uint64) (finished bool, cancel string) {
	epoch := r.Desc.GetEpoch()
	if epoch.GetVersion() != o.version {
		return false, "the range was split or merged"
	}
	before := o.at
	for o.at < len(o.steps) && o.steps[o.at].done(r) {
		o.at++
		o.since, o.match = tick, 0
	}
	if epoch.GetConf() != o.conf && o.at == before {
		return false, "another hand changed the replicas"
	}
	o.conf = epoch.GetConf()
	return o.at == len(o.steps), ""
}

// timedOut counts from the last progress; a learner that catches up makes some.
func (o *operator) timedOut(r *Range, tick uint64, cfg *Config) bool {
	s := &o.steps[o.at]
	limit := cfg.StepTimeoutTicks
	if s.action == enterJoint && len(s.promote) > 0 {
		limit = cfg.CatchUpTimeoutTicks
		var match uint64
		for _, store := range s.promote {
			rep := r.replicaOn(store)
			if rep != nil && !r.caughtUp(rep.GetReplicaId(), cfg.LagEntriesMax) {
				match += r.match(rep.GetReplicaId())
			}
		}
		if match != o.match {
			o.match, o.since = match, tick
		}
	}
	return tick-o.since > limit
}

// targets are the stores that the rest of the operator needs alive.
func (o *operator) targets() []proto.StoreID {
	var out []proto.StoreID
	for _, s := range o.steps[o.at:] {
		if s.action == addLearner || s.action == transfer {
			out = append(out, s.store)
		}
		out = append(out, s.promote...)
	}
	return out
}

// request is the current step for the range's leader, or nil and what is waited for.
func (o *operator) request(r *Range, v *view) (req *internalpb.AdminRangeRequest, waits string) {
	if o.at >= len(o.steps) {
		return nil, ""
	}
	s := &o.steps[o.at]
	change := &internalpb.ChangeReplicasStep{}
	switch s.action {
	case addLearner:
		change.AddLearnerStore = uint64(s.store)
	case removeLearner:
		change.RemoveLearnerReplica = s.remove[0]
	case transfer:
		return o.transferTo(r, r.replicaOn(s.store))
	case leaveJoint:
		change.LeaveJoint = true
		if rep := r.replicaOn(r.Leader); rep.GetRole() == internalpb.ReplicaRole_VOTER_OUTGOING {
			return o.transferTo(r, v.successor(r, nil))
		}
	case enterJoint:
		ids, waits := v.promotable(r, s)
		if waits != "" {
			return nil, waits
		}
		if rep := r.replicaOn(r.Leader); slices.Contains(s.remove, rep.GetReplicaId()) {
			return o.transferTo(r, v.successor(r, s.remove))
		}
		change.EnterJoint = &internalpb.JointStep{PromoteReplicas: ids, RemoveReplicas: s.remove}
	}
	return &internalpb.AdminRangeRequest{
		RangeId: uint64(o.id), Epoch: r.Desc.GetEpoch(),
		Step: &internalpb.AdminRangeRequest_Change{Change: change},
	}, ""
}

func (o *operator) transferTo(r *Range, to *internalpb.Replica) (*internalpb.AdminRangeRequest, string) {
	if to == nil {
		return nil, "no voter that is live and caught up can take the leadership"
	}
	return &internalpb.AdminRangeRequest{
		RangeId: uint64(o.id), Epoch: r.Desc.GetEpoch(),
		Step: &internalpb.AdminRangeRequest_Transfer{
			Transfer: &internalpb.TransferLeaderStep{ToReplica: to.GetReplicaId()},
		},
	}, ""
}

func (s *step) String() string {
	switch s.action {
	case addLearner:
		return fmt.Sprintf("add a learner on store %d", s.store)
	case enterJoint:
		var parts []string
		if len(s.promote) > 0 {
			parts = append(parts, "promote "+storeList(s.promote))
		}
		if len(s.remove) > 0 {
			parts = append(parts, fmt.Sprintf("remove replicas %v", s.remove))
		}
		return strings.Join(parts, ", ")
	case leaveJoint:
		return "leave the joint configuration"
	case removeLearner:
		return fmt.Sprintf("remove learner %d", s.remove[0])
	default:
		return fmt.Sprintf("transfer leadership to store %d", s.store)
	}
}

func storeList(ids []proto.StoreID) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = fmt.Sprint(id)
	}
	if len(ids) == 1 {
		return "store " + words[0]
	}
	return "stores " + strings.Join(words, ", ")
}
