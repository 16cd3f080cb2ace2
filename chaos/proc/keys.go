package proc

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// RangeKey is a key and the range that holds it.
type RangeKey struct {
	Key   []byte
	Range uint64
}

// SplitAt makes each of a tenant's keys the first one of a range of its own, and waits until that can be
// seen.
func (c *Cluster) SplitAt(ctx context.Context, tenant string, tenantKeys [][]byte) (
	[]RangeKey, error) {
	a, err := c.Admin(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]RangeKey, len(tenantKeys))
	full := make([][]byte, len(tenantKeys))
	for i, k := range tenantKeys {
		out[i].Key = k
		if full[i], err = c.fullKey(ctx, tenant, k); err != nil {
			return nil, err
		}
		if _, err := a.SplitRange(ctx, full[i]); err != nil {
			return nil, fmt.Errorf("split at key %d: %w", i, err)
		}
	}
	err = c.waitRanges(ctx, out, full)
	return out, err
}

// fullKey is a tenant's key with the tenant's prefix, as ranges are bounded by.
func (c *Cluster) fullKey(ctx context.Context, tenant string, key []byte) ([]byte, error) {
	a, err := c.Admin(ctx)
	if err != nil {
		return nil, err
	}
	t, err := a.GetTenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return append(append(binary.BigEndian.AppendUint32(nil, t.Id), 'k'), key...), nil
}

// LeaderOf is the node that leads the range of a tenant's key. It waits until there is one.
func (c *Cluster) LeaderOf(ctx context.Context, tenant string, key []byte) (node int, err error) {
	full, err := c.fullKey(ctx, tenant, key)
	if err != nil {
		return 0, err
	}
	what := fmt.Sprintf("the range of key %q has a leader", key)
	err = WaitFor(ctx, startWithin, what, func() (string, error) {
		ranges, err := c.Ranges(ctx)
		if err != nil {
			return err.Error(), nil
		}
		for _, r := range ranges {
			if holds(r, full) && r.LeaderStore != 0 {
				node = int(r.LeaderStore)
				return "", nil
			}
		}
		return fmt.Sprintf("none of %d ranges that have one", len(ranges)), nil
	})
	return node, err
}

// waitRanges waits until each key is in another range, and notes which.
func (c *Cluster) waitRanges(ctx context.Context, out []RangeKey, full [][]byte) error {
	return WaitFor(ctx, startWithin, "each key is in a range of its own", func() (string, error) {
		ranges, err := c.Ranges(ctx)
		if err != nil {
			return err.Error(), nil
		}
		seen := map[uint64]bool{}
		for i := range out {
			for _, r := range ranges {
				if holds(r, full[i]) {
					out[i].Range = r.Id
					seen[r.Id] = true
				}
			}
		}
		if len(seen) < len(out) {
			return fmt.Sprintf("%d keys are in %d ranges", len(out), len(seen)), nil
		}
		return "", nil
	})
}

func holds(r *vipkvpb.RangeInfo, key []byte) bool {
	return bytes.Compare(r.Start, key) <= 0 && (len(r.End) == 0 || bytes.Compare(key, r.End) < 0)
}
