package workloadtest

import (
	"context"
	"errors"
	"time"

	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// errRefused is a failure without effect.
var errRefused = errors.New("refused")

// version is one value of a key.
type version struct {
	ts      uint64
	value   []byte
	deleted bool
	expires int64 // milliseconds; 0: never
}

type stream struct {
	records []client.Record
	ids     map[string]uint64 // number by client id
}

// tenant is one tenant's space. Its fields are guarded by Cluster.mu.
type tenant struct {
	c       *Cluster
	name    string
	keys    map[string][]version // oldest first
	streams map[string]*stream
}

// write carries do out, which applies under the lock, with what the faults make of it. do is told whether conditions
// count and whether only a part is to be done.
func (t *tenant) write(ctx context.Context, do func(how manner) error) error {
	c, f := t.c, &t.c.faults
	c.travel()
	defer c.travel()
	if err := ctx.Err(); err != nil {
		return err
	}
	switch {
	case c.hit(f.Refused):
		return errRefused
	case c.hit(f.Lost):
		return t.locked(do, manner{dry: true})
	case c.hit(f.Late):
		c.later(func() { _ = do(manner{}) }) // a condition that does not hold then is nobody's error
		return rpcerr.Ambiguous("not answered")
	}
	how := manner{unchecked: c.hit(f.Unchecked), torn: c.hit(f.Torn)}
	err := t.locked(do, how)
	if err != nil {
		return err
	}
	if c.hit(f.Twice) {
		c.later(func() { _ = do(manner{unchecked: true, again: true}) })
	}
	switch {
	case c.hit(f.LostAnswer):
		return rpcerr.Ambiguous("the answer was lost")
	case c.hit(f.Denied):
		return errRefused
	}
	return nil
}

// manner is how a write is carried out.
type manner struct {
	dry       bool // not at all
	unchecked bool // whatever its conditions
	torn      bool // the first part of it only
	again     bool // as if it had not been carried out
}

func (t *tenant) locked(do func(manner) error, how manner) error {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	return do(how)
}

func (t *tenant) newestLocked(key []byte, at uint64) (version, bool) {
	versions := t.keys[string(key)]
	for i := len(versions) - 1; i >= 0; i-- {
		v := versions[i]
		if v.ts > at {
			continue
		}
		expired := v.expires != 0 && v.expires <= millisOf(at) && !t.c.hitLocked(t.c.faults.Immortal)
		return v, !v.deleted && !expired
	}
	return version{}, false
}

func (t *tenant) holdsLocked(index int, key []byte, want, now uint64) error {
	v, ok := t.newestLocked(key, now)
	if !ok {
		v.ts = 0
	}
	if v.ts == want {
		return nil
	}
	return &rpcerr.ConditionFailedError{ConditionFailed: &vipkvpb.ConditionFailed{
		Index: uint32(index), ActualVersion: v.ts}}
}

// Put implements workload.Store.
func (t *tenant) Put(
	ctx context.Context, key, value []byte, o client.PutOptions,
) (client.Written, error) {
	x := client.Transaction{Mutations: []client.Mutation{{Key: key, Value: value, TTL: o.TTL}}}
	if o.IfAbsent || o.IfVersion != 0 {
		x.Conditions = []client.Condition{{Key: key, Version: o.IfVersion}}
	}
	return t.Commit(ctx, x)
}

// Commit implements workload.Store.
func (t *tenant) Commit(
	ctx context.Context, x client.Transaction,
) (done client.Written, err error) {
	err = t.write(ctx, func(how manner) error {
		now := t.c.nextLocked()
		for i, c := range x.Conditions {
			if err := t.holdsLocked(i, c.Key, c.Version, now); err != nil && !how.unchecked {
				return err
			}
		}
		done = client.Written{Version: now}
		if how.dry {
			return nil
		}
		mutations := x.Mutations
		if how.torn && len(mutations) > 1 {
			mutations = mutations[:len(mutations)/2]
		}
		for _, m := range mutations {
			v := version{ts: now, value: append([]byte(nil), m.Value...), deleted: m.Delete}
			if m.TTL != 0 {
				v.expires = millisOf(now) + m.TTL.Milliseconds()
			}
			t.keys[string(m.Key)] = append(t.keys[string(m.Key)], v)
		}
		return nil
	})
	if err != nil {
		return client.Written{}, err
	}
	return done, nil
}

// Append implements workload.Store.
func (t *tenant) Append(
	ctx context.Context, name string, records []client.Record, _ client.AppendOptions,
) (done client.Appended, err error) {
	err = t.write(ctx, func(how manner) error {
		s := t.streams[name]
		if s == nil {
			s = &stream{ids: map[string]uint64{}}
			t.streams[name] = s
		}
		now := t.c.nextLocked()
		for _, r := range records {
			seq := s.ids[r.ClientID]
			if seq != 0 && !how.again && !t.c.hitLocked(t.c.faults.Forgetful) {
				done = client.Appended{FirstSeq: seq, LastSeq: seq, Duplicate: true,
					Version: s.records[seq-1].Version}
				continue
			}
			r.Seq, r.Version = uint64(len(s.records))+1, now
			done = client.Appended{FirstSeq: r.Seq, LastSeq: r.Seq, Version: now}
			if how.dry {
				continue
			}
			s.ids[r.ClientID] = r.Seq
			s.records = append(s.records, r)
			if n := len(s.records); n > 1 && t.c.hitLocked(t.c.faults.Swapped) {
				a, b := &s.records[n-2], &s.records[n-1]
				a.ClientID, a.Body, b.ClientID, b.Body = b.ClientID, b.Body, a.ClientID, a.Body
			}
		}
		return nil
	})
	if err != nil {
		return client.Appended{}, err
	}
	return done, nil
}

// staleAt is a moment before now.
func staleAt() uint64 { return uint64(time.Now().Add(-staleBack).UnixMilli()) << logicalBits }
