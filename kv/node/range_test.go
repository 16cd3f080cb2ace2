package node_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// An administrator splits a range where it may be split and hands its leadership around, from any node.
func TestAdministratorChangesRanges(t *testing.T) {
	c := newCluster(t, 3)
	ctx := context.Background()
	acme, admin := c.tenant("acme"), c.admin.Admin()
	id := proto.TenantID(c.tenantID("acme"))
	for i := range 5 {
		r := []client.Record{{ClientID: fmt.Sprint("m", i), Body: []byte("x")}}
		if _, err := acme.Append(ctx, "room", r, client.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	room := []byte("room")
	for _, test := range []struct{ key, want []byte }{
		{mvcc.PlainKey(id, []byte("m")), mvcc.PlainKey(id, []byte("m"))},
		{mvcc.PlainKey(id, []byte("m")), mvcc.PlainKey(id, []byte("m"))},         // again
		{mvcc.StreamRecordKey(id, room, 3), mvcc.StreamRecordKey(id, room, 3)},   // a record that is there
		{mvcc.StreamRecordKey(id, room, 1000), mvcc.StreamEnd(id, room)},         // the next record goes left of it
		{mvcc.PlainKey(id, []byte("other")), mvcc.PlainKey(id, []byte("other"))}, // of a range just made
	} {
		if got, err := admin.SplitRange(ctx, test.key); err != nil || !bytes.Equal(got, test.want) {
			t.Errorf("split at %x: %x, %v; want %x", test.key, got, err, test.want)
		}
	}
	for _, key := range [][]byte{mvcc.PlainKey(proto.SystemTenant, []byte("k")), {0}} {
		if _, err := admin.SplitRange(ctx, key); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("split at %x: %v", key, err)
		}
	}
	if _, err := acme.Append(ctx, "room", []client.Record{{ClientID: "last", Body: []byte("x")}},
		client.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	page, err := acme.Read(ctx, "room", client.ReadOptions{})
	if err != nil || len(page.Records) != 6 || page.Records[5].Seq != 6 {
		t.Errorf("after the splits: %v %v", page, err)
	}
	ranges, _, err := admin.ListRanges(ctx, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	last := ranges[len(ranges)-1]
	for _, r := range last.Replicas {
		c.wait(fmt.Sprintf("range %d is led by store %d", last.Id, r.StoreId), func() error {
			if err := admin.TransferLeader(ctx, last.Id, r.StoreId); err != nil {
				return err
			}
			now, _, err := admin.ListRanges(ctx, nil, 0)
			if err == nil && now[len(now)-1].LeaderStore != r.StoreId {
				err = fmt.Errorf("led by store %d", now[len(now)-1].LeaderStore)
			}
			return err
		})
	}
	if err := admin.TransferLeader(ctx, last.Id, 99); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("to a store that is not there: %v", err)
	}
}
