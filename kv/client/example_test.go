package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/kv/client/clienttest"
	"github.com/vipkv/vipkv/proto/rpcerr"
)

// exampleUsage shows the whole of an application's dealings with its store.
func exampleUsage(ctx context.Context, endpoints []string, credential string) error {
	c, err := client.Open(ctx, client.Options{Endpoints: endpoints, Credential: credential})
	if err != nil {
		return err
	}
	defer c.Close()

	// Keys: a value, and a change that must not overwrite somebody else's.
	key := []byte("user/1/name")
	written, err := c.Put(ctx, key, []byte("Ada"), client.PutOptions{})
	if err != nil {
		return err
	}
	_, err = c.Put(ctx, key, []byte("Ada L."), client.PutOptions{IfVersion: written.Version})
	var failed *rpcerr.ConditionFailedError
	if errors.As(err, &failed) {
		return fmt.Errorf("somebody was faster: the key is at version %d", failed.ActualVersion)
	}
	if err != nil {
		return err
	}
	item, err := c.Get(ctx, key)
	if err != nil {
		return err // client.ErrNotFound, when there is none
	}
	fmt.Printf("%s = %s\n", item.Key, item.Value)

	// Several keys at one moment.
	_, err = c.Commit(ctx, client.Transaction{
		Conditions: []client.Condition{{Key: []byte("user/2/name")}}, // must not exist
		Mutations: []client.Mutation{
			{Key: []byte("user/2/name"), Value: []byte("Bob")},
			{Key: []byte("user/1/friend"), Value: []byte("2")},
		},
	})
	if err != nil {
		return err
	}
	for item, err := range c.Scan(ctx, client.ScanOptions{
		Start: []byte("user/"), End: client.PrefixEnd([]byte("user/")),
	}) {
		if err != nil {
			return err
		}
		fmt.Printf("%s = %s\n", item.Key, item.Value)
	}

	// A conversation: the client id makes a message that is sent twice appear once.
	_, err = c.Append(ctx, "conversation/1", []client.Record{
		{ClientID: "m1", Body: []byte("hello")},
		{ClientID: "m2", Body: []byte("world")},
	}, client.AppendOptions{})
	if err != nil {
		return err
	}
	latest, err := c.Latest(ctx, "conversation/1", 50)
	if err != nil {
		return err
	}
	for _, r := range latest {
		fmt.Printf("%d %s\n", r.Seq, r.Body)
	}
	return nil
}

// TestExampleUsage runs the example on a fake cluster, or on the one that VIPKV_ENDPOINTS and VIPKV_CREDENTIAL name:
// kv/node runs it so, on a real one.
func TestExampleUsage(t *testing.T) {
	endpoints, credential := os.Getenv("VIPKV_ENDPOINTS"), os.Getenv("VIPKV_CREDENTIAL")
	if endpoints != "" {
		if err := exampleUsage(t.Context(), strings.Split(endpoints, ","), credential); err != nil {
			t.Fatal(err)
		}
		return
	}
	cluster := clienttest.Start(t, 3)
	if err := exampleUsage(t.Context(), cluster.Endpoints(), cluster.Tenant("example")); err != nil {
		t.Fatal(err)
	}
}
