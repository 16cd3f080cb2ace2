package mvcc_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/txn/mvcc"
	"github.com/vipkv/vipkv/txn/txntest"
)

// plainModel is the dumb version of plain keys: all versions of each key, oldest first.
type plainModel map[string][]modelVersion

type modelVersion struct {
	ts      uint64
	deleted bool
	value   string
	expires int64
}

func (m plainModel) at(key string, ts proto.Timestamp) (modelVersion, bool) {
	versions := m[key]
	for i := len(versions) - 1; i >= 0; i-- {
		if v := versions[i]; v.ts <= uint64(ts) {
			return v, !v.deleted && (v.expires == 0 || v.expires > ts.Physical())
		}
	}
	return modelVersion{}, false
}

func (m plainModel) version(key string, ts proto.Timestamp) uint64 {
	if v, ok := m.at(key, ts); ok {
		return v.ts
	}
	return 0
}

// scan lists what a scan of all must answer.
func (m plainModel) scan(r *vipkvpb.ScanRequest, ts proto.Timestamp) []string {
	var names []string
	for name := range m {
		inside := name >= string(r.Start) && (len(r.End) == 0 || name < string(r.End))
		if _, ok := m.at(name, ts); ok && inside {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if r.Reverse {
		slices.Reverse(names)
	}
	var out []string
	for _, name := range names {
		v, _ := m.at(name, ts)
		out = append(out, fmt.Sprintf("%q=%q@%d", name, v.value, v.ts))
	}
	return out
}

func show(items []*vipkvpb.Item) []string {
	var out []string
	for _, i := range items {
		out = append(out, fmt.Sprintf("%q=%q@%d", i.Key, i.Value, i.Version))
	}
	return out
}

var keyGen = rapid.SampledFrom([]string{"a", "a\x00", "a\x00\x09", "b", "b\xff", "c", "c\x00\x01", "d", "ddd"})

// plainRun is a rapid state machine: the cluster, its model, and what it was asked before.
type plainRun struct {
	c     *cluster
	m     plainModel
	ids   uint64
	past  []pastCommit
	reads []proto.Timestamp
}

type pastCommit struct {
	req     *vipkvpb.CommitRequest
	version uint64
}

func (p *plainRun) commit(t *rapid.T) {
	req := &vipkvpb.CommitRequest{}
	for _, key := range rapid.SliceOfNDistinct(keyGen, 1, 3, rapid.ID).Draw(t, "keys") {
		mut := &vipkvpb.Mutation{Key: []byte(key), Delete: rapid.IntRange(0, 3).Draw(t, "delete") == 0}
		if !mut.Delete {
			mut.Value = []byte(rapid.StringN(0, 8, 8).Draw(t, "value"))
			mut.TtlMs = int64(rapid.SampledFrom([]int{0, 0, 1, 20, 400}).Draw(t, "ttl"))
		}
		req.Mutations = append(req.Mutations, mut)
	}
	hold := true
	if rapid.Bool().Draw(t, "conditional") {
		key := rapid.OneOf(keyGen, rapid.Just(string(req.Mutations[0].Key))).Draw(t, "condition")
		cond := &vipkvpb.Condition{Key: []byte(key)}
		next := proto.MakeTimestamp(p.c.now.Physical()+1, p.c.now.Logical()+1) // of the command below
		cond.Version = p.m.version(key, next)
		if hold = rapid.Bool().Draw(t, "holds"); !hold {
			cond.Version++
		}
		req.Conditions = append(req.Conditions, cond)
	}
	if rapid.Bool().Draw(t, "id") {
		p.ids++
		skew := int64(rapid.IntRange(-50, 50).Draw(t, "skew"))
		req.RequestId = requestID(p.ids, p.c.now.Physical()+skew)
	}
	if !p.oneRange(req) {
		return
	}
	resp, err := p.c.commit(req)
	if !hold {
		if !isA[*rpcerr.ConditionFailedError](err) {
			t.Fatalf("condition does not hold, got %v, %v", resp, err)
		}
		return
	}
	if err != nil || resp.Duplicate || resp.Version != uint64(p.c.now) {
		t.Fatalf("commit %v: %v, %v", req, resp, err)
	}
	p.past = append(p.past, pastCommit{req, resp.Version})
	p.reads = append(p.reads, p.c.now)
	for _, mut := range req.Mutations {
		v := modelVersion{ts: resp.Version, deleted: mut.Delete, value: string(mut.Value)}
		if mut.TtlMs != 0 {
			v.expires = p.c.now.Physical() + mut.TtlMs
		}
		p.m[string(mut.Key)] = append(p.m[string(mut.Key)], v)
	}
}

func (p *plainRun) oneRange(req *vipkvpb.CommitRequest) bool {
	n := -1
	for _, key := range append(commitKeys(req.Mutations), commitKeys(req.Conditions)...) {
		at := p.c.find(mvcc.Route{Key: mvcc.PlainKey(testTenant, key)})
		if n >= 0 && n != at {
			return false
		}
		n = at
	}
	return true
}

func commitKeys[K interface{ GetKey() []byte }](list []K) (out [][]byte) {
	for _, k := range list {
		out = append(out, k.GetKey())
	}
	return out
}

func (p *plainRun) retry(t *rapid.T) {
	if len(p.past) == 0 {
		t.Skip("nothing to send again")
	}
	old := rapid.SampledFrom(p.past).Draw(t, "past")
	if old.req.RequestId == nil || !p.oneRange(old.req) {
		t.Skip("no id")
	}
	resp, err := p.c.commit(old.req)
	if err != nil || !resp.Duplicate || resp.Version != old.version {
		t.Fatalf("sent again: %v, %v, recorded %d", resp, err, old.version)
	}
	other := &vipkvpb.CommitRequest{
		Mutations: []*vipkvpb.Mutation{{Key: old.req.Mutations[0].Key, Value: []byte("another value")}},
		RequestId: old.req.RequestId,
	}
	if _, err := p.c.commit(other); !isA[*rpcerr.RequestReusedError](err) {
		t.Fatalf("another request under the same id: %v", err)
	}
}

func (p *plainRun) get(t *rapid.T) {
	key := keyGen.Draw(t, "key")
	at := proto.Timestamp(0)
	if len(p.reads) > 0 && rapid.Bool().Draw(t, "historic") {
		at = rapid.SampledFrom(p.reads).Draw(t, "at") + proto.Timestamp(rapid.IntRange(-1, 1).Draw(t, "off"))
	}
	resp, err := p.c.get(key, uint64(at))
	if err != nil {
		t.Fatal(err)
	}
	judge := at
	if at == 0 {
		judge = p.c.now
	}
	want, ok := p.m.at(key, judge)
	same := resp.Version == want.ts && string(resp.Value) == want.value && resp.ExpiresMs == want.expires
	if resp.Found != ok || (ok && !same) {
		t.Fatalf("get %q at %d: %v, want %v %v", key, at, resp, want, ok)
	}
}

func (p *plainRun) batchGet(t *rapid.T) {
	if len(p.reads) == 0 {
		t.Skip("nothing written")
	}
	at := rapid.SampledFrom(p.reads).Draw(t, "at")
	req := &internalpb.ExecuteRequest{Tenant: uint32(testTenant)}
	names := rapid.SliceOfN(keyGen, 1, 4).Draw(t, "keys")
	batch := &vipkvpb.BatchGetRequest{}
	var want []string
	home := p.c.find(mvcc.Route{Key: mvcc.PlainKey(testTenant, []byte(names[0]))})
	for _, name := range names {
		if p.c.find(mvcc.Route{Key: mvcc.PlainKey(testTenant, []byte(name))}) != home {
			continue
		}
		batch.Keys = append(batch.Keys, []byte(name))
		if v, ok := p.m.at(name, at); ok {
			want = append(want, fmt.Sprintf("%q=%q@%d", name, v.value, v.ts))
		}
	}
	req.Request = &internalpb.ExecuteRequest_BatchGet{BatchGet: batch}
	resp, err := p.c.eval(home, at, req)
	if err != nil || resp.GetBatchGet().At != uint64(at) {
		t.Fatalf("%v, %v", resp, err)
	}
	if got := show(resp.GetBatchGet().Items); !slices.Equal(got, want) {
		t.Fatalf("batch %q at %d: %v, want %v", batch.Keys, at, got, want)
	}
}

func (p *plainRun) scan(t *rapid.T) {
	req := &vipkvpb.ScanRequest{
		Reverse: rapid.Bool().Draw(t, "reverse"), Limit: uint32(rapid.IntRange(0, 4).Draw(t, "limit")),
		MaxBytes: uint32(rapid.SampledFrom([]int{0, 1, 12, 40}).Draw(t, "max")),
	}
	bounds := rapid.OneOf(keyGen, rapid.Just(""))
	req.Start, req.End = []byte(bounds.Draw(t, "start")), []byte(bounds.Draw(t, "end"))
	if len(p.reads) > 0 && rapid.Bool().Draw(t, "historic") {
		req.At = uint64(rapid.SampledFrom(p.reads).Draw(t, "at"))
	}
	var got []string
	for pages := 0; ; pages++ {
		resp, err := p.c.scan(req)
		if err != nil {
			t.Fatal(err)
		}
		if req.Limit != 0 && len(resp.Items) > int(req.Limit) {
			t.Fatalf("%d items, limit %d", len(resp.Items), req.Limit)
		}
		size := 0
		for _, i := range resp.Items {
			size += len(i.Key) + len(i.Value)
		}
		if req.MaxBytes != 0 && size > int(req.MaxBytes) && len(resp.Items) > 1 {
			t.Fatalf("%d bytes in %d items, the limit is %d", size, len(resp.Items), req.MaxBytes)
		}
		got = append(got, show(resp.Items)...)
		if req.At == 0 {
			req.At = resp.At
		}
		if req.ResumeToken = resp.ResumeToken; len(resp.ResumeToken) == 0 {
			break
		}
		if pages > 100 {
			t.Fatalf("the scan does not end: %v", req)
		}
		if rapid.IntRange(0, 5).Draw(t, "splits") == 0 {
			p.split(t)
		}
	}
	if want := p.m.scan(req, proto.Timestamp(req.At)); !slices.Equal(got, want) {
		t.Fatalf("scan %v: %v, want %v", req, got, want)
	}
}

func (p *plainRun) split(t *rapid.T) {
	p.c.split(mvcc.PlainKey(testTenant, []byte(keyGen.Draw(t, "split"))))
}

func TestPlainKeysAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &plainRun{c: newCluster(), m: plainModel{}}
		t.Repeat(map[string]func(*rapid.T){
			"commit": p.commit, "commit2": p.commit, "retry": p.retry, "get": p.get, "scan": p.scan,
			"split": p.split, "batchGet": p.batchGet,
			"wait": func(t *rapid.T) { p.c.tick(int64(rapid.SampledFrom([]int{1, 19, 300}).Draw(t, "millis"))) },
		})
	})
}

func TestManyVersionsAreSteppedOver(t *testing.T) {
	c := newCluster()
	for range 50 {
		for _, key := range []string{"a", "b", "c"} {
			if _, err := c.put(put(key, key)); err != nil {
				t.Fatal(err)
			}
		}
	}
	at := c.now
	for range 50 {
		for _, key := range []string{"a", "b", "c"} {
			if _, err := c.put(put(key, "new")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, reverse := range []bool{false, true} {
		resp, err := c.scan(&vipkvpb.ScanRequest{At: uint64(at), Reverse: reverse})
		if err != nil || len(resp.Items) != 3 {
			t.Fatalf("reverse %v: %v, %v", reverse, resp, err)
		}
		for _, i := range resp.Items {
			if !bytes.Equal(i.Key, i.Value) {
				t.Fatalf("reverse %v: %q is %q", reverse, i.Key, i.Value)
			}
		}
	}
}

func TestRequestIDs(t *testing.T) {
	c := newCluster()
	now := c.now.Physical()
	with := func(r *vipkvpb.PutRequest, id *vipkvpb.RequestId) *vipkvpb.PutRequest {
		r.RequestId = id
		return r
	}
	if _, err := c.put(with(put("k", "v"), requestID(1, now+62_000))); !isA[*rpcerr.InvalidArgumentError](err) {
		t.Fatalf("issued in the future: %v", err)
	}
	// The client's clock is 59 seconds ahead, so the id seems to be younger than the versions that follow its own.
	ahead := requestID(2, now+59_000)
	first, err := c.put(with(put("k", "v"), ahead))
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		c.tick(1000)
		if _, err := c.put(put("k", "w")); err != nil {
			t.Fatal(err)
		}
	}
	again, err := c.put(with(put("k", "v"), ahead))
	if err != nil || !again.Duplicate || again.Version != first.Version {
		t.Fatalf("sent again: %v, %v", again, err)
	}
	if _, err := c.put(with(put("k", "other"), ahead)); !isA[*rpcerr.RequestReusedError](err) {
		t.Fatalf("another value: %v", err)
	}
	gone := requestID(3, c.now.Physical())
	del := &vipkvpb.DeleteRequest{Key: []byte("absent"), RequestId: gone}
	d1, err := c.delete(del)
	if err != nil || d1.Duplicate {
		t.Fatalf("delete: %v, %v", d1, err)
	}
	if d2, err := c.delete(del); err != nil || !d2.Duplicate || d2.Version != d1.Version {
		t.Fatalf("delete again: %v, %v", d2, err)
	}
	c.tick(mvcc.RequestWindowMillis + 1)
	if _, err := c.delete(del); !isA[*rpcerr.RequestExpiredError](err) {
		t.Fatalf("an old id: %v", err)
	}
}

func TestExpiryNeedsATimestamp(t *testing.T) {
	c := newCluster()
	r := put("k", "v")
	r.TtlMs = 5
	if _, err := c.put(r); err != nil {
		t.Fatal(err)
	}
	req := &internalpb.ExecuteRequest{Tenant: uint32(testTenant)}
	req.Request = &internalpb.ExecuteRequest_Get{Get: &vipkvpb.GetRequest{Key: []byte("k")}}
	if _, err := c.eval(0, 0, req); !errors.Is(err, mvcc.ErrNeedTimestamp) {
		t.Fatalf("got %v", err)
	}
	if resp, err := c.eval(0, c.tick(3), req); err != nil || !resp.GetGet().Found {
		t.Fatalf("before its end: %v, %v", resp, err)
	}
	if resp, err := c.eval(0, c.tick(2), req); err != nil || resp.GetGet().Found {
		t.Fatalf("at its end: %v, %v", resp, err)
	}
}

func TestPlainRefusals(t *testing.T) {
	c := newCluster()
	if _, err := c.put(put("k", "v")); err != nil {
		t.Fatal(err)
	}
	c.split(mvcc.PlainKey(testTenant, []byte("m")))
	back := &internalpb.ExecuteRequest{Tenant: uint32(testTenant)}
	back.Request = &internalpb.ExecuteRequest_Put{Put: put("k", "v")}
	if _, err := c.eval(0, c.now-1, back); !errors.Is(err, mvcc.ErrTimestampOrder) {
		t.Fatalf("a write below the newest version: %v", err)
	}
	if _, err := c.eval(1, c.tick(1), back); !isA[*rpcerr.StaleEpochError](err) {
		t.Fatalf("a key outside of the range: %v", err)
	}
	twice := &vipkvpb.CommitRequest{Mutations: []*vipkvpb.Mutation{{Key: []byte("k")}, {Key: []byte("k"), Delete: true}}}
	if _, err := c.commit(twice); !isA[*rpcerr.InvalidArgumentError](err) {
		t.Fatalf("a key twice: %v", err)
	}
	both := put("k", "v")
	both.IfAbsent, both.IfVersion = true, 3
	if _, err := c.put(both); !isA[*rpcerr.InvalidArgumentError](err) {
		t.Fatalf("two conditions: %v", err)
	}
	for name, r := range map[string]*vipkvpb.PutRequest{
		"key":   {Key: make([]byte, mvcc.MaxKeyBytes+1)},
		"value": {Key: []byte("k"), Value: make([]byte, mvcc.MaxValueBytes+1)},
	} {
		if _, err := c.put(r); !isA[*rpcerr.TooLargeError](err) {
			t.Fatalf("%s: %v", name, err)
		}
	}
	token := &vipkvpb.ScanRequest{Start: []byte("b"), ResumeToken: append([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 'a')}
	if _, err := c.scan(token); !isA[*rpcerr.InvalidArgumentError](err) {
		t.Fatalf("a token from elsewhere: %v", err)
	}
}

// A stored version whose clear header was changed on the disk must not be answered as another kind.
func TestKindIsUnderTheSeal(t *testing.T) {
	c := newCluster()
	r := put("k", "value")
	r.RequestId = requestID(1, c.now.Physical())
	if _, err := c.put(r); err != nil {
		t.Fatal(err)
	}
	changed := txntest.NewStore()
	c.store.Each(func(key, value []byte) {
		if len(value) > 34 { // drop the request id and its flag, so that the digest looks like a part of the value
			value = append(append([]byte{value[0], 0}, value[2:10]...), value[34:]...)
		}
		changed.Set(key, value)
	})
	c.store = changed
	if resp, err := c.get("k", 0); !isA[*rpcerr.IntegrityError](err) {
		t.Fatalf("got %v, %v", resp, err)
	}
}
