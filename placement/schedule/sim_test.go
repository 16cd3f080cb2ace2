package schedule

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gproto "google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// simRange is a range that carries out steps the way package replica does, without data.
type simRange struct {
	Range
	index uint64            // the log's
	match map[uint64]uint64 // by replica id
	snap  map[uint64]int    // rounds of range snapshot left, by replica id
}

type simStore struct {
	alive  bool
	silent int // rounds
}

// sim is a cluster that the planner drives. Times are rounds, one tick each.
type sim struct {
	rng      *rand.Rand
	planner  *Planner
	cfg      Config
	stores   []simStore // store id - 1
	local    [][]string
	draining []bool
	space    map[int]uint64 // percent available, by store index; missing: not known
	ranges   []*simRange
	lostFor  int
	slow     float64 // chance that a step, a report, an election does not happen in a round
	begun    int     // operators, since it was reset
	trace    []string
}

func newSim(seed uint64, stores, ranges int) *sim {
	s := &sim{rng: rand.New(rand.NewPCG(seed, 1)), cfg: DefaultConfig(), lostFor: 20, space: map[int]uint64{}}
	s.cfg.CatchUpTimeoutTicks, s.cfg.StepTimeoutTicks = 60, 30
	s.planner = New(s.cfg)
	for range stores {
		s.join(nil)
	}
	for i := range ranges {
		s.addRange(uint64(i + 1))
	}
	return s
}

func (s *sim) join(locality []string) {
	s.stores = append(s.stores, simStore{alive: true})
	s.local = append(s.local, locality)
	s.draining = append(s.draining, false)
}

func (s *sim) addRange(id uint64) {
	r := &simRange{match: map[uint64]uint64{1: 10}, snap: map[uint64]int{}, index: 10}
	r.Desc = &internalpb.Descriptor{
		RangeId: id, Epoch: &internalpb.Epoch{Version: 1, Conf: 1}, NextReplicaId: 2,
		Replicas: []*internalpb.Replica{{StoreId: 1, ReplicaId: 1}},
	}
	r.Leader, r.Term, r.Reported = 1, 1, true
	s.ranges = append(s.ranges, r)
}

func (s *sim) alive(id uint64) bool { return s.stores[id-1].alive }

func (s *sim) state(id uint64) StoreState {
	st := s.stores[id-1]
	switch {
	case st.alive || st.silent < 3:
		return Live
	case st.silent < s.lostFor:
		return Unreachable
	}
	return Lost
}

func (s *sim) cluster() *Cluster {
	c := &Cluster{}
	for i := range s.stores {
		store := Store{
			ID: proto.StoreID(i + 1), State: s.state(uint64(i + 1)), Locality: s.local[i], Draining: s.draining[i],
		}
		if percent, ok := s.space[i]; ok {
			store.CapacityBytes, store.AvailableBytes = 1000, percent*10
		}
		c.Stores = append(c.Stores, store)
	}
	for _, r := range s.ranges {
		c.Ranges = append(c.Ranges, &r.Range)
	}
	return c
}

// quorum tells whether living voters are a majority of both halves of a descriptor.
func (s *sim) quorum(d *internalpb.Descriptor) bool {
	for _, half := range []func(*internalpb.Replica) bool{inOldHalf, inNewHalf} {
		live, all := 0, 0
		for _, rep := range d.Replicas {
			if half(rep) {
				all++
				if s.alive(rep.StoreId) {
					live++
				}
			}
		}
		if live <= all/2 {
			return false
		}
	}
	return true
}

// raft moves one range's replication and elections on by a round.
func (s *sim) raft(r *simRange) {
	if r.Leader == 0 || !s.alive(uint64(r.Leader)) || r.replicaOn(r.Leader) == nil {
		if s.quorum(r.Desc) && s.rng.Float64() > s.slow {
			for _, rep := range r.Desc.Replicas {
				if rep.Role != internalpb.ReplicaRole_LEARNER && s.alive(rep.StoreId) && r.match[rep.ReplicaId] >= r.index-5 {
					r.Leader = proto.StoreID(rep.StoreId)
					r.Term++
					break
				}
			}
		}
	}
	if r.Leader == 0 || !s.alive(uint64(r.Leader)) || !s.quorum(r.Desc) {
		return
	}
	r.index++
	r.Applied = r.index
	r.Progress = nil
	for _, rep := range r.Desc.Replicas {
		id := rep.ReplicaId
		if s.alive(rep.StoreId) {
			if r.snap[id] > 0 {
				r.snap[id]--
			} else {
				r.match[id] = r.index
			}
		}
		r.Progress = append(r.Progress, &internalpb.ReplicaProgress{
			ReplicaId: id, Match: r.match[id], RecentlyActive: s.alive(rep.StoreId), InSnapshot: r.snap[id] > 0,
		})
	}
}

// execute carries a request out if raft would.
func (s *sim) execute(r *simRange, req *internalpb.AdminRangeRequest) error {
	if !gproto.Equal(req.Epoch, r.Desc.Epoch) || !s.quorum(r.Desc) || !s.alive(uint64(r.Leader)) {
		return nil // stale, or not now
	}
	if t := req.GetTransfer(); t != nil {
		to := r.replica(t.ToReplica)
		if to == nil || to.Role == internalpb.ReplicaRole_LEARNER || to.Role == internalpb.ReplicaRole_VOTER_OUTGOING {
			return fmt.Errorf("range %d: transfer to replica %d, which is no voter to be", r.ID(), t.ToReplica)
		}
		if s.alive(to.StoreId) {
			r.Leader = proto.StoreID(to.StoreId)
			r.Term++
		}
		return nil
	}
	after := gproto.Clone(r.Desc).(*internalpb.Descriptor)
	after.Epoch.Conf++
	change := req.GetChange()
	switch {
	case change.AddLearnerStore != 0:
		if r.replicaOn(proto.StoreID(change.AddLearnerStore)) != nil {
			return fmt.Errorf("range %d: two replicas on store %d", r.ID(), change.AddLearnerStore)
		}
		r.snap[after.NextReplicaId] = s.rng.IntN(6)
		after.Replicas = append(after.Replicas, &internalpb.Replica{
			StoreId: change.AddLearnerStore, ReplicaId: after.NextReplicaId, Role: internalpb.ReplicaRole_LEARNER,
		})
		after.NextReplicaId++
	case change.RemoveLearnerReplica != 0:
		if rep := r.replica(change.RemoveLearnerReplica); rep.GetRole() != internalpb.ReplicaRole_LEARNER {
			return fmt.Errorf("range %d: removes replica %d, which is no learner", r.ID(), change.RemoveLearnerReplica)
		}
		after.Replicas = slices.DeleteFunc(after.Replicas, func(rep *internalpb.Replica) bool {
			return rep.ReplicaId == change.RemoveLearnerReplica
		})
	case change.LeaveJoint:
		if !r.joint() {
			return fmt.Errorf("range %d: leaves a joint configuration that is not there", r.ID())
		}
		if r.replicaOn(r.Leader).Role == internalpb.ReplicaRole_VOTER_OUTGOING {
			return fmt.Errorf("range %d: the leader would leave the range leaderless", r.ID())
		}
		after.Replicas = slices.DeleteFunc(after.Replicas, func(rep *internalpb.Replica) bool {
			return rep.Role == internalpb.ReplicaRole_VOTER_OUTGOING
		})
		for _, rep := range after.Replicas {
			if rep.Role == internalpb.ReplicaRole_VOTER_INCOMING {
				rep.Role = internalpb.ReplicaRole_VOTER
			}
		}
	default:
		if err := s.enterJoint(r, after, change.EnterJoint); err != nil {
			return err
		}
	}
	r.Desc = after
	return nil
}

func (s *sim) enterJoint(r *simRange, after *internalpb.Descriptor, joint *internalpb.JointStep) error {
	if r.joint() {
		return fmt.Errorf("range %d: is in a joint configuration", r.ID())
	}
	if slices.Contains(joint.RemoveReplicas, r.replicaOn(r.Leader).ReplicaId) {
		return fmt.Errorf("range %d: removes its leader, which should have handed over first", r.ID())
	}
	takesLive := false
	for _, rep := range after.Replicas {
		switch {
		case slices.Contains(joint.PromoteReplicas, rep.ReplicaId):
			if rep.Role != internalpb.ReplicaRole_LEARNER || r.snap[rep.ReplicaId] > 0 {
				return fmt.Errorf("range %d: replica %d is not ready to be a voter", r.ID(), rep.ReplicaId)
			}
			rep.Role = internalpb.ReplicaRole_VOTER_INCOMING
		case slices.Contains(joint.RemoveReplicas, rep.ReplicaId):
			if rep.Role != internalpb.ReplicaRole_VOTER {
				return fmt.Errorf("range %d: replica %d is no voter", r.ID(), rep.ReplicaId)
			}
			rep.Role = internalpb.ReplicaRole_VOTER_OUTGOING
			takesLive = takesLive || s.alive(rep.StoreId)
		}
	}
	live, all := 0, 0
	for _, rep := range after.Replicas {
		if inNewHalf(rep) {
			all++
			if s.state(rep.StoreId) == Live {
				live++
			}
		}
	}
	if live <= all/2 {
		return fmt.Errorf("range %d: %d of %d voters live after the step (takes a live one: %v)",
			r.ID(), live, all, takesLive)
	}
	if all%2 == 0 {
		return fmt.Errorf("range %d: goes to %d voters", r.ID(), all)
	}
	return nil
}

// decide lets the planner tick once, on fresh reports.
func (s *sim) decide() {
	for _, r := range s.ranges {
		s.raft(r)
	}
	for _, e := range s.planner.Tick(s.cluster()) {
		s.trace = append(s.trace, e.String())
		if strings.HasPrefix(e.Text, "begun") {
			s.begun++
		}
	}
}

// round is one tick of everything. It answers the first broken rule.
func (s *sim) round() error {
	for i := range s.stores {
		if st := &s.stores[i]; st.alive {
			st.silent = 0
		} else {
			st.silent++
		}
	}
	s.decide()
	for _, r := range s.ranges {
		if r.Leader == 0 || !s.alive(uint64(r.Leader)) || s.rng.Float64() < s.slow {
			continue
		}
		if req := s.planner.Step(&r.Range); req != nil && s.rng.Float64() >= s.slow {
			if err := s.execute(r, req); err != nil {
				return err
			}
		}
	}
	for _, r := range s.ranges {
		seen := map[uint64]bool{}
		for _, rep := range r.Desc.Replicas {
			if seen[rep.StoreId] {
				return fmt.Errorf("range %d: two replicas on store %d", r.ID(), rep.StoreId)
			}
			seen[rep.StoreId] = true
		}
	}
	return nil
}

// unsettled tells what is not yet as it should be, when nothing fails any more.
func (s *sim) unsettled() string {
	live := 0
	leaders, replicas := make([]int, len(s.stores)), make([]int, len(s.stores))
	for i := range s.stores {
		if s.stores[i].alive {
			live++
		}
	}
	located := false
	for _, r := range s.ranges {
		voters, learners := 0, 0
		for _, rep := range r.Desc.Replicas {
			if !s.alive(rep.StoreId) {
				if live >= 3 {
					return fmt.Sprintf("range %d has a replica on dead store %d", r.ID(), rep.StoreId)
				}
				continue
			}
			replicas[rep.StoreId-1]++
			switch rep.Role {
			case internalpb.ReplicaRole_VOTER:
				voters++
			case internalpb.ReplicaRole_LEARNER:
				learners++
			default:
				return fmt.Sprintf("range %d is in a joint configuration", r.ID())
			}
		}
		leaders[r.Leader-1]++
		if live >= 3 && (voters != 3 || learners != 0) {
			return fmt.Sprintf("range %d has %d voters and %d learners on %d stores", r.ID(), voters, learners, live)
		}
	}
	lo, hi, rlo, rhi := 1<<30, 0, 1<<30, 0
	for i := range s.stores {
		located = located || s.local[i] != nil
		if s.stores[i].alive && !s.draining[i] {
			lo, hi = min(lo, leaders[i]), max(hi, leaders[i])
			rlo, rhi = min(rlo, replicas[i]), max(rhi, replicas[i])
		}
		if s.draining[i] && s.stores[i].alive && leaders[i] > 0 && live >= 3 {
			return fmt.Sprintf("store %d drains and leads", i+1)
		}
	}
	if located || live < 3 {
		return ""
	}
	if hi-lo > s.cfg.LeaderTolerance {
		return fmt.Sprintf("leaders %v", leaders)
	}
	if live > 3 && rhi-rlo > s.cfg.ReplicaTolerance {
		return fmt.Sprintf("replicas %v", replicas)
	}
	return ""
}

// survives tells whether every range keeps its quorum when a store dies.
func (s *sim) survives(store int) bool {
	s.stores[store].alive = false
	defer func() { s.stores[store].alive = true }()
	for _, r := range s.ranges {
		if !s.quorum(r.Desc) {
			return false
		}
	}
	return true
}

func TestAnyClusterConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 4).Draw(t, "stores"),
			rapid.IntRange(1, 14).Draw(t, "ranges"))
		s.slow = rapid.SampledFrom([]float64{0, 0.2, 0.6}).Draw(t, "slow")
		wild := rapid.Bool().Draw(t, "wild") // stores die although ranges lose their quorum: only safety is checked
		if rapid.Bool().Draw(t, "zones") {
			for i := range s.local {
				s.local[i] = []string{fmt.Sprint("z", i%3)}
			}
		}
		step := func() {
			if err := s.round(); err != nil {
				t.Fatalf("%v\n%s", err, strings.Join(s.trace, "\n"))
			}
		}
		for range rapid.IntRange(0, 12).Draw(t, "events") {
			i := rapid.IntRange(0, len(s.stores)-1).Draw(t, "store")
			switch rapid.IntRange(0, 4).Draw(t, "event") {
			case 0:
				if len(s.stores) < 6 {
					s.join(s.local[0])
				}
			case 1:
				if s.stores[i].alive && (wild || s.survives(i)) {
					s.stores[i].alive = false
				}
			case 2:
				s.stores[i].alive = true
			case 3:
				s.draining[i] = !s.draining[i]
			}
			for range rapid.IntRange(0, 50).Draw(t, "rounds") {
				step()
			}
		}
		clear(s.draining)
		s.slow = min(s.slow, 0.3)
		for i := range 800 {
			step()
			if !wild && i > s.lostFor && s.unsettled() == "" && s.planner.Running() == 0 {
				break
			}
		}
		if what := s.unsettled(); !wild && what != "" {
			t.Fatalf("not settled: %s\n%s", what, strings.Join(s.trace, "\n"))
		}
		s.begun = 0
		for range 100 {
			step()
		}
		if s.begun > 0 {
			t.Fatalf("not quiet: %s", strings.Join(s.trace[len(s.trace)-s.begun:], "\n"))
		}
	})
}
