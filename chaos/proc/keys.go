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
	t, err := a.GetTenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	out := make([]RangeKey, len(tenantKeys))
	full := make([][]byte, len(tenantKeys))
	for i, k := range tenantKeys {
		out[i].Key = k
		full[i] = append(binary.BigEndian.AppendUint32(nil, t.Id), 'k')
		full[i] = append(full[i], k...)
		if _, err := a.SplitRange(ctx, full[i]); err != nil {
			return nil, fmt.Errorf("split at key %d: %w", i, err)
		}
	}
	err = c.waitRanges(ctx, out, full)
	return out, err
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
