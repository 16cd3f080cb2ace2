package workloadtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/vipkv/vipkv/kv/client"
)

// read takes a read's time and calls f under the lock with the tenant and the moment that the read sees; the moment
// that it claims may be another.
func (t *tenant) read(ctx context.Context, f func(from *tenant, sees uint64)) error {
	c := t.c
	c.travel()
	defer c.travel()
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hitLocked(c.faults.Refused) {
		return errRefused
	}
	from, sees := t, c.nextLocked()
	if c.hitLocked(c.faults.Stale) {
		sees = staleAt()
	}
	if c.hitLocked(c.faults.Foreign) {
		from = c.otherLocked(t)
	}
	f(from, sees)
	return nil
}

func (c *Cluster) itemLocked(key []byte, v version) client.Item {
	i := client.Item{Key: bytes.Clone(key), Value: c.garbledLocked(v.value), Version: v.ts}
	if v.expires != 0 {
		i.Expires = time.UnixMilli(v.expires)
	}
	return i
}

// garbledLocked is a copy of a value, or of something like it.
func (c *Cluster) garbledLocked(value []byte) []byte {
	value = bytes.Clone(value)
	if len(value) > 0 && c.hitLocked(c.faults.Garbled) {
		value[len(value)-1] ^= 1
	}
	return value
}

// Get implements workload.Store.
func (t *tenant) Get(ctx context.Context, key []byte) (got client.Item, err error) {
	found := false
	err = t.read(ctx, func(from *tenant, sees uint64) {
		var v version
		if v, found = from.newestLocked(key, sees); found {
			got = t.c.itemLocked(key, v)
		}
	})
	if err == nil && !found {
		err = client.ErrNotFound
	}
	return got, err
}

// BatchGet implements workload.Store.
func (t *tenant) BatchGet(
	ctx context.Context, keys [][]byte, at uint64,
) (got []client.Item, claims uint64, err error) {
	err = t.read(ctx, func(from *tenant, sees uint64) {
		if claims = t.c.last; at != 0 {
			claims, sees = at, at
		}
		for _, k := range keys {
			if v, ok := from.newestLocked(k, t.tornLocked(sees)); ok {
				got = append(got, t.c.itemLocked(k, v))
			}
		}
	})
	return got, claims, err
}

// tornLocked is sees, or when reads are torn a moment before it.
func (t *tenant) tornLocked(sees uint64) uint64 {
	if t.c.hitLocked(t.c.faults.Torn) {
		return min(sees, staleAt())
	}
	return sees
}

// ScanPage implements workload.Store. A resume token is the moment of the read and the key that comes next.
func (t *tenant) ScanPage(
	ctx context.Context, o client.ScanOptions,
) (page client.ScanPage, err error) {
	limit := math.MaxInt
	if o.Limit > 0 {
		limit = o.Limit
	}
	if o.PageItems > 0 {
		limit = min(limit, o.PageItems)
	}
	start, end, at := o.Start, o.End, o.At
	if len(o.ResumeToken) > 0 {
		if at = binary.BigEndian.Uint64(o.ResumeToken); o.Reverse {
			end = append(o.ResumeToken[8:], 0)
		} else {
			start = o.ResumeToken[8:]
		}
	}
	err = t.read(ctx, func(from *tenant, sees uint64) {
		if page.At = t.c.last; at != 0 {
			page.At, sees = at, at
		}
		for _, k := range from.spanLocked(start, end, o.Reverse) {
			if len(page.Items) == limit {
				page.ResumeToken = append(binary.BigEndian.AppendUint64(nil, page.At), k...)
				return
			}
			if v, ok := from.newestLocked([]byte(k), t.tornLocked(sees)); ok {
				page.Items = append(page.Items, t.c.itemLocked([]byte(k), v))
			}
		}
	})
	return page, err
}

// spanLocked lists the keys of [start, end) in the order of the scan.
func (t *tenant) spanLocked(start, end []byte, reverse bool) (keys []string) {
	for k := range t.keys {
		if k >= string(start) && (len(end) == 0 || k < string(end)) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	if reverse {
		slices.Reverse(keys)
	}
	return keys
}

// Read implements workload.Store.
func (t *tenant) Read(
	ctx context.Context, name string, o client.ReadOptions,
) (page client.ReadPage, err error) {
	limit := 100
	if o.Limit > 0 {
		limit = o.Limit
	}
	err = t.read(ctx, func(from *tenant, sees uint64) {
		page.Head.FloorSeq = 1
		s := from.streams[name]
		if s == nil {
			return
		}
		n := sort.Search(len(s.records), func(i int) bool { return s.records[i].Version > sees })
		if n == 0 {
			return
		}
		page.Head.Exists, page.Head.LastSeq = true, uint64(n)
		page.Head.LastVersion = s.records[n-1].Version
		first, last := o.After+1, uint64(n)
		if o.Before != 0 {
			last = min(last, o.Before-1)
		}
		for first <= last {
			if len(page.Records) == limit {
				page.More = true
				return
			}
			r := s.records[first-1]
			if o.Reverse {
				r = s.records[last-1]
				last--
			} else {
				first++
			}
			r.Body = t.c.garbledLocked(r.Body)
			page.Records = append(page.Records, r)
		}
	})
	return page, err
}
