package mvcc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// Route says which range a command goes to: the one that holds Key, or with Before the one that holds the keys just
// before Key, whose Start is below Key and whose End is Key or above.
type Route struct {
	Key    []byte // replicated key
	Before bool
}

// Command is the next step of a plan. The caller fills in the range's id and epoch. When the range answers StaleEpoch
// or NotLeader the caller looks the route up again and sends the same command.
type Command struct {
	Route   Route
	Request *internalpb.ExecuteRequest
}

// RouteOf says where a command goes that is no step of a plan: the range that holds its first key. (A Commit and a
// BatchGet need all of their keys in it.)
func RouteOf(req *internalpb.ExecuteRequest) Route {
	spans := Spans(req)
	if len(spans) == 0 {
		return Route{}
	}
	return Route{Key: spans[0].Start}
}

var errAnswer = errors.New("the answer is not of the kind that was asked for")

// tokenFormat is the first byte of a resume token; the next is 1 for a reverse scan; then the read timestamp, 8 bytes;
// then the key.
const tokenFormat = 1

// ScanPlan drives a Scan over the ranges of its span, all at one timestamp, until a page is full.
type ScanPlan struct {
	tenant     proto.TenantID
	req        *vipkvpb.ScanRequest
	start, end []byte
	at         uint64
	limit      int
	bytesLeft  int
	done       bool // nothing is left of the page
	resp       *vipkvpb.ScanResponse
}

// NewScanPlan checks the request and its resume token.
func NewScanPlan(tenant proto.TenantID, req *vipkvpb.ScanRequest) (*ScanPlan, error) {
	if err := validScan(req); err != nil {
		return nil, err
	}
	p := &ScanPlan{
		tenant: tenant, req: req, start: req.Start, end: req.End, at: req.At,
		limit: defaultScanItems, bytesLeft: MaxPageBytes, resp: &vipkvpb.ScanResponse{At: req.At},
	}
	if req.Limit != 0 {
		p.limit = int(req.Limit)
	}
	if req.MaxBytes != 0 {
		p.bytesLeft = int(req.MaxBytes)
	}
	if len(req.ResumeToken) > 0 {
		if err := p.resume(req.ResumeToken); err != nil {
			return nil, err
		}
	}
	p.done = len(p.end) > 0 && bytes.Compare(p.start, p.end) >= 0
	return p, nil
}

func (p *ScanPlan) resume(token []byte) error {
	bad := rpcerr.Invalid("resume_token", "does not belong to this scan")
	if len(token) < 11 || len(token) > 10+MaxKeyBytes+1 || token[0] != tokenFormat || (token[1] == 1) != p.req.Reverse {
		return bad
	}
	at, key := binary.BigEndian.Uint64(token[2:]), token[10:]
	if at == 0 || (p.at != 0 && p.at != at) || bytes.Compare(key, p.start) < 0 ||
		(len(p.end) > 0 && bytes.Compare(key, p.end) > 0) {
		return bad
	}
	p.at, p.resp.At = at, at
	if p.req.Reverse {
		p.end = key
	} else {
		p.start = key
	}
	return nil
}

func (p *ScanPlan) token() []byte {
	t := []byte{tokenFormat, 0}
	key := p.start
	if p.req.Reverse {
		t[1], key = 1, p.end
	}
	t = binary.BigEndian.AppendUint64(t, p.at)
	return append(t, key...)
}

// Next is the command to send; ok is false when the scan is done.
func (p *ScanPlan) Next() (c Command, ok bool) {
	if p.done {
		return Command{}, false
	}
	from, to := PlainSpan(p.tenant, p.start, p.end)
	c.Route = Route{Key: from}
	if p.req.Reverse {
		c.Route = Route{Key: to, Before: true}
	}
	c.Request = &internalpb.ExecuteRequest{
		Tenant: uint32(p.tenant), ReadAt: p.at,
		Request: &internalpb.ExecuteRequest_Scan{Scan: &vipkvpb.ScanRequest{
			Start: p.start, End: p.end, Reverse: p.req.Reverse, KeysOnly: p.req.KeysOnly,
			Limit: uint32(p.limit - len(p.resp.Items)), MaxBytes: uint32(p.bytesLeft),
		}},
	}
	return c, true
}

// Answer takes what the range answered to Next's command.
func (p *ScanPlan) Answer(resp *internalpb.ExecuteResponse) error {
	part := resp.GetScan()
	if part == nil {
		return errAnswer
	}
	if p.at == 0 {
		p.at, p.resp.At = part.At, part.At
	}
	full := false
	for _, item := range part.Items {
		if p.bytesLeft -= itemBytes(item); p.bytesLeft < 0 && len(p.resp.Items) > 0 {
			full = true // a range answers with one item at least, however little is left of the page
			break
		}
		p.resp.Items = append(p.resp.Items, item)
		if p.req.Reverse {
			p.end = item.Key
		} else {
			p.start = append(bytes.Clone(item.Key), 0)
		}
	}
	if full {
		p.finish(true)
		return nil
	}
	if len(resp.ResumeKey) == 0 {
		p.finish(false)
		return nil
	}
	if p.req.Reverse {
		p.end = resp.ResumeKey
	} else {
		p.start = resp.ResumeKey
	}
	if len(p.resp.Items) >= p.limit || p.bytesLeft <= 0 {
		p.finish(true)
	}
	return nil
}

func (p *ScanPlan) finish(more bool) {
	p.done = true
	if more {
		p.resp.ResumeToken = p.token()
	}
}

// Response is the page, once Next says that there is nothing to send.
func (p *ScanPlan) Response() *vipkvpb.ScanResponse { return p.resp }

// ReadPlan drives a Read: first the range of the stream's tail, which knows the head, then, when that has not all of
// the page, the ranges that hold older records. The answer is the state at the moment of the first command.
type ReadPlan struct {
	tenant    proto.TenantID
	req       *vipkvpb.ReadRequest
	limit     int
	bytesLeft int
	part      *vipkvpb.ReadRequest // the command to send now
	done      bool
	restarts  int
	resp      *vipkvpb.ReadResponse
}

// maxRestarts bounds how often a ReadPlan begins anew because records were truncated under it.
const maxRestarts = 3

// NewReadPlan checks the request.
func NewReadPlan(tenant proto.TenantID, req *vipkvpb.ReadRequest) (*ReadPlan, error) {
	if err := validRead(req); err != nil {
		return nil, err
	}
	p := &ReadPlan{tenant: tenant, req: req}
	p.start()
	return p, nil
}

func (p *ReadPlan) start() {
	p.limit, p.bytesLeft = defaultReadItems, MaxPageBytes
	if p.req.Limit != 0 {
		p.limit = int(p.req.Limit)
	}
	if p.req.MaxBytes != 0 {
		p.bytesLeft = int(p.req.MaxBytes)
	}
	p.part, p.resp, p.done = p.req, nil, false
}

// Next is the command to send; ok is false when the read is done.
func (p *ReadPlan) Next() (c Command, ok bool) {
	if p.done {
		return Command{}, false
	}
	c.Request = &internalpb.ExecuteRequest{Tenant: uint32(p.tenant)}
	c.Request.Request = &internalpb.ExecuteRequest_Read{Read: p.part}
	switch {
	case p.resp == nil:
		c.Route.Key = StreamTailKey(p.tenant, p.req.Stream)
	case p.req.Reverse:
		c.Request.ReadAt = Continuation
		c.Route = Route{Key: StreamRecordKey(p.tenant, p.req.Stream, p.part.BeforeSeq), Before: true}
	default:
		c.Request.ReadAt = Continuation
		c.Route.Key = StreamRecordKey(p.tenant, p.req.Stream, p.part.AfterSeq+1)
	}
	return c, true
}

// Answer takes what the range answered to Next's command.
func (p *ReadPlan) Answer(resp *internalpb.ExecuteResponse) error {
	part := resp.GetRead()
	if part == nil || (p.resp == nil && part.Head == nil) {
		return errAnswer
	}
	first := p.resp == nil
	if first {
		p.resp = &vipkvpb.ReadResponse{Head: part.Head}
	}
	next, err := p.expected(first, part, resp.ResumeKey)
	if err != nil {
		return err
	}
	for _, rec := range part.Records {
		p.bytesLeft -= len(rec.ClientId) + len(rec.Body) + recordOverhead
		if rec.Seq != next {
			return p.hole()
		}
		if p.bytesLeft < 0 && len(p.resp.Records) > 0 {
			p.finish(true)
			return nil
		}
		p.resp.Records = append(p.resp.Records, rec)
		if p.req.Reverse {
			next--
		} else {
			next++
		}
	}
	if part.More {
		p.finish(true)
		return nil
	}
	return p.goOn(first, next, resp.ResumeKey)
}

// expected is the sequence number that the first record of an answer must have.
func (p *ReadPlan) expected(first bool, part *vipkvpb.ReadResponse, resume []byte) (uint64, error) {
	if len(resume) != 0 && len(resume) != seqBytes {
		return 0, errAnswer
	}
	if !first {
		if p.req.Reverse {
			return p.part.BeforeSeq - 1, nil
		}
		return p.part.AfterSeq + 1, nil
	}
	if len(part.Records) > 0 {
		return part.Records[0].Seq, nil
	}
	if len(resume) == 0 {
		return 0, nil
	}
	seq := binary.BigEndian.Uint64(resume)
	if p.req.Reverse {
		return seq - 1, nil
	}
	return seq, nil
}

// goOn makes the next command after an answer whose records are all taken; next is the sequence number that would have
// followed them.
func (p *ReadPlan) goOn(first bool, next uint64, resume []byte) error {
	if len(resume) == 0 {
		if !first && !p.reachedEnd(next) {
			return p.hole()
		}
		p.finish(false)
		return nil
	}
	seq := binary.BigEndian.Uint64(resume)
	if (p.req.Reverse && seq != next+1) || (!p.req.Reverse && seq != next) {
		return p.hole()
	}
	if len(p.resp.Records) >= p.limit || p.bytesLeft <= 0 {
		p.finish(true)
		return nil
	}
	head := p.resp.Head
	part := &vipkvpb.ReadRequest{
		Stream: p.req.Stream, Reverse: p.req.Reverse,
		Limit: uint32(p.limit - len(p.resp.Records)), MaxBytes: uint32(p.bytesLeft),
	}
	if p.req.Reverse {
		part.AfterSeq, part.BeforeSeq = max(p.req.AfterSeq, head.FloorSeq-1), seq
	} else {
		part.AfterSeq, part.BeforeSeq = seq-1, head.LastSeq+1
		if p.req.BeforeSeq != 0 {
			part.BeforeSeq = min(p.req.BeforeSeq, part.BeforeSeq)
		}
	}
	p.part = part
	return nil
}

// reachedEnd tells whether nothing of the span that is being read comes at or after next.
func (p *ReadPlan) reachedEnd(next uint64) bool {
	if p.req.Reverse {
		return next <= p.part.AfterSeq
	}
	return next >= p.part.BeforeSeq
}

// hole deals with records that are gone: a Truncate came between the commands. What has been read so far is a page;
// with nothing so far the read begins anew, under the new floor.
func (p *ReadPlan) hole() error {
	if len(p.resp.Records) > 0 {
		p.finish(true)
		return nil
	}
	if p.restarts++; p.restarts > maxRestarts {
		return fmt.Errorf("read a stream: records are missing above its floor, %d tries", p.restarts)
	}
	p.start()
	return nil
}

func (p *ReadPlan) finish(more bool) { p.done, p.resp.More = true, more }

// Response is the page, once Next says that there is nothing to send.
func (p *ReadPlan) Response() *vipkvpb.ReadResponse { return p.resp }

// TruncatePlan drives a Truncate: the range of the tail moves the floor, then the records below it are deleted, from
// the newest to the oldest, range by range. After the first answer (FloorMoved) the Truncate has taken effect for every
// reader; the rest only gives bytes back, and the next Truncate of the stream does it when this one is given up.
type TruncatePlan struct {
	tenant proto.TenantID
	req    *vipkvpb.TruncateRequest
	below  uint64
	done   bool
	resp   *vipkvpb.TruncateResponse
}

// NewTruncatePlan checks the request.
func NewTruncatePlan(tenant proto.TenantID, req *vipkvpb.TruncateRequest) (*TruncatePlan, error) {
	if err := validTruncate(req); err != nil {
		return nil, err
	}
	return &TruncatePlan{tenant: tenant, req: req}, nil
}

// Next is the command to send; ok is false when the truncation is done.
func (p *TruncatePlan) Next() (c Command, ok bool) {
	if p.done {
		return Command{}, false
	}
	c.Request = &internalpb.ExecuteRequest{Tenant: uint32(p.tenant)}
	if p.resp == nil {
		c.Request.Request = &internalpb.ExecuteRequest_Truncate{Truncate: p.req}
		c.Route.Key = StreamTailKey(p.tenant, p.req.Stream)
		return c, true
	}
	c.Request.ReadAt = Continuation
	c.Request.Request = &internalpb.ExecuteRequest_Truncate{
		Truncate: &vipkvpb.TruncateRequest{Stream: p.req.Stream, BeforeSeq: p.below},
	}
	c.Route = Route{Key: StreamRecordKey(p.tenant, p.req.Stream, p.below), Before: true}
	return c, true
}

// Answer takes what the range answered to Next's command.
func (p *TruncatePlan) Answer(resp *internalpb.ExecuteResponse) error {
	part := resp.GetTruncate()
	if part == nil || (len(resp.ResumeKey) != 0 && len(resp.ResumeKey) != seqBytes) {
		return errAnswer
	}
	first := p.resp == nil
	if first {
		p.resp = part
	}
	if len(resp.ResumeKey) == 0 {
		p.done = true
		return nil
	}
	below := binary.BigEndian.Uint64(resp.ResumeKey)
	if !first && below >= p.below {
		return fmt.Errorf("truncate a stream: no progress below %d", below)
	}
	p.below = below
	return nil
}

// FloorMoved tells whether the Truncate has taken effect.
func (p *TruncatePlan) FloorMoved() bool { return p.resp != nil }

// Response is the answer, once FloorMoved.
func (p *TruncatePlan) Response() *vipkvpb.TruncateResponse { return p.resp }
