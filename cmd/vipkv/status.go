package main

import (
	"github.com/spf13/cobra"

	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

func newStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the state of the cluster (needs the admin credential)", Args: argsBetween(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			s, err := cl.Admin().Status(c.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(statusJSON(s))
			}
			return a.printStatus(s)
		},
	}
}

func statusJSON(s *vipkvpb.StatusResponse) object {
	problems := s.Problems
	if problems == nil {
		problems = []string{}
	}
	return object{
		"cluster_id": s.ClusterId, "version": s.Version, "answering_node": s.AnsweringNode,
		"placement_leader_node": s.PlacementLeaderNode, "nodes": nodesJSON(s.Nodes), "ranges": s.Ranges,
		"under_replicated": s.UnderReplicated, "without_leader": s.WithoutLeader, "tenants": s.Tenants,
		"problems": problems,
	}
}

func (a *app) printStatus(s *vipkvpb.StatusResponse) error {
	placement := "none known"
	if s.PlacementLeaderNode != 0 {
		placement = "node " + u64(s.PlacementLeaderNode)
	}
	err := a.printf("cluster %s, version %s, answered by node %d\nplacement driver: %s\n"+
		"ranges: %d, under-replicated %d, without a leader %d\ntenants: %d\n\n",
		s.ClusterId, s.Version, s.AnsweringNode, placement, s.Ranges, s.UnderReplicated, s.WithoutLeader, s.Tenants)
	if err != nil {
		return err
	}
	if err := a.table(nodeRows(s.Nodes)); err != nil {
		return err
	}
	if len(s.Problems) == 0 {
		return a.printf("\nno problems\n")
	}
	if err := a.printf("\nproblems:\n"); err != nil {
		return err
	}
	for _, p := range s.Problems {
		if err := a.printf("  %s\n", p); err != nil {
			return err
		}
	}
	return nil
}
