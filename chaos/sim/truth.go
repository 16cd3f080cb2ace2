package sim

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/placement"
	"github.com/vipkv/vipkv/placement/tso"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// truth sees everything above the replicas and says when a promise there is broken. It checks:
//
//   - a timestamp is above all that anybody had received before it was asked for
//   - no version is above what the oracle has handed out
//   - who had three voters is never left with fewer
//   - at rest the driver's map has every key once, as the leaders have it
//   - what a record says lies on no disk, and in none of raft's messages, in clear
type truth struct {
	c        *cluster
	greatest proto.Timestamp // that anybody has received
	count    int
	marks    [][]byte // that lie in values alone
}

// fetch stands around the way to the oracle of each node.
func (t *truth) fetch(fetch tso.Fetch) tso.Fetch {
	return func(ctx context.Context, count uint32) (proto.Timestamp, error) {
		before := t.greatest
		first, err := fetch(ctx, count)
		if err != nil {
			return first, err
		}
		if first <= before {
			t.c.k.broken(Timestamps, "a timestamp of %d was asked for after %d had been received",
				first, before)
		}
		t.count += int(count)
		t.greatest = max(t.greatest, first+proto.Timestamp(count)-1)
		return first, nil
	}
}

// wall is the clock of clients, which goes by the oracle: the cluster refuses requests that it takes for older than ten
// minutes, or for a minute too new.
func (t *truth) wall() time.Time { return time.UnixMilli(t.greatest.Physical()) }

// changed is told of every change of a range's replicas.
func (t *truth) changed(from, to *internalpb.Descriptor) {
	if was, is := newVoters(from), newVoters(to); was >= voters && is < voters {
		t.c.k.broken(Voters, "range %d goes from %d to %d voters: %v, %v", to.RangeId, was, is,
			from.Replicas, to.Replicas)
	}
}

// newVoters counts the voters of the newer half.
func newVoters(d *internalpb.Descriptor) (n int) {
	for _, r := range d.Replicas {
		if r.Role == internalpb.ReplicaRole_VOTER || r.Role == internalpb.ReplicaRole_VOTER_INCOMING {
			n++
		}
	}
	return n
}

// settled tells whether the driver in office knows every range as its leader does.
func (t *truth) settled() (ok bool, why string) {
	leaders := t.c.leaders()
	i := slices.IndexFunc(leaders, func(l leaderStatus) bool { return l.Range == proto.SystemRange })
	if i < 0 || !leaders[i].store.front.joined {
		return false, "nobody leads the system range"
	}
	driver := leaders[i].store.front.member.Driver()
	resp, err := driver.Lookup(context.Background(), &internalpb.LookupRequest{Limit: 1000})
	if err != nil {
		return false, fmt.Sprintf("the driver on store %d: %v", leaders[i].store.id, err)
	}
	var next []byte
	for n, r := range resp.Ranges {
		if !bytes.Equal(r.Desc.Start, next) || (len(r.Desc.End) == 0) != (n == len(resp.Ranges)-1) {
			return false, fmt.Sprintf("the driver's map has a hole or an overlap at %q", next)
		}
		next = r.Desc.End
		at := slices.IndexFunc(leaders, func(l leaderStatus) bool { return uint64(l.Range) == r.Desc.RangeId })
		if at < 0 || leaders[at].store.id != proto.StoreID(r.LeaderStore) ||
			newer(leaders[at].Descriptor.Epoch, r.Desc.Epoch) {
			return false, fmt.Sprintf("the driver's range %d is not as its leader's", r.Desc.RangeId)
		}
	}
	return len(resp.Ranges) == len(leaders), "the driver's map has other ranges than there are"
}

// bodyMark begins the body of each record of the workload streams.
const bodyMark = "message "

// canary makes a tenant's values known by what they begin with.
func (t *truth) canary(tenant string) {
	t.marks = append(t.marks, []byte(check.CanaryValue(tenant, "")))
}

// clear fails the run when something holds a value in clear.
func (t *truth) clear(b []byte, where string, store proto.StoreID) {
	for _, m := range t.marks {
		if bytes.Contains(b, m) {
			t.c.k.broken(ClearText, "a value with %q lies in clear in %s of store %d",
				m, where, store)
		}
	}
}

// final looks at everything that the stores hold.
func (t *truth) final() {
	for _, s := range t.c.stores {
		if s.lost {
			continue
		}
		if err := t.look(s); err != nil {
			t.c.k.fail("store %d: %w", s.id, err)
			return
		}
	}
}

func (t *truth) look(s *store) error {
	start, _ := keys.AllLocal()
	_, end := keys.DataSpan(nil, nil)
	it, err := s.engine.NewIter(storage.IterOptions{Lower: start, Upper: end})
	if err != nil {
		return err
	}
	dataStart, _ := keys.DataSpan(nil, nil)
	bound := mvcc.PlainKey(proto.SystemTenant, []byte(placement.OracleKey))
	for ok := it.SeekGE(start); ok && err == nil; ok = it.Next() {
		k, v := it.Item()
		t.clear(v, "the disk", s.id)
		if bytes.Compare(k, dataStart) < 0 {
			continue
		}
		var key []byte
		var ts proto.Timestamp
		key, ts, err = keys.ParseData(k)
		if err == nil && ts > t.greatest && !bytes.Equal(key, bound) {
			err = fmt.Errorf("%q has a version of %d, the oracle has handed out %d", key, ts, t.greatest)
		}
	}
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	return err
}
