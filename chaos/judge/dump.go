package judge

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/chaos/workload"
	"github.com/vipkv/vipkv/kv/client"
)

// DumpOptions of ReadDump.
type DumpOptions struct {
	// Prefix of the keys that are read. Nothing but the history's workloads may have written below it.
	Prefix string
	// NewestOnly reads the newest version of each key. Otherwise all versions are read, one call each: the state at a
	// version, the state just before it, and so on. Where versions were collected meanwhile, it must be set.
	NewestOnly bool
}

// A call of the final reads is tried so often, with a pause between.
const (
	dumpAttempts = 20
	dumpPause    = 100 * time.Millisecond
)

// again tries a read until it succeeds.
func again[T any](ctx context.Context, read func() (T, error)) (result T, err error) {
	for range dumpAttempts {
		if result, err = read(); err == nil || ctx.Err() != nil {
			return result, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(dumpPause):
		}
	}
	return result, err
}

// recordsPage is how many records of a stream are read at once.
const recordsPage = 1000

// ReadDump reads the final state of the tenants that a history names, through stores by tenant, for check.Audit. All
// clients must have stopped, and nothing may be under way any more.
func ReadDump(
	ctx context.Context, stores map[string]workload.Store, ops []history.Op, o DumpOptions,
) (*check.Dump, error) {
	d := &check.Dump{NewestOnly: o.NewestOnly}
	streams := map[string]map[string]bool{}
	for i := range ops {
		tenant := ops[i].Tenant
		if streams[tenant] == nil {
			streams[tenant] = map[string]bool{}
		}
		if ops[i].Kind == history.Append {
			streams[tenant][ops[i].Key] = true
		}
	}
	for _, tenant := range slices.Sorted(maps.Keys(streams)) {
		s := stores[tenant]
		if s == nil {
			return nil, fmt.Errorf("read the final state: there is no store for tenant %q", tenant)
		}
		if err := dumpKeys(ctx, s, tenant, o, d); err != nil {
			return nil, fmt.Errorf("read the final state of tenant %q: %w", tenant, err)
		}
		for _, name := range slices.Sorted(maps.Keys(streams[tenant])) {
			k, err := dumpStream(ctx, s, name)
			if err != nil {
				return nil, fmt.Errorf("read stream %s of tenant %q: %w", name, tenant, err)
			}
			k.Tenant = tenant
			d.Streams = append(d.Streams, k)
		}
	}
	return d, nil
}

func dumpKeys(
	ctx context.Context, s workload.Store, tenant string, o DumpOptions, d *check.Dump,
) error {
	scan := client.ScanOptions{}
	if o.Prefix != "" {
		scan.Start, scan.End = []byte(o.Prefix), client.PrefixEnd([]byte(o.Prefix))
	}
	for {
		page, err := again(ctx, func() (client.ScanPage, error) {
			return s.ScanPage(ctx, scan)
		})
		if err != nil {
			return err
		}
		for i := range page.Items {
			item := &page.Items[i]
			k := check.DumpKey{Tenant: tenant, Key: string(item.Key)}
			k.Versions = append(k.Versions, versionOf(item))
			if !o.NewestOnly {
				if err := olderVersions(ctx, s, &k); err != nil {
					return err
				}
			}
			d.Keys = append(d.Keys, k)
		}
		if scan.ResumeToken = page.ResumeToken; len(page.ResumeToken) == 0 {
			return nil
		}
	}
}

func versionOf(i *client.Item) check.DumpVersion {
	return check.DumpVersion{Version: i.Version, Value: string(i.Value)}
}

// olderVersions adds what was there before the oldest version that k has, until there was nothing.
func olderVersions(ctx context.Context, s workload.Store, k *check.DumpKey) error {
	for {
		oldest := k.Versions[len(k.Versions)-1].Version
		if oldest <= 1 {
			return nil
		}
		items, err := again(ctx, func() ([]client.Item, error) {
			found, _, err := s.BatchGet(ctx, [][]byte{[]byte(k.Key)}, oldest-1)
			return found, err
		})
		if err != nil {
			return err
		}
		if len(items) == 0 {
			return nil
		}
		if items[0].Version >= oldest {
			return fmt.Errorf("%s: a read at %d saw version %d", k.Key, oldest-1, items[0].Version)
		}
		k.Versions = append(k.Versions, versionOf(&items[0]))
	}
}

func dumpStream(ctx context.Context, s workload.Store, name string) (check.DumpKey, error) {
	k := check.DumpKey{Key: name}
	o := client.ReadOptions{Limit: recordsPage}
	for {
		page, err := again(ctx, func() (client.ReadPage, error) {
			return s.Read(ctx, name, o)
		})
		if err != nil {
			return k, err
		}
		for i := range page.Records {
			r := &page.Records[i]
			if o.After++; r.Seq != o.After {
				return k, fmt.Errorf("record %d follows record %d", r.Seq, o.After-1)
			}
			k.Versions = append(k.Versions, check.DumpVersion{Version: r.Version, Value: r.ClientID})
		}
		if !page.More || len(page.Records) == 0 {
			return k, nil
		}
	}
}
