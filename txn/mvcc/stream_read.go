package mvcc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/proto/storage"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// recordOverhead is what a record counts in a page beside its client id and body.
const recordOverhead = 16

// seqSpan is [lo, hi) of sequence numbers.
type seqSpan struct{ lo, hi uint64 }

func (s seqSpan) empty() bool { return s.lo >= s.hi }

// ownSeqs are the sequence numbers whose record keys lie in the range.
func (e *eval) ownSeqs(s streamKeys) seqSpan {
	own := seqSpan{0, math.MaxUint64}
	if lo, ok := seqCeil(s.prefix, e.Start); ok {
		own.lo = lo
	} else {
		own.lo = math.MaxUint64
	}
	if len(e.End) == 0 {
		return own
	}
	if hi, ok := seqCeil(s.prefix, e.End); ok {
		own.hi = hi
	}
	return own
}

func encodeSeq(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

// read answers with the head and the records that the range has. resume, when it is not empty, is a sequence number:
// forward the first, reverse the exclusive upper end, of what other ranges have.
func (e *eval) read(r *vipkvpb.ReadRequest, part bool) (*vipkvpb.ReadResponse, []byte, error) {
	s := streamKeys{StreamPrefix(e.Tenant, r.Stream)}
	want := seqSpan{1, math.MaxUint64}
	if r.AfterSeq != math.MaxUint64 {
		want.lo = r.AfterSeq + 1
	} else {
		want.lo = math.MaxUint64
	}
	if r.BeforeSeq != 0 {
		want.hi = r.BeforeSeq
	}
	resp := &vipkvpb.ReadResponse{}
	if !part {
		h, err := e.readHead(s)
		if err != nil {
			return nil, nil, err
		}
		resp.Head = h.response()
		floor := resp.Head.FloorSeq
		if !r.Reverse && r.AfterSeq > 0 && want.lo < floor {
			return nil, nil, &rpcerr.BelowFloorError{BelowFloor: &vipkvpb.BelowFloor{FloorSeq: floor}}
		}
		want.lo, want.hi = max(want.lo, floor), min(want.hi, h.last+1)
	}
	if want.empty() {
		return resp, nil, nil
	}
	own := e.ownSeqs(s)
	here := seqSpan{max(want.lo, own.lo), min(want.hi, own.hi)}
	first, elsewhere := here.lo == want.lo, want.lo
	if r.Reverse {
		first, elsewhere = here.hi == want.hi, want.hi
	}
	if here.empty() || !first {
		if part {
			return nil, nil, errStale()
		}
		return resp, encodeSeq(elsewhere), nil
	}
	if err := e.records(s, r, here, resp); err != nil {
		return nil, nil, err
	}
	if !part {
		if err := dense(resp, here, r.Reverse); err != nil {
			return nil, nil, err
		}
	}
	var resume []byte
	if r.Reverse && here.lo > want.lo {
		resume = encodeSeq(here.lo)
	} else if !r.Reverse && here.hi < want.hi {
		resume = encodeSeq(here.hi)
	}
	if resp.More {
		resume = nil
	}
	return resp, resume, nil
}

// dense checks that a page begins at the span's near end and leaves no record out.
func dense(resp *vipkvpb.ReadResponse, here seqSpan, reverse bool) error {
	if n := uint64(len(resp.Records)); !resp.More && n != here.hi-here.lo {
		return rpcerr.Integrity(fmt.Sprintf("a stream has %d of %d records", n, here.hi-here.lo))
	}
	for i, rec := range resp.Records {
		seq := here.lo + uint64(i)
		if reverse {
			seq = here.hi - 1 - uint64(i)
		}
		if rec.Seq != seq {
			return rpcerr.Integrity(fmt.Sprintf("record %d of a stream is missing", seq))
		}
	}
	return nil
}

// records adds the records of the span to the answer, until the page is full.
func (e *eval) records(s streamKeys, r *vipkvpb.ReadRequest, here seqSpan, resp *vipkvpb.ReadResponse) error {
	limit, bytesLeft := defaultReadItems, MaxPageBytes
	if r.Limit != 0 {
		limit = int(r.Limit)
	}
	if r.MaxBytes != 0 {
		bytesLeft = int(r.MaxBytes)
	}
	lower, upper := keys.DataSpan(s.record(here.lo), s.record(here.hi))
	it, err := e.Reader.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	if err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	var ok bool
	if r.Reverse {
		ok = it.SeekLT(upper)
	} else {
		ok = it.SeekGE(lower)
	}
	for ok && err == nil {
		var rec *vipkvpb.Record
		if rec, err = e.record(s, it); err != nil {
			break
		}
		bytesLeft -= len(rec.ClientId) + len(rec.Body) + recordOverhead
		if len(resp.Records) == limit || (bytesLeft < 0 && len(resp.Records) > 0) {
			resp.More = true
			break
		}
		resp.Records = append(resp.Records, rec)
		if r.Reverse {
			ok = it.Prev()
		} else {
			ok = it.NextPrefix()
		}
	}
	if closeErr := it.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("read records: %w", closeErr)
	}
	return err
}

// record opens the record under the iterator.
func (e *eval) record(s streamKeys, it storage.Iter) (*vipkvpb.Record, error) {
	k, v := it.Item()
	key, ts, err := keys.ParseData(k)
	if err != nil || len(key) != len(s.prefix)+1+seqBytes {
		return nil, rpcerr.Integrity("a record's key is malformed")
	}
	h, rest, err := parseVersion(v)
	if err != nil {
		return nil, err
	}
	n, w := binary.Uvarint(rest)
	if h.kind != kindRecord || w <= 0 || n > uint64(len(rest)-w) {
		return nil, badRow("record", v)
	}
	rec := &vipkvpb.Record{
		Seq: binary.BigEndian.Uint64(key[len(key)-seqBytes:]), ClientId: string(rest[w : w+int(n)]), Version: uint64(ts),
	}
	_, rec.Body, err = e.open(&h, key, rest[w+int(n):])
	return rec, err
}

// truncate moves the floor, unless the command is a continuation, and deletes records below it that the range has.
// resume, when it is not empty, is the exclusive upper end of the sequence numbers still to be deleted, here or in
// other ranges.
func (e *eval) truncate(r *vipkvpb.TruncateRequest, part bool) (*vipkvpb.TruncateResponse, []byte, error) {
	s := streamKeys{StreamPrefix(e.Tenant, r.Stream)}
	floor := r.BeforeSeq
	if part {
		if own := e.ownSeqs(s); floor <= own.lo || floor-1 >= own.hi {
			return nil, nil, errStale()
		}
	} else {
		a, err := e.load(r.Stream)
		if err != nil {
			return nil, nil, err
		}
		if a.h.version == 0 {
			return &vipkvpb.TruncateResponse{FloorSeq: 1}, nil, nil
		}
		if floor, err = a.moveFloor(r); err != nil {
			return nil, nil, err
		}
	}
	// A higher floor is an earlier command's: the records between are not under this one's latches.
	resume, err := e.sweep(s, min(floor, r.BeforeSeq))
	if err != nil {
		return nil, nil, err
	}
	return &vipkvpb.TruncateResponse{FloorSeq: floor}, resume, nil
}

// moveFloor makes the floor as high as was asked for, the next sequence number at most, and returns it.
func (a *appender) moveFloor(r *vipkvpb.TruncateRequest) (uint64, error) {
	digest := func() [digestBytes]byte {
		return a.mac(append([]byte{opTruncate}, encodeSeq(r.BeforeSeq)...))
	}
	if r.RequestId != nil {
		if err := a.checkIssued(r.RequestId); err != nil {
			return 0, err
		}
	}
	q, _, err := a.recordedRequest(r.RequestId, opTruncate, digest)
	if err != nil {
		return 0, err
	}
	if q != nil {
		return q.first, nil
	}
	floor := max(a.h.floor, min(r.BeforeSeq, a.h.last+1))
	row := queueRow{op: opTruncate, first: floor, last: a.h.last}
	if r.RequestId != nil {
		row.digest = digest()
	}
	if floor == a.h.floor && r.RequestId == nil {
		return floor, nil
	}
	a.h.floor = floor
	if err := a.remember(&row, r.RequestId); err != nil {
		return 0, err
	}
	return floor, a.writeHead(a.keys, &a.h)
}

// sweep deletes up to maxTruncateSweep records below a floor, newest first.
func (e *eval) sweep(s streamKeys, below uint64) ([]byte, error) {
	own := e.ownSeqs(s)
	here := seqSpan{own.lo, min(below, own.hi)}
	if here.empty() {
		return sweepResume(below), nil
	}
	lower, upper := keys.DataSpan(s.record(here.lo), s.record(here.hi))
	it, err := e.Reader.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	type doomed struct {
		key  []byte
		size int
	}
	var list []doomed
	ok := it.SeekLT(upper)
	for ; ok && len(list) < maxTruncateSweep; ok = it.Prev() {
		k, v := it.Item()
		list = append(list, doomed{bytes.Clone(k), len(v)})
	}
	if err := it.Close(); err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	next := here.lo
	if n := len(list); ok && n > 0 {
		next, lower, err = lowest(s, list[n-1].key)
		if err != nil {
			return nil, err
		}
	}
	if len(list) < rangeDeleteFrom {
		for _, d := range list {
			e.drop(d.key, d.size)
		}
		return sweepResume(next), nil
	}
	for _, d := range list {
		e.delta -= int64(len(d.key) + d.size)
	}
	e.batch.DeleteRange(lower, upper)
	return sweepResume(next), nil
}

// lowest is the sequence number of a record's engine key, and the start of the span that holds it.
func lowest(s streamKeys, engineKey []byte) (seq uint64, lower []byte, err error) {
	key, _, err := keys.ParseData(engineKey)
	if err != nil || len(key) != len(s.prefix)+1+seqBytes {
		return 0, nil, rpcerr.Integrity("a record's key is malformed")
	}
	return binary.BigEndian.Uint64(key[len(key)-seqBytes:]), keys.Data(key), nil
}

// sweepResume says where a sweep goes on: sequence numbers begin at 1.
func sweepResume(next uint64) []byte {
	if next <= 1 {
		return nil
	}
	return encodeSeq(next)
}
