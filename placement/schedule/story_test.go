package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// TestStories runs testdata/*.txt on the simulated cluster, with nothing slow. Commands:
//
//	cluster stores=N [locality=(z1,z1,..)]   then a line a range: ID leader=S 1v 2v 3l 4in 5out [behind=S] [unreported]
//	kill store=S [lost]        it is silent: unreachable at once, lost after a while or at once
//	revive|drain store=S, join, space store=S percent=P
//	tick                       reports arrive, the planner decides; prints events, ranges, steps
//	round [n=N]                N ticks, and leaders carry the steps out; prints events and ranges
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var s *sim
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "cluster" {
				s = buildCluster(t, d)
				return ""
			}
			return runStory(t, s, d)
		})
	})
}

func runStory(t *testing.T, s *sim, d *datadriven.TestData) string {
	store, n := 0, 1
	d.MaybeScanArgs(t, "store", &store)
	d.MaybeScanArgs(t, "n", &n)
	switch d.Cmd {
	case "kill":
		s.stores[store-1] = simStore{silent: 3}
		if d.HasArg("lost") {
			s.stores[store-1].silent = s.lostFor
		}
	case "revive":
		s.stores[store-1] = simStore{alive: true}
	case "drain":
		s.draining[store-1] = true
	case "space":
		var percent int
		d.ScanArgs(t, "percent", &percent)
		s.space[store-1] = uint64(percent)
	case "join":
		s.join(nil)
	case "tick":
		s.decide()
		return s.show(true)
	case "round":
		for range n {
			if err := s.round(); err != nil {
				return err.Error()
			}
		}
		return s.show(false)
	default:
		t.Fatalf("unknown command %q", d.Cmd)
	}
	return ""
}

func buildCluster(t *testing.T, d *datadriven.TestData) *sim {
	var n int
	d.ScanArgs(t, "stores", &n)
	s := newSim(1, n, 0)
	for _, arg := range d.CmdArgs {
		if arg.Key == "locality" {
			for i, v := range arg.Vals {
				s.local[i] = strings.Split(v, "/")
			}
		}
	}
	for line := range strings.Lines(d.Input) {
		words := strings.Fields(line)
		id, err := strconv.ParseUint(words[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		r := &simRange{match: map[uint64]uint64{}, snap: map[uint64]int{}, index: 10}
		r.Desc = &internalpb.Descriptor{RangeId: id, Epoch: &internalpb.Epoch{Version: 1, Conf: 1}}
		r.Term, r.Reported = 1, true
		for _, word := range words[1:] {
			parseWord(t, r, word)
		}
		s.ranges = append(s.ranges, r)
	}
	return s
}

func parseWord(t *testing.T, r *simRange, word string) {
	key, value, _ := strings.Cut(word, "=")
	store, _ := strconv.ParseUint(value, 10, 64)
	switch key {
	case "leader":
		r.Leader = proto.StoreID(store)
		return
	case "behind":
		r.snap[r.replicaOn(proto.StoreID(store)).ReplicaId] = 1000
		return
	case "unreported":
		r.Reported = false
		return
	}
	digits := strings.TrimRight(word, "abcdefghijklmnopqrstuvwxyz")
	store, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	for role, name := range roleNames() {
		if name == word[len(digits):] {
			id := 10*r.Desc.RangeId + uint64(len(r.Desc.Replicas)) + 1
			r.Desc.NextReplicaId = id + 1
			r.match[id] = 10
			r.Desc.Replicas = append(r.Desc.Replicas, &internalpb.Replica{StoreId: store, ReplicaId: id, Role: role})
			return
		}
	}
	t.Fatalf("what is %q?", word)
}

func roleNames() map[internalpb.ReplicaRole]string {
	return map[internalpb.ReplicaRole]string{
		internalpb.ReplicaRole_VOTER: "v", internalpb.ReplicaRole_LEARNER: "l",
		internalpb.ReplicaRole_VOTER_INCOMING: "in", internalpb.ReplicaRole_VOTER_OUTGOING: "out",
	}
}

func (s *sim) show(steps bool) string {
	var b strings.Builder
	for _, line := range s.trace {
		fmt.Fprintln(&b, line)
	}
	s.trace = nil
	for _, r := range s.ranges {
		fmt.Fprintf(&b, "%d leader=%d", r.ID(), r.Leader)
		for _, rep := range r.Desc.Replicas {
			fmt.Fprintf(&b, " %d%s", rep.StoreId, roleNames()[rep.Role])
		}
		if note := s.planner.Note(r.ID()); note != "" {
			fmt.Fprintf(&b, " (%s)", note)
		}
		fmt.Fprintln(&b)
		if req := s.planner.Step(&r.Range); req != nil && steps {
			c, to := req.GetChange(), req.GetTransfer()
			switch {
			case to != nil:
				fmt.Fprintf(&b, "  step c%d: transfer to replica %d\n", req.Epoch.Conf, to.ToReplica)
			case c.EnterJoint != nil:
				fmt.Fprintf(&b, "  step c%d: enter joint, promote %v remove %v\n",
					req.Epoch.Conf, c.EnterJoint.PromoteReplicas, c.EnterJoint.RemoveReplicas)
			case c.LeaveJoint:
				fmt.Fprintf(&b, "  step c%d: leave joint\n", req.Epoch.Conf)
			case c.AddLearnerStore != 0:
				fmt.Fprintf(&b, "  step c%d: add learner on store %d\n", req.Epoch.Conf, c.AddLearnerStore)
			default:
				fmt.Fprintf(&b, "  step c%d: remove learner %d\n", req.Epoch.Conf, c.RemoveLearnerReplica)
			}
		}
	}
	return b.String()
}
