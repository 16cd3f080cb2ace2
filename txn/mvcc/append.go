package mvcc

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// appender is one Append or Truncate that writes into a stream's tail block.
type appender struct {
	*eval
	keys   streamKeys
	h      headRow
	secret []byte
	added  []addedRow
	rows   int // evicted
}

// addedRow is a window row that is to be written.
type addedRow struct {
	key     []byte // replicated
	payload []byte
}

// load reads the head and the secret that keys the window's digests.
func (e *eval) load(name []byte) (*appender, error) {
	a := &appender{eval: e, keys: streamKeys{StreamPrefix(e.Tenant, name)}}
	var err error
	if a.h, err = e.readHead(a.keys); err != nil || a.h.version == 0 {
		return a, err
	}
	key := a.keys.row(rowSecret)
	f, err := e.lookup(key, 0)
	if err != nil {
		return nil, err
	}
	if f.ts == 0 || f.kind != kindPut {
		return nil, rpcerr.Integrity("a stream's secret is missing")
	}
	if _, a.secret, err = e.open(&f.header, key, f.rest); err != nil {
		return nil, err
	}
	return a, nil
}

// create makes the head and the secret of a stream that is not there yet.
func (a *appender) create() error {
	a.h.floor = 1
	a.Draw(a.h.epoch[:])
	a.secret = make([]byte, secretBytes)
	a.Draw(a.secret)
	key := a.keys.row(rowSecret)
	h := header{kind: kindPut, start: a.Now}
	value, err := a.seal(h.append(nil), &h, key, nil, a.secret)
	if err != nil {
		return err
	}
	a.set(keys.Version(key, a.Now), value)
	return nil
}

// mac is a digest that tells nothing without the secret.
func (a *appender) mac(d []byte) (out [digestBytes]byte) {
	m := hmac.New(sha256.New, a.secret)
	m.Write(d)
	copy(out[:], m.Sum(nil))
	return out
}

func (a *appender) recordDigest(rec *vipkvpb.Record) [digestBytes]byte {
	return a.mac(append([]byte{'b'}, rec.GetBody()...))
}

func (a *appender) appendDigest(r *vipkvpb.AppendRequest) [digestBytes]byte {
	d := newDigester(opAppend)
	d.number(uint64(len(r.Records)))
	for _, rec := range r.Records {
		d.bytes([]byte(rec.GetClientId()))
		d.bytes(rec.GetBody())
	}
	if r.ExpectLastSeq != nil {
		d.number(1)
		d.number(*r.ExpectLastSeq)
	} else {
		d.number(0)
	}
	d.bytes(r.ExpectEpoch)
	return a.mac(append([]byte{'r'}, d.h.Sum(nil)...))
}

// recordedRequest finds the answer that a request id has had; nil when there is none.
func (a *appender) recordedRequest(
	id *vipkvpb.RequestId, op byte, digest func() [digestBytes]byte,
) (*queueRow, proto.Timestamp, error) {
	if id == nil || a.h.version == 0 || fault.On(fault.ForgetRequests) {
		return nil, 0, nil
	}
	_, ts, _, err := a.row(a.keys.request(requestID(id.Id), id.IssuedMs))
	if err != nil || ts == 0 {
		return nil, 0, err
	}
	_, payload, size, err := a.rowAt(a.keys.queue(ts), ts)
	if err != nil {
		return nil, 0, err
	}
	if size == 0 {
		return nil, 0, rpcerr.Integrity("a stream's queue row is missing")
	}
	var q queueRow
	if err := q.parse(payload); err != nil {
		return nil, 0, err
	}
	if q.op != op || q.digest != digest() {
		return nil, 0, errReused()
	}
	return &q, ts, nil
}

func (a *appender) conflict(reason string) error {
	c := &vipkvpb.StreamConflict{LastSeq: a.h.last, Reason: reason}
	if a.h.version != 0 {
		c.Epoch = append(c.Epoch, a.h.epoch[:]...)
	}
	return &rpcerr.StreamConflictError{StreamConflict: c}
}

func (e *eval) append(r *vipkvpb.AppendRequest) (*vipkvpb.AppendResponse, error) {
	a, err := e.load(r.Stream)
	if err != nil {
		return nil, err
	}
	if r.RequestId != nil {
		if err := e.checkIssued(r.RequestId); err != nil {
			return nil, err
		}
	}
	q, ts, err := a.recordedRequest(r.RequestId, opAppend, func() [digestBytes]byte { return a.appendDigest(r) })
	if err != nil {
		return nil, err
	}
	if q != nil {
		fault.Reached("request-recorded")
		return a.answer(q.first, q.last, ts, true), nil
	}
	if dup, err := a.duplicateClients(r); err != nil || dup != nil {
		return dup, err
	}
	if err := a.expectations(r); err != nil {
		return nil, err
	}
	return a.write(r)
}

func (a *appender) answer(first, last uint64, ts proto.Timestamp, duplicate bool) *vipkvpb.AppendResponse {
	return &vipkvpb.AppendResponse{
		FirstSeq: first, LastSeq: last, Epoch: append([]byte(nil), a.h.epoch[:]...),
		Version: uint64(ts), Duplicate: duplicate,
	}
}

func (a *appender) expectations(r *vipkvpb.AppendRequest) error {
	if r.ExpectLastSeq != nil && *r.ExpectLastSeq != a.h.last {
		return a.conflict("the last sequence number is another")
	}
	if len(r.ExpectEpoch) != 0 && (a.h.version == 0 || string(r.ExpectEpoch) != string(a.h.epoch[:])) {
		return a.conflict("the stream's epoch is another")
	}
	return nil
}

// duplicateClients looks the records' client ids up in the window. All there, in one piece, in order and with the same
// bodies is a duplicate; none there is new; anything else is a conflict.
func (a *appender) duplicateClients(r *vipkvpb.AppendRequest) (*vipkvpb.AppendResponse, error) {
	if a.h.version == 0 || fault.On(fault.ForgetClients) {
		return nil, nil
	}
	known, same, first := 0, true, uint64(0)
	var newest proto.Timestamp
	for i, rec := range r.Records {
		row, ts, err := a.client(rec.GetClientId())
		if err != nil {
			return nil, err
		}
		if ts == 0 || !a.inWindow(ts) {
			continue
		}
		if known++; known == 1 {
			first = row.seq - uint64(i)
		}
		same = same && row.seq == first+uint64(i) && row.digest == a.recordDigest(rec)
		newest = max(newest, ts)
	}
	switch {
	case known == 0:
		return nil, nil
	case known == len(r.Records) && same:
		fault.Reached("client-in-window")
		return a.answer(first, first+uint64(known)-1, newest, true), nil
	}
	return nil, a.conflict("some client ids are there already, with other records or at other places")
}

// client reads a client id's row; ts is 0 when there is none.
func (a *appender) client(id string) (clientRow, proto.Timestamp, error) {
	if id == "" {
		return clientRow{}, 0, nil
	}
	payload, ts, _, err := a.row(a.keys.client(id))
	if err != nil || ts == 0 {
		return clientRow{}, 0, err
	}
	var row clientRow
	return row, ts, row.parse(payload)
}

// inWindow tells whether what was committed at ts is still remembered.
func (a *appender) inWindow(ts proto.Timestamp) bool {
	return ts.Physical() >= a.Now.Physical()-RequestWindowMillis
}

func (a *appender) write(r *vipkvpb.AppendRequest) (*vipkvpb.AppendResponse, error) {
	if a.h.version == 0 {
		if err := a.create(); err != nil {
			return nil, err
		}
	}
	first := a.h.last + 1
	if !a.holds(a.keys.record(first)) {
		return nil, fmt.Errorf("range split between record %d and the tail of its stream (I5)", first)
	}
	q := queueRow{op: opAppend, first: first, last: a.h.last + uint64(len(r.Records))}
	if r.RequestId != nil {
		q.digest = a.appendDigest(r)
	}
	for i, rec := range r.Records {
		if err := a.writeRecord(first+uint64(i), rec); err != nil {
			return nil, err
		}
		if id := rec.GetClientId(); id != "" {
			row := clientRow{seq: first + uint64(i), digest: a.recordDigest(rec)}
			a.add(a.keys.client(id), row.append(nil))
			q.clients = append(q.clients, id)
		}
	}
	if err := a.remember(&q, r.RequestId); err != nil {
		return nil, err
	}
	a.h.last, a.h.lastVersion = q.last, a.Now
	if err := a.writeHead(a.keys, &a.h); err != nil {
		return nil, err
	}
	return a.answer(q.first, q.last, a.Now, false), nil
}

func (a *appender) writeRecord(seq uint64, rec *vipkvpb.Record) error {
	key := a.keys.record(seq)
	h := header{kind: kindRecord, start: a.Now}
	id := rec.GetClientId()
	value := binary.AppendUvarint(h.append(nil), uint64(len(id)))
	value, err := a.seal(append(value, id...), &h, key, nil, rec.GetBody())
	if err != nil {
		return err
	}
	a.set(keys.Version(key, a.Now), value)
	return nil
}

func (a *appender) add(key, payload []byte) { a.added = append(a.added, addedRow{key, payload}) }

// remember writes the window rows of a command, after evicting what the window has left behind.
func (a *appender) remember(q *queueRow, id *vipkvpb.RequestId) error {
	if id != nil {
		q.request, q.id, q.issued = true, requestID(id.Id), id.IssuedMs
		a.add(a.keys.request(q.id, q.issued), nil)
	}
	if len(a.added) > 0 {
		a.add(a.keys.queue(a.Now), q.append(nil))
	}
	size := int64(0)
	for _, row := range a.added {
		size += int64(len(keys.Version(row.key, a.Now)) + headerBytes + len(row.payload))
	}
	if size > TailBytesMax {
		return rpcerr.TooLarge("window rows of the request", int(size), TailBytesMax)
	}
	oldest, err := a.evict(2*len(a.added)+evictRowsConstant, size)
	if err != nil {
		return err
	}
	if a.h.window+size > TailBytesMax {
		wait := oldest.Physical() + RequestWindowMillis + RequestAheadMillis + 1 - a.Now.Physical()
		return &rpcerr.TailFullError{TailFull: &vipkvpb.TailFull{
			Bytes: uint64(a.h.window), Limit: TailBytesMax, RetryAfterMs: max(1, wait),
		}}
	}
	for _, row := range a.added {
		if err := a.replaceRow(row); err != nil {
			return err
		}
	}
	return nil
}

// replaceRow writes a window row. Of a client id there may be a row from before the window.
func (a *appender) replaceRow(row addedRow) error {
	_, ts, size, err := a.row(row.key)
	if err != nil {
		return err
	}
	if ts >= a.Now {
		return fmt.Errorf("%w: %s, %s", ErrTimestampOrder, a.Now, ts)
	}
	if ts != 0 {
		a.h.window -= a.drop(keys.Version(row.key, ts), size)
	}
	a.h.window += a.set(keys.Version(row.key, a.Now), a.rowValue(row.payload))
	return nil
}

// evict deletes rows that nobody can ask for any more: about as many as budget, more while need bytes do not fit. It
// returns the timestamp of the oldest command that stays.
func (a *appender) evict(budget int, need int64) (oldest proto.Timestamp, err error) {
	if a.h.version == 0 {
		return 0, nil
	}
	it, err := a.iter()
	if err != nil {
		return 0, err
	}
	from := a.keys.row(rowQueue)
	lower, upper := keys.DataSpan(from, a.keys.row(rowQueue+1))
	for ok := it.SeekGE(lower); ok; ok = it.Next() {
		k, v := it.Item()
		if keys.Compare(k, upper) >= 0 {
			break
		}
		key, ts, err := keys.ParseData(k)
		if err != nil {
			return 0, rpcerr.Integrity(err.Error())
		}
		expired := ts.Physical() < a.Now.Physical()-RequestWindowMillis-RequestAheadMillis
		if !expired || (a.rows >= budget && a.h.window+need <= TailBytesMax) {
			return ts, nil
		}
		_, payload, err := parseVersion(v)
		if err != nil {
			return 0, err
		}
		var q queueRow
		if err := q.parse(payload); err != nil {
			return 0, err
		}
		a.rows++
		a.h.window -= a.drop(keys.Version(key, ts), len(v))
		if err := a.evictRows(&q, ts); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// evictRows deletes the rows that a command wrote at ts, where a later one has not replaced them.
func (a *appender) evictRows(q *queueRow, ts proto.Timestamp) error {
	rows := make([][]byte, 0, len(q.clients)+1)
	if q.request {
		rows = append(rows, a.keys.request(q.id, q.issued))
	}
	for _, id := range q.clients {
		rows = append(rows, a.keys.client(id))
	}
	for _, key := range rows {
		engineKey, _, size, err := a.rowAt(key, ts)
		if err != nil {
			return err
		}
		if engineKey != nil {
			a.rows++
			a.h.window -= a.drop(engineKey, size)
		}
	}
	return nil
}
