package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

func newNode(a *app) *cobra.Command {
	return newGroup("node", "Show nodes (needs the admin credential)", &cobra.Command{
		Use: "list", Short: "List all nodes", Args: argsBetween(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			nodes, err := cl.Admin().ListNodes(c.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(object{"nodes": nodesJSON(nodes)})
			}
			return a.table(nodeRows(nodes))
		},
	})
}

func nodesJSON(nodes []*vipkvpb.Node) []object {
	out := make([]object, len(nodes))
	for i, n := range nodes {
		locality := n.Locality
		if locality == nil {
			locality = map[string]string{}
		}
		out[i] = object{
			"id": n.Id, "client_address": n.ClientAddress, "peer_address": n.PeerAddress,
			"http_address": n.HttpAddress, "locality": locality, "state": n.State,
			"last_heartbeat_ms_ago": n.LastHeartbeatMsAgo, "replicas": n.Replicas, "leaders": n.Leaders,
			"version": n.Version,
		}
	}
	return out
}

func nodeRows(nodes []*vipkvpb.Node) [][]string {
	rows := [][]string{{"NODE", "STATE", "CLIENTS", "PEERS", "HTTP", "REPLICAS", "LEADERS", "HEARTBEAT", "LOCALITY"}}
	for _, n := range nodes {
		var locality []string
		for _, k := range slices.Sorted(maps.Keys(n.Locality)) {
			locality = append(locality, k+"="+n.Locality[k])
		}
		ago := (time.Duration(n.LastHeartbeatMsAgo) * time.Millisecond).Round(100 * time.Millisecond)
		rows = append(rows, []string{
			u64(n.Id), n.State, n.ClientAddress, n.PeerAddress, n.HttpAddress, strconv.Itoa(int(n.Replicas)),
			strconv.Itoa(int(n.Leaders)), fmt.Sprintf("%v ago", ago), strings.Join(locality, ","),
		})
	}
	return rows
}
