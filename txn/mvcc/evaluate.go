package mvcc

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// ErrNeedTimestamp is returned when the command can not be evaluated with Env.Now zero: fetch a timestamp, take a new
// view after that, and evaluate again.
var ErrNeedTimestamp = errors.New("the command needs a timestamp")

// ErrTimestampOrder is returned when a key has a version at or above the timestamp of a write: the oracle went back.
// Nothing is written.
var ErrTimestampOrder = errors.New("the write's timestamp is not above the key's newest version")

// ValueMeta is what an envelope is bound to.
type ValueMeta struct {
	Tenant       proto.TenantID
	Key          []byte // replicated key, tenant prefix included
	ExpiryMillis int64  // milliseconds since 1970; 0: never
	Start        proto.Timestamp
}

// Sealer encrypts and decrypts values with the tenant's data key. Both methods append to dst. Open fails with an
// *rpcerr.IntegrityError when the envelope was not sealed with the same meta.
type Sealer interface {
	Seal(dst []byte, m ValueMeta, plaintext []byte) ([]byte, error)
	Open(dst []byte, m ValueMeta, envelope []byte) ([]byte, error)
}

// Env is all that an evaluation knows beside the command.
type Env struct {
	Reader storage.Reader
	Sealer Sealer
	Tenant proto.TenantID
	// Start and End are the span of the range, as replicated keys; an empty End is the end of all data.
	Start, End []byte
	// Now is the fresh timestamp of a write; the read timestamp of a Scan or BatchGet; the moment at which a Get of the
	// latest version judges expiry (it may be 0 until ErrNeedTimestamp asks for it).
	Now proto.Timestamp
	// Draw fills b with random bytes. Only an Append that makes a stream calls it.
	Draw func(b []byte)
}

// Result is the outcome of an evaluation.
type Result struct {
	Response *internalpb.ExecuteResponse
	// Batch is what to write, empty when there is nothing.
	Batch *storage.Batch
	// DeltaBytes is how much Batch changes the sum of the lengths of stored engine keys and values.
	DeltaBytes int64
}

// Evaluate carries out one command against Env.Reader. It changes nothing; the batch in the result does.
func Evaluate(env *Env, req *internalpb.ExecuteRequest) (*Result, error) {
	if err := Validate(req); err != nil {
		return nil, err
	}
	if env.Now == 0 && KindOf(req) != KindLatest {
		return nil, ErrNeedTimestamp
	}
	e := &eval{Env: env}
	resp, err := e.run(req)
	if closeErr := e.close(); err == nil && closeErr != nil {
		err = fmt.Errorf("read: %w", closeErr)
	}
	if err != nil {
		return nil, err
	}
	return &Result{Response: resp, Batch: &e.batch, DeltaBytes: e.delta}, nil
}

// Kind says what a command needs before it is evaluated.
type Kind int

// The kinds of commands.
const (
	KindLatest   Kind = iota // reads the newest state: no timestamp, no latch
	KindSnapshot             // reads at a timestamp, after the writers that may have a smaller one
	KindWrite                // takes latches, then a fresh timestamp
)

// KindOf tells the kind of a command.
func KindOf(req *internalpb.ExecuteRequest) Kind {
	switch r := req.GetRequest().(type) {
	case *internalpb.ExecuteRequest_Get:
		if r.Get.GetAt() != 0 {
			return KindSnapshot
		}
		return KindLatest
	case *internalpb.ExecuteRequest_BatchGet, *internalpb.ExecuteRequest_Scan:
		return KindSnapshot
	case *internalpb.ExecuteRequest_Read, *internalpb.ExecuteRequest_Head:
		return KindLatest
	}
	return KindWrite
}

// eval is one evaluation under way.
type eval struct {
	*Env
	batch   storage.Batch
	delta   int64
	dropped map[string]struct{} // engine keys that the batch deletes
	it      storage.Iter        // over the range's span, made on first use
}

func (e *eval) run(req *internalpb.ExecuteRequest) (*internalpb.ExecuteResponse, error) {
	resp := &internalpb.ExecuteResponse{}
	part := req.ReadAt == Continuation
	var err error
	switch r := req.GetRequest().(type) {
	case *internalpb.ExecuteRequest_Get:
		var a *vipkvpb.GetResponse
		a, err = e.get(r.Get)
		resp.Response = &internalpb.ExecuteResponse_Get{Get: a}
	case *internalpb.ExecuteRequest_BatchGet:
		var a *vipkvpb.BatchGetResponse
		a, err = e.batchGet(r.BatchGet)
		resp.Response = &internalpb.ExecuteResponse_BatchGet{BatchGet: a}
	case *internalpb.ExecuteRequest_Scan:
		var a *vipkvpb.ScanResponse
		a, resp.ResumeKey, err = e.scan(r.Scan)
		resp.Response = &internalpb.ExecuteResponse_Scan{Scan: a}
	case *internalpb.ExecuteRequest_Append:
		var a *vipkvpb.AppendResponse
		a, err = e.append(r.Append)
		resp.Response = &internalpb.ExecuteResponse_Append{Append: a}
	case *internalpb.ExecuteRequest_Read:
		var a *vipkvpb.ReadResponse
		a, resp.ResumeKey, err = e.read(r.Read, part)
		resp.Response = &internalpb.ExecuteResponse_Read{Read: a}
	case *internalpb.ExecuteRequest_Truncate:
		var a *vipkvpb.TruncateResponse
		a, resp.ResumeKey, err = e.truncate(r.Truncate, part)
		resp.Response = &internalpb.ExecuteResponse_Truncate{Truncate: a}
	case *internalpb.ExecuteRequest_Head:
		var a *vipkvpb.HeadResponse
		a, err = e.head(r.Head)
		resp.Response = &internalpb.ExecuteResponse_Head{Head: a}
	default:
		err = e.change(req, resp)
	}
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// Span is a part of the replicated keys, [Start, End), that a command reads or writes.
type Span struct {
	Start, End []byte
	Write      bool
}

// Spans are what a valid command latches. Its first Start lies in the range that evaluates the command, except for a
// reverse Scan and a continued Read or Truncate (their plans say where those go).
func Spans(req *internalpb.ExecuteRequest) []Span {
	tenant := proto.TenantID(req.Tenant)
	point := func(key []byte, write bool) Span { return pointSpan(PlainKey(tenant, key), write) }
	tail := func(name []byte, write bool) Span { return pointSpan(StreamTailKey(tenant, name), write) }
	switch r := req.GetRequest().(type) {
	case *internalpb.ExecuteRequest_Get:
		return []Span{point(r.Get.Key, false)}
	case *internalpb.ExecuteRequest_BatchGet:
		spans := make([]Span, 0, len(r.BatchGet.Keys))
		for _, k := range r.BatchGet.Keys {
			spans = append(spans, point(k, false))
		}
		return spans
	case *internalpb.ExecuteRequest_Scan:
		start, end := PlainSpan(tenant, r.Scan.Start, r.Scan.End)
		return []Span{{Start: start, End: end}}
	case *internalpb.ExecuteRequest_Put:
		return []Span{point(r.Put.Key, true)}
	case *internalpb.ExecuteRequest_Delete:
		return []Span{point(r.Delete.Key, true)}
	case *internalpb.ExecuteRequest_Commit:
		spans := make([]Span, 0, len(r.Commit.Mutations)+len(r.Commit.Conditions))
		for _, m := range r.Commit.Mutations {
			spans = append(spans, point(m.Key, true))
		}
		for _, c := range r.Commit.Conditions {
			spans = append(spans, point(c.Key, false))
		}
		return spans
	case *internalpb.ExecuteRequest_Append:
		return []Span{tail(r.Append.Stream, true)}
	case *internalpb.ExecuteRequest_Read:
		return []Span{tail(r.Read.Stream, false)}
	case *internalpb.ExecuteRequest_Head:
		return []Span{tail(r.Head.Stream, false)}
	case *internalpb.ExecuteRequest_Truncate:
		return truncateSpans(tenant, req.ReadAt == Continuation, r.Truncate)
	}
	return nil
}

// truncateSpans takes the records that may go, which no Append writes, and for the first command the tail.
func truncateSpans(tenant proto.TenantID, part bool, r *vipkvpb.TruncateRequest) []Span {
	records := Span{
		Start: StreamRecordKey(tenant, r.Stream, 0),
		End:   StreamRecordKey(tenant, r.Stream, r.BeforeSeq),
		Write: true,
	}
	if part {
		return []Span{records}
	}
	return []Span{pointSpan(StreamTailKey(tenant, r.Stream), true), records}
}

func pointSpan(key []byte, write bool) Span {
	end := make([]byte, len(key)+1)
	copy(end, key)
	return Span{Start: key, End: end, Write: write}
}

func errStale() error { return &rpcerr.StaleEpochError{StaleEpoch: &vipkvpb.StaleEpoch{}} }

// holds tells whether a replicated key lies in the range.
func (e *eval) holds(key []byte) bool {
	return bytes.Compare(key, e.Start) >= 0 && (len(e.End) == 0 || bytes.Compare(key, e.End) < 0)
}

func (e *eval) own(key []byte) error {
	if !e.holds(key) {
		return errStale()
	}
	return nil
}

// iter is the evaluation's shared iterator, bounded to the range.
func (e *eval) iter() (storage.Iter, error) {
	if e.it == nil {
		lower, upper := keys.DataSpan(e.Start, e.End)
		it, err := e.Reader.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		e.it = it
	}
	return e.it, nil
}

func (e *eval) close() error {
	if e.it == nil {
		return nil
	}
	err := e.it.Close()
	e.it = nil
	return err
}

// set writes an engine key that is not there yet and returns the bytes it adds.
func (e *eval) set(key, value []byte) int64 {
	e.batch.Set(key, value)
	n := int64(len(key) + len(value))
	e.delta += n
	return n
}

// drop deletes an engine key whose value has the given length and returns the bytes it takes away: none when the batch
// deletes it already.
func (e *eval) drop(key []byte, valueLen int) int64 {
	if _, gone := e.dropped[string(key)]; gone {
		return 0
	}
	if e.dropped == nil {
		e.dropped = make(map[string]struct{})
	}
	e.dropped[string(key)] = struct{}{}
	e.batch.Delete(key)
	n := int64(len(key) + valueLen)
	e.delta -= n
	return n
}
