package mvcc_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/txn/mvcc"
	"github.com/vipkv/vipkv/txn/txntest"
)

const testTenant = proto.TenantID(7)

// baseMillis is when the tests' oracle begins.
const baseMillis = 1_800_000_000_000

// cluster is a store cut into ranges, with an oracle of its own. It counts every range's bytes by deltas.
type cluster struct {
	store  *txntest.Store
	splits [][]byte // sorted; the first range starts at the empty key
	bytes  []int64  // by range
	now    proto.Timestamp
	drawn  uint64
	steps  int // commands that were evaluated
}

func newCluster() *cluster {
	return &cluster{store: txntest.NewStore(), bytes: []int64{0}, now: proto.MakeTimestamp(baseMillis, 0)}
}

func (c *cluster) tick(millis int64) proto.Timestamp {
	c.now = proto.MakeTimestamp(c.now.Physical()+millis, c.now.Logical()+1)
	return c.now
}

func (c *cluster) draw(b []byte) {
	for i := range b {
		c.drawn++
		b[i] = byte(c.drawn * 167)
	}
}

func (c *cluster) span(n int) (start, end []byte) {
	if n > 0 {
		start = c.splits[n-1]
	}
	if n < len(c.splits) {
		end = c.splits[n]
	}
	return start, end
}

// split cuts at a key if the product would, and recounts both sides.
func (c *cluster) split(key []byte) bool {
	view := c.store.NewView()
	at, err := mvcc.SplitPoint(view, key)
	if err != nil {
		panic(err)
	}
	if at == nil {
		return false
	}
	n := sort.Search(len(c.splits), func(i int) bool { return bytes.Compare(c.splits[i], at) >= 0 })
	if n < len(c.splits) && bytes.Equal(c.splits[n], at) {
		return false
	}
	c.splits = append(c.splits[:n], append([][]byte{at}, c.splits[n:]...)...)
	left := c.store.Bytes(c.span(n))
	right := c.store.Bytes(c.span(n + 1))
	if left+right != c.bytes[n] {
		panic(fmt.Sprintf("range %d: %d bytes by deltas, %d by counting", n, c.bytes[n], left+right))
	}
	c.bytes = append(c.bytes[:n], append([]int64{left, right}, c.bytes[n+1:]...)...)
	return true
}

func (c *cluster) find(r mvcc.Route) int {
	if r.Before {
		return sort.Search(len(c.splits), func(i int) bool { return bytes.Compare(c.splits[i], r.Key) >= 0 })
	}
	return sort.Search(len(c.splits), func(i int) bool { return bytes.Compare(c.splits[i], r.Key) > 0 })
}

// eval carries out a command on range n at a timestamp and applies what it wrote, after checking its place.
func (c *cluster) eval(n int, ts proto.Timestamp, req *internalpb.ExecuteRequest) (*internalpb.ExecuteResponse, error) {
	c.steps++
	start, end := c.span(n)
	view := c.store.NewView()
	env := &mvcc.Env{
		Reader: view, Sealer: txntest.Sealer{}, Tenant: proto.TenantID(req.Tenant), Now: ts, Draw: c.draw,
		Start: start, End: end,
	}
	res, err := mvcc.Evaluate(env, req)
	if err != nil {
		return nil, err
	}
	return res.Response, c.apply(n, res)
}

func (c *cluster) apply(n int, res *mvcc.Result) error {
	start, end := c.span(n)
	lower, upper := keys.DataSpan(start, end)
	for ops := res.Batch.Ops(); ; {
		op, ok, err := ops.Next()
		if err != nil || !ok {
			break
		}
		if keys.Compare(op.Key, lower) < 0 || keys.Compare(op.Key, upper) >= 0 ||
			(op.Kind == storage.OpDeleteRange && keys.Compare(op.Value, upper) > 0) {
			return fmt.Errorf("the batch writes %x outside of its range", op.Key)
		}
	}
	if err := c.store.Apply(res.Batch); err != nil {
		return err
	}
	c.bytes[n] += res.DeltaBytes
	if have := c.store.Bytes(start, end); have != c.bytes[n] {
		return fmt.Errorf("range %d: %d bytes by deltas, %d by counting", n, c.bytes[n], have)
	}
	return nil
}

// do routes one command and carries it out at a fresh timestamp.
func (c *cluster) do(req *internalpb.ExecuteRequest) (*internalpb.ExecuteResponse, error) {
	req.Tenant = uint32(testTenant)
	return c.eval(c.find(mvcc.RouteOf(req)), c.tick(1), req)
}

func (c *cluster) step(cmd mvcc.Command) (*internalpb.ExecuteResponse, error) {
	ts := proto.Timestamp(cmd.Request.ReadAt)
	if cmd.Request.GetScan() == nil || ts == 0 {
		ts = c.tick(1)
	}
	return c.eval(c.find(cmd.Route), ts, cmd.Request)
}

// plan is any of the plans.
type plan interface {
	Next() (mvcc.Command, bool)
	Answer(*internalpb.ExecuteResponse) error
}

// run drives a plan; between its steps it calls between.
func (c *cluster) run(p plan, between func()) error {
	for {
		cmd, ok := p.Next()
		if !ok {
			return nil
		}
		resp, err := c.step(cmd)
		if err != nil {
			return err
		}
		if err := p.Answer(resp); err != nil {
			return err
		}
		if between != nil {
			between()
		}
	}
}

func requestID(n uint64, issued int64) *vipkvpb.RequestId {
	id := make([]byte, 16)
	binary.BigEndian.PutUint64(id, n)
	return &vipkvpb.RequestId{Id: id, IssuedMs: issued}
}

func put(key, value string) *vipkvpb.PutRequest {
	return &vipkvpb.PutRequest{Key: []byte(key), Value: []byte(value)}
}

func (c *cluster) put(r *vipkvpb.PutRequest) (*vipkvpb.PutResponse, error) {
	resp, err := c.do(&internalpb.ExecuteRequest{Request: &internalpb.ExecuteRequest_Put{Put: r}})
	return resp.GetPut(), err
}

func (c *cluster) delete(r *vipkvpb.DeleteRequest) (*vipkvpb.DeleteResponse, error) {
	resp, err := c.do(&internalpb.ExecuteRequest{Request: &internalpb.ExecuteRequest_Delete{Delete: r}})
	return resp.GetDelete(), err
}

func (c *cluster) commit(r *vipkvpb.CommitRequest) (*vipkvpb.CommitResponse, error) {
	resp, err := c.do(&internalpb.ExecuteRequest{Request: &internalpb.ExecuteRequest_Commit{Commit: r}})
	return resp.GetCommit(), err
}

func (c *cluster) get(key string, at uint64) (*vipkvpb.GetResponse, error) {
	r := &vipkvpb.GetRequest{Key: []byte(key), At: at}
	resp, err := c.do(&internalpb.ExecuteRequest{Request: &internalpb.ExecuteRequest_Get{Get: r}})
	return resp.GetGet(), err
}

func (c *cluster) append(r *vipkvpb.AppendRequest) (*vipkvpb.AppendResponse, error) {
	resp, err := c.do(&internalpb.ExecuteRequest{Request: &internalpb.ExecuteRequest_Append{Append: r}})
	return resp.GetAppend(), err
}

func (c *cluster) head(stream string) (*vipkvpb.HeadResponse, error) {
	r := &vipkvpb.HeadRequest{Stream: []byte(stream)}
	resp, err := c.do(&internalpb.ExecuteRequest{Request: &internalpb.ExecuteRequest_Head{Head: r}})
	return resp.GetHead(), err
}

func (c *cluster) scan(r *vipkvpb.ScanRequest) (*vipkvpb.ScanResponse, error) {
	p, err := mvcc.NewScanPlan(testTenant, r)
	if err != nil {
		return nil, err
	}
	if err := c.run(p, nil); err != nil {
		return nil, err
	}
	return p.Response(), nil
}

func (c *cluster) read(r *vipkvpb.ReadRequest, between func()) (*vipkvpb.ReadResponse, error) {
	p, err := mvcc.NewReadPlan(testTenant, r)
	if err != nil {
		return nil, err
	}
	if err := c.run(p, between); err != nil {
		return nil, err
	}
	return p.Response(), nil
}

func (c *cluster) truncate(r *vipkvpb.TruncateRequest) (*vipkvpb.TruncateResponse, error) {
	p, err := mvcc.NewTruncatePlan(testTenant, r)
	if err != nil {
		return nil, err
	}
	if err := c.run(p, nil); err != nil {
		return nil, err
	}
	return p.Response(), nil
}

func isA[E rpcerr.Error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func isAs[E rpcerr.Error](err error, e *E) bool { return errors.As(err, e) }
