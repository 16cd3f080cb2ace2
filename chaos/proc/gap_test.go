package proc_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/vipkv/vipkv/chaos/proc"
	"github.com/vipkv/vipkv/kv/client"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

const (
	gapRanges = 6
	gapWarm   = 2 * time.Second
	gapHold   = 8 * time.Second // from the kill on; the node stays dead
)

// The write gap: the longest time between two acknowledgements on the worst range when the node that leads most ranges
// is killed and stays dead, under an open loop of 20 writes a second and range. It is printed, with the gap of the
// seconds before the fault for comparison, and has no limit but that writing goes on.
func TestAcceptWriteGap(t *testing.T) {
	ctx := t.Context()
	c := newCluster(t, proc.Options{Set: []string{"split-bytes=131072"}})
	key, err := c.NewTenant(ctx, "gap")
	must(t, err)
	cl, err := client.Open(ctx, client.Options{Endpoints: c.Endpoints(), Credential: key})
	must(t, err)
	defer cl.Close()
	keys := keyPerRange(t, c, cl, key)
	var gaps, quiet []time.Duration
	for trial := range *set.trials {
		probe := proc.StartProbe(cl, keys)
		time.Sleep(gapWarm + rand.N(time.Second)) // at any phase of ticks and heartbeats
		victim := leading(t, c)
		killed := probe.Since()
		must(t, c.Kill(victim))
		time.Sleep(gapHold)
		end := probe.Since()
		failed := probe.Stop()
		before, after := probe.Gap(killed-gapWarm, killed), probe.Gap(killed, end)
		t.Logf("trial %d: node %d killed: gap %v (%v before), %d acknowledged, %d failed", trial+1, victim,
			after.Round(time.Millisecond), before.Round(time.Millisecond), probe.Acked(), failed)
		if after > gapHold*3/4 {
			t.Errorf("writing did not go on: no acknowledgement for %v on a range", after)
		}
		gaps, quiet = append(gaps, after), append(quiet, before)
		must(t, c.Start(victim))
		must(t, c.WaitHealthy(ctx, 3))
		must(t, c.WaitCaughtUp(t.Context()))
	}
	slices.Sort(gaps)
	slices.Sort(quiet)
	t.Logf("write gap over %d trials, %d ranges: p50 %v, max %v; without a fault: p50 %v, max %v", len(gaps), len(keys),
		median(gaps), gaps[len(gaps)-1].Round(time.Millisecond), median(quiet),
		quiet[len(quiet)-1].Round(time.Millisecond))
}

func median(sorted []time.Duration) time.Duration {
	return sorted[len(sorted)/2].Round(time.Millisecond)
}

// keyPerRange writes until the tenant has enough ranges, and returns one key of each.
func keyPerRange(t *testing.T, c *proc.Cluster, cl *client.Client, credential string) (keys [][]byte) {
	t.Helper()
	ctx := t.Context()
	value := make([]byte, 8<<10)
	n := 0
	written := [][]byte{}
	must(t, proc.WaitFor(ctx, time.Minute, "the tenant's range splits", func() (string, error) {
		for range 32 {
			for i := range value {
				value[i] = byte(rand.Uint32())
			}
			k := fmt.Appendf(nil, "%08x-%04d", rand.Uint32(), n)
			n++
			if _, err := cl.Put(ctx, k, value, client.PutOptions{}); err != nil {
				return "", err
			}
			written = append(written, k)
		}
		keys = keys[:0]
		for _, r := range routes(t, c, credential) {
			for _, k := range written {
				at := append([]byte{'k'}, k...)
				if bytes.Compare(r.Start, at) <= 0 && (len(r.End) == 0 || bytes.Compare(at, r.End) < 0) {
					keys = append(keys, k)
					break
				}
			}
		}
		if len(keys) < gapRanges {
			return fmt.Sprintf("%d ranges", len(keys)), nil
		}
		return "", nil
	}))
	must(t, c.WaitHealthy(ctx, 3))
	return keys
}

// routes are the ranges of a tenant's plain keys.
func routes(t *testing.T, c *proc.Cluster, credential string) []*vipkvpb.RangeRoute {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+credential)
	r, err := vipkvpb.NewKVClient(dial(t, c.Endpoint(1))).Locate(ctx, &vipkvpb.LocateRequest{Start: []byte("k"), Limit: 100})
	must(t, err)
	return r.Ranges
}

func dial(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}
