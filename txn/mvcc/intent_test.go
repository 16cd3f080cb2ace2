package mvcc_test

import (
	"errors"
	"testing"

	"github.com/vipkv/vipkv/proto"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/txn/mvcc"
	"github.com/vipkv/vipkv/txn/txntest"
)

// intents drives the three steps on the only range of a cluster.
type intents struct{ *cluster }

func (c intents) env() *mvcc.Env {
	return &mvcc.Env{Reader: c.store.NewView(), Sealer: txntest.Sealer{}, Tenant: testTenant, Now: c.now}
}

func (c intents) prewrite(key string, start proto.Timestamp, value string) error {
	in := mvcc.Intent{Primary: []byte("primary"), Start: start, TTLMillis: 3000, Delete: value == ""}
	res, err := mvcc.PrewriteIntent(c.env(), mvcc.PlainKey(testTenant, []byte(key)), in, []byte(value))
	return c.done(res, err)
}

func (c intents) commit(key string, start, commit proto.Timestamp) error {
	return c.done(mvcc.CommitIntent(c.env(), mvcc.PlainKey(testTenant, []byte(key)), start, commit))
}

func (c intents) abort(key string, start proto.Timestamp) error {
	return c.done(mvcc.AbortIntent(c.env(), mvcc.PlainKey(testTenant, []byte(key)), start))
}

func (c intents) done(res *mvcc.Result, err error) error {
	if err != nil {
		return err
	}
	return c.apply(0, res)
}

func is[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestIntentIsCommitted(t *testing.T) {
	c := intents{newCluster()}
	old, err := c.cluster.put(put("k", "old"))
	must(t, err)
	before := c.tick(1)
	start := c.tick(1)
	must(t, c.prewrite("k", start, "new"))
	must(t, c.prewrite("k", start, "new")) // again
	var locked *mvcc.LockedError
	if _, err := c.get("k", 0); !errors.As(err, &locked) || locked.Start != start || string(locked.Primary) != "primary" {
		t.Fatalf("a read of the newest: %v", err)
	}
	if got, err := c.get("k", uint64(before)); err != nil || got.Version != old.Version {
		t.Fatalf("a read below the intent: %v, %v", got, err)
	}
	for _, reverse := range []bool{false, true} {
		if _, err := c.scan(&vipkvpb.ScanRequest{Reverse: reverse}); !is[*mvcc.LockedError](err) {
			t.Fatalf("a scan, reverse %v: %v", reverse, err)
		}
		got, err := c.scan(&vipkvpb.ScanRequest{Reverse: reverse, At: uint64(before)})
		if err != nil || len(got.Items) != 1 || string(got.Items[0].Value) != "old" {
			t.Fatalf("a scan below the intent, reverse %v: %v, %v", reverse, got, err)
		}
	}
	if _, err := c.cluster.put(put("k", "other")); !is[*mvcc.LockedError](err) {
		t.Fatalf("a write: %v", err)
	}
	if err := c.prewrite("k", c.tick(1), "other"); !is[*mvcc.LockedError](err) {
		t.Fatalf("another transaction: %v", err)
	}
	commit := c.tick(1)
	must(t, c.commit("k", start, commit))
	must(t, c.commit("k", start, commit)) // again
	got, err := c.get("k", 0)
	if err != nil || string(got.Value) != "new" || got.Version != uint64(commit) {
		t.Fatalf("after the commit: %v, %v", got, err)
	}
	if err := c.abort("k", start); !is[*mvcc.CommittedError](err) {
		t.Fatalf("an abort after the commit: %v", err)
	}
	if err := c.prewrite("k", start, "new"); !is[*mvcc.CommittedError](err) {
		t.Fatalf("a late prewrite: %v", err)
	}
	if err := c.prewrite("k", commit-1, "late"); !is[*mvcc.WriteConflictError](err) {
		t.Fatalf("a transaction that started before the commit: %v", err)
	}
}

func TestIntentIsAborted(t *testing.T) {
	c := intents{newCluster()}
	_, err := c.cluster.put(put("k", "old"))
	must(t, err)
	start := c.tick(1)
	must(t, c.prewrite("k", start, ""))
	must(t, c.abort("k", start))
	must(t, c.abort("k", start)) // again
	if err := c.commit("k", start, c.tick(1)); !is[*mvcc.AbortedError](err) {
		t.Fatalf("a late commit: %v", err)
	}
	if err := c.prewrite("k", start, "new"); !is[*mvcc.AbortedError](err) {
		t.Fatalf("a late prewrite: %v", err)
	}
	for _, reverse := range []bool{false, true} {
		got, err := c.scan(&vipkvpb.ScanRequest{Reverse: reverse})
		if err != nil || len(got.Items) != 1 || string(got.Items[0].Value) != "old" {
			t.Fatalf("the mark of the abort hides the value, reverse %v: %v, %v", reverse, got, err)
		}
	}
	if got, err := c.get("k", uint64(start)); err != nil || string(got.Value) != "old" {
		t.Fatalf("at the mark: %v, %v", got, err)
	}
	never := c.tick(1)
	must(t, c.abort("k", never)) // before its prewrite
	if err := c.prewrite("k", never, "new"); !is[*mvcc.AbortedError](err) {
		t.Fatalf("a prewrite after its abort: %v", err)
	}
	must(t, c.prewrite("k", c.tick(1), "third"))
}

// A commit keeps what the key's request ids need (I6).
func TestCommittedIntentCarriesAhead(t *testing.T) {
	c := intents{newCluster()}
	r := put("k", "v")
	r.RequestId = requestID(1, c.now.Physical()+50_000)
	first, err := c.cluster.put(r)
	must(t, err)
	start := c.tick(5_000)
	must(t, c.prewrite("k", start, "new"))
	must(t, c.commit("k", start, c.tick(1)))
	again, err := c.cluster.put(r)
	if err != nil || !again.Duplicate || again.Version != first.Version {
		t.Fatalf("%v, %v", again, err)
	}
}
