package mvcc

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// change is what Put, Delete and Commit come down to.
type change struct {
	conditions []*vipkvpb.Condition
	mutations  []*vipkvpb.Mutation
	id         *vipkvpb.RequestId
	op         byte // tells the three apart in the digest
}

func (e *eval) change(req *internalpb.ExecuteRequest, resp *internalpb.ExecuteResponse) error {
	switch r := req.GetRequest().(type) {
	case *internalpb.ExecuteRequest_Put:
		c := change{id: r.Put.RequestId, op: 'p'}
		c.mutations = []*vipkvpb.Mutation{{Key: r.Put.Key, Value: r.Put.Value, TtlMs: r.Put.TtlMs}}
		if r.Put.IfAbsent || r.Put.IfVersion != 0 {
			c.conditions = []*vipkvpb.Condition{{Key: r.Put.Key, Version: r.Put.IfVersion}}
		}
		ts, duplicate, err := e.commit(&c)
		a := &vipkvpb.PutResponse{Version: uint64(ts), Duplicate: duplicate}
		resp.Response = &internalpb.ExecuteResponse_Put{Put: a}
		return err
	case *internalpb.ExecuteRequest_Delete:
		c := change{id: r.Delete.RequestId, op: 'd'}
		c.mutations = []*vipkvpb.Mutation{{Key: r.Delete.Key, Delete: true}}
		if r.Delete.IfVersion != 0 {
			c.conditions = []*vipkvpb.Condition{{Key: r.Delete.Key, Version: r.Delete.IfVersion}}
		}
		ts, duplicate, err := e.commit(&c)
		a := &vipkvpb.DeleteResponse{Version: uint64(ts), Duplicate: duplicate}
		resp.Response = &internalpb.ExecuteResponse_Delete{Delete: a}
		return err
	case *internalpb.ExecuteRequest_Commit:
		c := change{conditions: r.Commit.Conditions, mutations: r.Commit.Mutations, id: r.Commit.RequestId, op: 'c'}
		ts, duplicate, err := e.commit(&c)
		a := &vipkvpb.CommitResponse{Version: uint64(ts), Duplicate: duplicate}
		resp.Response = &internalpb.ExecuteResponse_Commit{Commit: a}
		return err
	}
	return rpcerr.Invalid("request", "is of an unknown kind")
}

// commit checks the conditions and writes the mutations at Env.Now, or finds that they were written before.
func (e *eval) commit(c *change) (ts proto.Timestamp, duplicate bool, err error) {
	for _, m := range c.mutations {
		if err := e.own(PlainKey(e.Tenant, m.Key)); err != nil {
			return 0, false, err
		}
	}
	var digest []byte
	if c.id != nil {
		if err := e.checkIssued(c.id); err != nil {
			return 0, false, err
		}
	}
	if c.id != nil && len(c.mutations) > 0 && !fault.On(fault.ForgetRequests) {
		digest = c.digest()
		ts, err := e.recorded(PlainKey(e.Tenant, c.mutations[0].Key), c.id, digest)
		if err != nil || ts != 0 {
			fault.Sometimes("request-recorded", ts != 0)
			return ts, ts != 0, err
		}
	}
	for i, cond := range c.conditions {
		if err := e.condition(i, cond); err != nil {
			return 0, false, err
		}
	}
	for i, m := range c.mutations {
		id := c.id
		if i > 0 && e.Tenant != proto.SystemTenant && fault.On(fault.HalfCommit) {
			break
		}
		if i > 0 {
			id = nil // the first mutation's version is the record of the request
		}
		if err := e.mutate(m, id, digest); err != nil {
			return 0, false, err
		}
	}
	return e.Now, false, nil
}

func (e *eval) condition(index int, c *vipkvpb.Condition) error {
	key := PlainKey(e.Tenant, c.Key)
	if err := e.own(key); err != nil {
		return err
	}
	f, err := e.lookup(key, 0)
	if err != nil {
		return err
	}
	actual := uint64(f.ts)
	if !f.exists(e.Now.Physical()) {
		actual = 0
	}
	if actual != c.Version && !fault.On(fault.SkipCondition) {
		return &rpcerr.ConditionFailedError{ConditionFailed: &vipkvpb.ConditionFailed{
			Index: uint32(index), ActualVersion: actual,
		}}
	}
	return nil
}

// mutate writes one version.
func (e *eval) mutate(m *vipkvpb.Mutation, id *vipkvpb.RequestId, digest []byte) error {
	key := PlainKey(e.Tenant, m.Key)
	last, err := e.lookup(key, 0)
	if err != nil {
		return err
	}
	if last.ts >= e.Now {
		return fmt.Errorf("%w: %s, %s", ErrTimestampOrder, e.Now, last.ts)
	}
	h := header{kind: kindPut, start: e.Now, ahead: e.carryAhead(&last)}
	if m.Delete {
		h.kind = kindTombstone
	} else if m.TtlMs != 0 {
		h.expiry = e.Now.Physical() + m.TtlMs
	}
	if id != nil {
		h.request, h.id, h.issued = true, requestID(id.Id), id.IssuedMs
		h.ahead = max(h.ahead, uint32(max(0, id.IssuedMs-e.Now.Physical())))
	} else {
		digest = nil
	}
	value := h.append(nil)
	if h.kind == kindPut || h.request {
		if value, err = e.seal(value, &h, key, digest, m.Value); err != nil {
			return err
		}
	}
	e.set(keys.Version(key, e.Now), value)
	return nil
}

// carryAhead is what a key's new version takes over from its newest one (I6).
func (e *eval) carryAhead(last *found) uint32 {
	if last.ts.Physical() < e.Now.Physical()-RequestWindowMillis-RequestAheadMillis {
		return 0
	}
	return last.ahead
}

// checkIssued judges the time at which a request id was made.
func (e *eval) checkIssued(id *vipkvpb.RequestId) error {
	now := e.Now.Physical()
	if id.IssuedMs > now+RequestAheadMillis {
		return rpcerr.Invalid("request_id.issued_ms", "lies more than a minute in the future")
	}
	if id.IssuedMs < now-RequestWindowMillis {
		return &rpcerr.RequestExpiredError{RequestExpired: &vipkvpb.RequestExpired{WindowMs: RequestWindowMillis}}
	}
	return nil
}

// recorded looks for the version of key that the request wrote and returns its timestamp, 0 when there is none. Only
// versions that can hold the id are looked at: an id is never further ahead of its version than the newest version says
// (I6).
func (e *eval) recorded(key []byte, id *vipkvpb.RequestId, digest []byte) (proto.Timestamp, error) {
	f, err := e.lookup(key, 0)
	if err != nil || f.ts == 0 {
		return 0, err
	}
	oldest := id.IssuedMs - int64(f.ahead)
	want, prefix := requestID(id.Id), keys.Data(key)
	for {
		if f.ts.Physical() < oldest {
			return 0, nil
		}
		if f.request && f.id == want {
			break
		}
		if !e.it.Next() {
			return 0, nil
		}
		k, v := e.it.Item()
		if n := keys.Split(k); !bytes.Equal(k[:n], prefix) {
			return 0, nil
		}
		if f, err = parseItem(k, v); err != nil {
			return 0, err
		}
	}
	was, _, err := e.open(&f.header, key, f.rest)
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(was, digest) || f.issued != id.IssuedMs {
		return 0, errReused()
	}
	return f.ts, nil
}

func errReused() error {
	return &rpcerr.RequestReusedError{RequestReused: &vipkvpb.RequestReused{}}
}

// digester hashes fields so that no two lists of fields look alike.
type digester struct{ h hash.Hash }

func newDigester(op byte) digester {
	d := digester{sha256.New()}
	d.h.Write([]byte{op})
	return d
}

func (d digester) number(n uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	d.h.Write(b[:])
}

func (d digester) bytes(b []byte) {
	d.number(uint64(len(b)))
	d.h.Write(b)
}

func (d digester) sum() []byte { return d.h.Sum(nil)[:digestBytes] }

// digest is a fingerprint of the request. It is stored under the seal only: a hash of a value in clear would let
// anybody with the disk try guesses.
func (c *change) digest() []byte {
	d := newDigester(c.op)
	d.number(uint64(len(c.conditions)))
	for _, cond := range c.conditions {
		d.bytes(cond.Key)
		d.number(cond.Version)
	}
	d.number(uint64(len(c.mutations)))
	for _, m := range c.mutations {
		d.bytes(m.Key)
		d.bytes(m.Value)
		d.number(uint64(m.TtlMs))
		if m.Delete {
			d.number(1)
		} else {
			d.number(0)
		}
	}
	return d.sum()
}
