package schedule

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// healthy: reported by a leader on a live store, and exactly the wanted number of voters, all on live stores.
func (v *view) healthy(r *Range) (liveVoters int, ok bool) {
	ok = r.Reported && v.state(r.Leader) == Live && len(r.Desc.GetReplicas()) == v.cfg.Replicas
	for _, rep := range r.Desc.GetReplicas() {
		if rep.GetRole() != internalpb.ReplicaRole_VOTER || v.stateOf(rep) != Live {
			ok = false
			continue
		}
		liveVoters++
	}
	return liveVoters, ok
}

// members is a range's replicas by what they are worth.
type members struct {
	lost     []*internalpb.Replica // voters on lost stores
	present  []*internalpb.Replica // voters on the other stores
	silent   int                   // of present: on unreachable stores
	learners []*internalpb.Replica // on live stores
	dead     []*internalpb.Replica // learners on lost stores
}

func (v *view) members(r *Range) members {
	var m members
	for _, rep := range r.Desc.GetReplicas() {
		state := v.stateOf(rep)
		switch {
		case rep.GetRole() == internalpb.ReplicaRole_LEARNER && state == Live:
			m.learners = append(m.learners, rep)
		case rep.GetRole() == internalpb.ReplicaRole_LEARNER && state == Lost:
			m.dead = append(m.dead, rep)
		case rep.GetRole() == internalpb.ReplicaRole_LEARNER:
		case state == Lost:
			m.lost = append(m.lost, rep)
		default:
			m.present = append(m.present, rep)
			if state == Unreachable {
				m.silent++
			}
		}
	}
	return m
}

// check decides what to do for a range that is not as wanted: an operator, or a note, or both.
func (p *Planner) check(r *Range) (o *operator, note string) {
	if note := p.unled(r); note != "" {
		return nil, note
	}
	if r.joint() {
		return newOperator(r, FinishJoint, "a joint configuration was left behind", step{action: leaveJoint}), ""
	}
	m := p.view.members(r)
	need := p.cfg.Replicas - len(m.present)
	switch {
	case need > 0:
		if o, note = p.grow(r, &m, need); o != nil {
			return o, note
		}
	case need < 0 || len(m.lost) > 0:
		return p.shrink(r, &m, -need)
	case len(m.learners) > 0:
		rep := m.learners[len(m.learners)-1]
		return newOperator(r, RemoveReplica, fmt.Sprintf("the learner on store %d is not needed", rep.GetStoreId()),
			step{action: removeLearner, remove: []uint64{rep.GetReplicaId()}}), ""
	}
	if len(m.dead) > 0 {
		rep := m.dead[0]
		return newOperator(r, RemoveReplica, fmt.Sprintf("learner on lost store %d", rep.GetStoreId()),
			step{action: removeLearner, remove: []uint64{rep.GetReplicaId()}}), note
	}
	if note == "" && m.silent > 0 {
		note = fmt.Sprintf("%d of %d voters are on unreachable stores", m.silent, len(m.present))
	}
	return nil, note
}

// unled tells why nothing can be done: there is no leader to do it.
func (p *Planner) unled(r *Range) string {
	live, all, old := p.view.quorate(r, inOldHalf)
	if old {
		live, all, _ = p.view.quorate(r, inNewHalf)
	}
	switch {
	case live <= all/2:
		return fmt.Sprintf("no quorum: %d of %d voters are on live stores (%s)", live, all, p.view.silentStores(r))
	case !r.Reported:
		return "waits for the first report of its leader"
	case r.Leader == 0:
		return "no leader is known"
	case p.view.state(r.Leader) != Live:
		return fmt.Sprintf("its leader's store %d is %s", r.Leader, p.view.state(r.Leader))
	}
	return ""
}

func (v *view) silentStores(r *Range) string {
	var ids []proto.StoreID
	for _, rep := range r.Desc.GetReplicas() {
		if rep.GetRole() != internalpb.ReplicaRole_LEARNER && v.stateOf(rep) != Live {
			ids = append(ids, proto.StoreID(rep.GetStoreId()))
		}
	}
	return storeList(ids) + " silent"
}

// grow brings a range to the wanted number of voters in one joint step, in which lost voters leave (I3). Learners
// that are there already are used first.
func (p *Planner) grow(r *Range, m *members, need int) (o *operator, note string) {
	if fault.On(fault.DropHealthyReplica) && len(m.present) > 1 {
		drop := step{action: enterJoint, remove: []uint64{m.present[len(m.present)-1].GetReplicaId()}}
		return newOperator(r, RemoveReplica, "a mutant", drop, step{action: leaveJoint}), ""
	}
	v := p.view
	taken, beside := map[proto.StoreID]bool{}, []proto.StoreID{}
	for _, rep := range r.Desc.GetReplicas() {
		taken[proto.StoreID(rep.GetStoreId())] = true
	}
	for _, rep := range m.present {
		beside = append(beside, proto.StoreID(rep.GetStoreId()))
	}
	var promote []proto.StoreID
	for _, rep := range m.learners {
		if len(promote) < need {
			promote = append(promote, proto.StoreID(rep.GetStoreId()))
		}
	}
	beside = append(beside, promote...)
	var steps []step
	var why string
	for len(promote) < need {
		var l *load
		if l, why = v.target(taken, beside, p.cfg.AddsPerStoreMax); l == nil {
			break
		}
		steps = append(steps, step{action: addLearner, store: l.ID})
		promote, beside = append(promote, l.ID), append(beside, l.ID)
		taken[l.ID] = true
	}
	kind, reason := AddReplicas, fmt.Sprintf("%d of %d voters", len(m.present), p.cfg.Replicas)
	var remove []uint64
	for i, rep := range m.lost {
		if i == 0 {
			kind, reason = ReplaceReplica, ""
		} else {
			reason += ", "
		}
		reason += fmt.Sprintf("store %d is lost", rep.GetStoreId())
		remove = append(remove, rep.GetReplicaId())
	}
	if len(promote) < need {
		note = fmt.Sprintf("wants %d replicas, only %s", p.cfg.Replicas, p.liveStores())
		if why != "" {
			note = fmt.Sprintf("wants %d replicas: %s", p.cfg.Replicas, why)
		}
		if len(m.present) == 1 && len(m.lost) == 0 && len(steps) > 0 {
			return newOperator(r, AddReplicas, "a second copy, as a learner", steps...), note
		}
		return nil, note
	}
	steps = append(steps, step{action: enterJoint, promote: promote, remove: remove}, step{action: leaveJoint})
	return newOperator(r, kind, reason, steps...), ""
}

func (p *Planner) liveStores() string {
	n := 0
	for i := range p.view.loads {
		if p.view.loads[i].State == Live {
			n++
		}
	}
	if n == 1 {
		return "1 live store"
	}
	return fmt.Sprintf("%d live stores", n)
}

// shrink takes lost voters and surplus ones out in one joint step: unreachable ones first, then from the fullest store,
// the leader's last.
func (p *Planner) shrink(r *Range, m *members, surplus int) (o *operator, note string) {
	victims := slices.Clone(m.present)
	slices.SortStableFunc(victims, func(a, b *internalpb.Replica) int {
		if c := cmp.Compare(p.view.stateOf(a), p.view.stateOf(b)); c != 0 { // Unreachable < Live
			return c
		}
		aLeads, bLeads := proto.StoreID(a.GetStoreId()) == r.Leader, proto.StoreID(b.GetStoreId()) == r.Leader
		switch {
		case aLeads:
			return 1
		case bLeads:
			return -1
		}
		la, lb := p.view.load(proto.StoreID(a.GetStoreId())), p.view.load(proto.StoreID(b.GetStoreId()))
		if c := cmp.Compare(lb.replicas, la.replicas); c != 0 {
			return c
		}
		return cmp.Compare(b.GetReplicaId(), a.GetReplicaId())
	})
	reason := fmt.Sprintf("%d voters, %d wanted", len(m.present)+len(m.lost), p.cfg.Replicas)
	var remove []uint64
	for _, rep := range m.lost {
		remove = append(remove, rep.GetReplicaId())
	}
	for _, rep := range victims[:max(0, surplus)] {
		remove = append(remove, rep.GetReplicaId())
	}
	s := step{action: enterJoint, remove: remove}
	if _, waits := p.view.promotable(r, &s); waits != "" {
		return nil, "surplus voters stay: " + waits
	}
	return newOperator(r, RemoveReplica, reason, s, step{action: leaveJoint}), ""
}
