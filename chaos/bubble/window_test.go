package bubble_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/bubble"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/kv/node"
)

// What a request id and a client id promise for ten minutes holds for ten minutes, and a key lives as long as its TTL;
// also over a restart of all nodes.
func TestWindowAndTTL(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ctx := t.Context()
		o := options(t)
		o.Tune = func(n *node.Tunables) { // fewer wake-ups: twenty minutes pass
			n.TickInterval, n.HeartbeatInterval = 500*time.Millisecond, 2*time.Second
		}
		c, err := bubble.New(ctx, 3, o)
		must(t, err)
		acme, err := c.Tenant(ctx, "acme")
		must(t, err)
		id, appendID := client.NewRequestID(), client.NewRequestID()
		key, body := []byte("k"), []client.Record{{ClientID: "m1", Body: []byte("hello")}}
		first, err := acme.Put(ctx, key, []byte("v"), client.PutOptions{RequestID: &id, TTL: 20 * time.Minute})
		must(t, err)
		appended, err := acme.Append(ctx, "talk", body, client.AppendOptions{RequestID: &appendID})
		must(t, err)
		time.Sleep(9*time.Minute + 50*time.Second)
		for n := 1; n <= 3; n++ {
			c.PowerLoss(n)
		}
		for n := 1; n <= 3; n++ {
			must(t, c.Start(n))
		}
		again, err := acme.Put(ctx, key, []byte("v"), client.PutOptions{RequestID: &id, TTL: 20 * time.Minute})
		if err != nil || !again.Duplicate || again.Version != first.Version {
			t.Errorf("put within the window: %+v, %v; the first was %+v", again, err, first)
		}
		second, err := acme.Append(ctx, "talk", body, client.AppendOptions{})
		if err != nil || !second.Duplicate || second.FirstSeq != appended.FirstSeq {
			t.Errorf("append of the same client id within the window: %+v, %v", second, err)
		}
		time.Sleep(2 * time.Minute)
		if late, err := acme.Put(ctx, key, []byte("w"), client.PutOptions{RequestID: &id}); err == nil {
			t.Errorf("a put whose id is older than the window: %+v", late)
		}
		third, err := acme.Append(ctx, "talk", body, client.AppendOptions{})
		if err != nil || third.Duplicate || third.FirstSeq != appended.FirstSeq+1 {
			t.Errorf("append of the same client id after the window: %+v, %v", third, err)
		}
		got, err := acme.Get(ctx, key)
		if err != nil || !bytes.Equal(got.Value, []byte("v")) {
			t.Errorf("read before the end of the TTL: %+v, %v", got, err)
		}
		time.Sleep(time.Until(got.Expires) - time.Second)
		if _, err := acme.Get(ctx, key); err != nil {
			t.Errorf("a second before its end: %v", err)
		}
		time.Sleep(2 * time.Second)
		if got, err := acme.Get(ctx, key); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("a second after its end: %+v, %v", got, err)
		}
		must(t, c.Close())
	})
}
