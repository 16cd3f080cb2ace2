// Package tenanttest has an in-memory tenant.SystemKV, and the suite that every tenant.SystemKV passes.
package tenanttest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vipkv/vipkv/kv/tenant"
	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// KV is a tenant.SystemKV in memory. Before, when set, is called at the begin of every method with its name; its error
// is the method's. After is called at the end of a Commit that took effect; its error is the Commit's.
type KV struct {
	Before func(ctx context.Context, method, key string) error
	After  func() error

	mu      sync.Mutex
	items   map[string]tenant.Item
	version uint64
}

// New makes an empty one.
func New() *KV { return &KV{items: make(map[string]tenant.Item)} }

func (kv *KV) before(ctx context.Context, method, key string) error {
	if err := ctx.Err(); err != nil || kv.Before == nil {
		return err
	}
	return kv.Before(ctx, method, key)
}

// Get implements tenant.SystemKV.
func (kv *KV) Get(ctx context.Context, key string) ([]byte, uint64, bool, error) {
	if err := kv.before(ctx, "Get", key); err != nil {
		return nil, 0, false, err
	}
	kv.mu.Lock()
	defer kv.mu.Unlock()
	item, found := kv.items[key]
	return slices.Clone(item.Value), item.Version, found, nil
}

// Scan implements tenant.SystemKV.
func (kv *KV) Scan(ctx context.Context, prefix string) ([]tenant.Item, error) {
	if err := kv.before(ctx, "Scan", prefix); err != nil {
		return nil, err
	}
	kv.mu.Lock()
	defer kv.mu.Unlock()
	var items []tenant.Item
	for _, key := range slices.Sorted(maps.Keys(kv.items)) {
		if strings.HasPrefix(key, prefix) {
			item := kv.items[key]
			item.Value = slices.Clone(item.Value)
			items = append(items, item)
		}
	}
	return items, nil
}

// Commit implements tenant.SystemKV.
func (kv *KV) Commit(
	ctx context.Context, conditions []tenant.Condition, mutations []tenant.Mutation,
) error {
	if err := kv.before(ctx, "Commit", ""); err != nil {
		return err
	}
	kv.mu.Lock()
	defer kv.mu.Unlock()
	for i, c := range conditions {
		if actual := kv.items[c.Key].Version; actual != c.Version {
			return &rpcerr.ConditionFailedError{ConditionFailed: &vipkvpb.ConditionFailed{
				Index: uint32(i), ActualVersion: actual,
			}}
		}
	}
	seen := make(map[string]bool)
	for _, m := range mutations {
		if seen[m.Key] {
			return rpcerr.Invalid("mutations", "a key is there twice")
		}
		seen[m.Key] = true
	}
	kv.version++
	for _, m := range mutations {
		if m.Delete {
			delete(kv.items, m.Key)
			continue
		}
		kv.items[m.Key] = tenant.Item{Key: m.Key, Value: slices.Clone(m.Value), Version: kv.version}
	}
	if kv.After != nil {
		return kv.After()
	}
	return nil
}

// RunSystemKV checks what the package tenant needs from a SystemKV. open returns an empty one.
func RunSystemKV(t *testing.T, open func(t *testing.T) tenant.SystemKV) {
	t.Run("GetAndCommit", func(t *testing.T) { getAndCommit(t, open(t)) })
	t.Run("Conditions", func(t *testing.T) { conditions(t, open(t)) })
	t.Run("Scan", func(t *testing.T) { scan(t, open(t)) })
	t.Run("RacingCommits", func(t *testing.T) { racingCommits(t, open(t)) })
	t.Run("EndedContext", func(t *testing.T) { endedContext(t, open(t)) })
}

func put(key, value string) tenant.Mutation {
	return tenant.Mutation{Key: key, Value: []byte(value)}
}

func remove(key string) tenant.Mutation { return tenant.Mutation{Key: key, Delete: true} }

func mustCommit(t *testing.T, kv tenant.SystemKV, mutations ...tenant.Mutation) {
	t.Helper()
	if err := kv.Commit(t.Context(), nil, mutations); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, kv tenant.SystemKV, key string) (string, uint64) {
	t.Helper()
	value, version, found, err := kv.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if found != (version != 0) {
		t.Fatalf("%s: found %v at version %d", key, found, version)
	}
	return string(value), version
}

func getAndCommit(t *testing.T, kv tenant.SystemKV) {
	if _, version := get(t, kv, "a"); version != 0 {
		t.Fatalf("a key that is not there has version %d", version)
	}
	mustCommit(t, kv, put("a", "1"), put("empty", ""))
	value, first := get(t, kv, "a")
	if value != "1" {
		t.Fatalf("a is %q", value)
	}
	if value, version := get(t, kv, "empty"); value != "" || version == 0 {
		t.Fatalf("an empty value: %q at version %d", value, version)
	}
	mustCommit(t, kv, put("a", "2"))
	if value, second := get(t, kv, "a"); value != "2" || second <= first {
		t.Fatalf("a is %q at version %d, before %d", value, second, first)
	}
	mustCommit(t, kv, remove("a"), remove("never"))
	if _, version := get(t, kv, "a"); version != 0 {
		t.Fatal("a deleted key is there")
	}
}

func conditions(t *testing.T, kv tenant.SystemKV) {
	mustCommit(t, kv, put("a", "1"), put("b", "1"))
	_, version := get(t, kv, "a")
	for _, c := range []struct {
		what       string
		conditions []tenant.Condition
		index      int // of the one that fails; -1: none
	}{
		{"absent, is there", []tenant.Condition{{Key: "a"}}, 0},
		{"second fails", []tenant.Condition{{Key: "x"}, {Key: "a"}}, 1},
		{"other version", []tenant.Condition{{Key: "x"}, {Key: "a", Version: version + 1}}, 1},
		{"version, is not there", []tenant.Condition{{Key: "x", Version: version}}, 0},
		{"all hold", []tenant.Condition{{Key: "x"}, {Key: "a", Version: version}}, -1},
	} {
		mutations := []tenant.Mutation{put("b", c.what), put("new "+c.what, "")}
		err := kv.Commit(t.Context(), c.conditions, mutations)
		var failed *rpcerr.ConditionFailedError
		switch {
		case c.index < 0 && err != nil, c.index >= 0 && !errors.As(err, &failed):
			t.Fatalf("%s: %v", c.what, err)
		case failed != nil && int(failed.Index) != c.index:
			t.Fatalf("%s: index %d", c.what, failed.Index)
		}
		b, _ := get(t, kv, "b")
		_, added := get(t, kv, "new "+c.what)
		if wrote := c.index < 0; (b == c.what) != wrote || (added != 0) != wrote {
			t.Fatalf("%s: b is %q, the new key is at version %d", c.what, b, added)
		}
	}
}

func scan(t *testing.T, kv tenant.SystemKV) {
	var want []string
	for batch := range 5 { // more than one page of any store
		mutations := []tenant.Mutation{
			put(fmt.Sprintf("o%d", batch), "other"), put(fmt.Sprintf("p%d", batch), "other"),
		}
		for i := range 500 {
			key := fmt.Sprintf("p/%05d", batch*500+i)
			want = append(want, key)
			mutations = append(mutations, put(key, "v"))
		}
		mustCommit(t, kv, mutations...)
	}
	items, err := kv.Scan(t.Context(), "p/")
	if err != nil || len(items) != len(want) {
		t.Fatalf("%d items, want %d: %v", len(items), len(want), err)
	}
	for i, item := range items {
		if item.Key != want[i] || string(item.Value) != "v" || item.Version == 0 {
			t.Fatalf("item %d is %q: %q at version %d", i, item.Key, item.Value, item.Version)
		}
	}
	if items, err := kv.Scan(t.Context(), "none/"); err != nil || len(items) != 0 {
		t.Fatalf("%d items, %v", len(items), err)
	}
}

// racingCommits counts by compare and set from many goroutines: no step may get lost.
func racingCommits(t *testing.T, kv tenant.SystemKV) {
	const workers, each = 4, 10
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for done := 0; done < each; {
				value, version, _, err := kv.Get(t.Context(), "n")
				if err != nil {
					t.Error(err)
					return
				}
				next := []tenant.Mutation{put("n", string(value)+"x")}
				err = kv.Commit(t.Context(), []tenant.Condition{{Key: "n", Version: version}}, next)
				var failed *rpcerr.ConditionFailedError
				switch {
				case err == nil:
					done++
				case !errors.As(err, &failed):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if value, _ := get(t, kv, "n"); len(value) != workers*each {
		t.Fatalf("%d steps, want %d", len(value), workers*each)
	}
}

func endedContext(t *testing.T, kv tenant.SystemKV) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, _, err := kv.Get(ctx, "a"); err == nil {
		t.Error("Get with an ended context")
	}
	if err := kv.Commit(ctx, nil, []tenant.Mutation{put("a", "1")}); err == nil {
		t.Error("Commit with an ended context")
	}
}
