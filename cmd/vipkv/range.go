package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

func newRange(a *app) *cobra.Command {
	var limit int
	list := &cobra.Command{
		Use: "list", Short: "List ranges in key order", Args: argsBetween(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("0 means all", "--limit is negative")
			}
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			var all []*vipkvpb.RangeInfo
			var after []byte
			for {
				page := 1000
				if limit > 0 {
					page = min(page, limit-len(all))
				}
				ranges, next, err := cl.Admin().ListRanges(c.Context(), after, page)
				if err != nil {
					return err
				}
				all = append(all, ranges...)
				if len(next) == 0 || len(ranges) == 0 || len(all) == limit {
					break
				}
				after = next
			}
			return a.printRanges(all)
		},
	}
	list.Flags().IntVar(&limit, "limit", 1000, "at most so many; 0: all")
	return newGroup("range", "Show and change ranges (needs the admin credential)",
		list, newRangeTransfer(a), newRangeSplit(a))
}

func (a *app) printRanges(ranges []*vipkvpb.RangeInfo) error {
	if a.json {
		out := make([]object, len(ranges))
		for i, r := range ranges {
			out[i] = rangeJSON(r)
		}
		return a.printJSON(object{"ranges": out})
	}
	rows := [][]string{{"RANGE", "START", "END", "EPOCH", "LEADER", "REPLICAS", "APPLIED", "SIZE", "NOTE"}}
	for _, r := range ranges {
		rows = append(rows, []string{
			u64(r.Id), bound(r.Start, "first"), bound(r.End, "last"),
			fmt.Sprintf("v%d.c%d", r.EpochVersion, r.EpochConf), leaderName(r.LeaderStore), replicaList(r.Replicas),
			u64(r.Applied), size(r.Bytes), r.Note,
		})
	}
	return a.table(rows)
}

func rangeJSON(r *vipkvpb.RangeInfo) object {
	replicas := make([]object, len(r.Replicas))
	for i, x := range r.Replicas {
		replicas[i] = object{
			"store_id": x.StoreId, "replica_id": x.ReplicaId, "role": x.Role, "match": x.Match, "live": x.Live,
		}
	}
	return object{
		"id": r.Id, "epoch_version": r.EpochVersion, "epoch_conf": r.EpochConf, "replicas": replicas,
		"leader_store": r.LeaderStore, "term": r.Term, "applied": r.Applied, "bytes": r.Bytes, "note": r.Note,
	}.bytes("start", r.Start).bytes("end", r.End)
}

func bound(key []byte, open string) string {
	if len(key) == 0 {
		return "(" + open + ")"
	}
	return quote(key)
}

func leaderName(store uint64) string {
	if store == 0 {
		return "none known"
	}
	return fmt.Sprintf("s%d", store)
}

// replicaList shows stores: a learner in brackets, a dead one with an exclamation mark.
func replicaList(replicas []*vipkvpb.ReplicaInfo) string {
	sorted := slices.SortedFunc(slices.Values(replicas), func(a, b *vipkvpb.ReplicaInfo) int {
		return int(a.StoreId) - int(b.StoreId)
	})
	var out []string
	for _, r := range sorted {
		s := fmt.Sprintf("s%d", r.StoreId)
		if r.Role != "voter" {
			s = "(" + s + " " + r.Role + ")"
		}
		if !r.Live {
			s += "!"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}
