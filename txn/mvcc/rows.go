package mvcc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/proto/storage"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

const (
	epochBytes  = 16
	secretBytes = 32

	// The rows of a tail block, after the byte 'z'.
	rowClient  = 'c' // by client id
	rowHead    = 'h'
	rowSecret  = 'k' // sealed; keys the digests of the window
	rowQueue   = 'q' // by timestamp: what to evict, and recorded answers
	rowRequest = 'r' // by time of issue and request id
)

// streamKeys makes the replicated keys of one stream.
type streamKeys struct{ prefix []byte }

func (s streamKeys) row(kind byte, id ...byte) []byte {
	k := make([]byte, 0, len(s.prefix)+2+len(id))
	k = append(k, s.prefix...)
	k = append(k, partTail, kind)
	return append(k, id...)
}

func (s streamKeys) record(seq uint64) []byte { return recordKey(s.prefix, seq) }

func (s streamKeys) client(id string) []byte { return s.row(rowClient, []byte(id)...) }

func (s streamKeys) queue(ts proto.Timestamp) []byte {
	return s.row(rowQueue, binary.BigEndian.AppendUint64(nil, uint64(ts))...)
}

func (s streamKeys) request(id requestID, issued int64) []byte {
	return s.row(rowRequest, append(binary.BigEndian.AppendUint64(nil, uint64(issued)), id[:]...)...)
}

// headRow is the state of a stream.
type headRow struct {
	last        uint64 // sequence number of the newest record
	floor       uint64 // sequence number of the first that can be read
	epoch       [epochBytes]byte
	window      int64           // bytes of all client, queue and request rows
	lastVersion proto.Timestamp // of the newest append

	version proto.Timestamp // of the row; 0: there is no stream
	size    int             // of the stored row
}

const headPayload = 8 + 8 + epochBytes + 8 + 8

func (h *headRow) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, h.last)
	b = binary.BigEndian.AppendUint64(b, h.floor)
	b = append(b, h.epoch[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.window))
	return binary.BigEndian.AppendUint64(b, uint64(h.lastVersion))
}

func (h *headRow) parse(b []byte) error {
	if len(b) != headPayload {
		return badRow("head", b)
	}
	h.last, h.floor = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	copy(h.epoch[:], b[16:])
	h.window = int64(binary.BigEndian.Uint64(b[16+epochBytes:]))
	h.lastVersion = proto.Timestamp(binary.BigEndian.Uint64(b[24+epochBytes:]))
	return nil
}

func (h *headRow) response() *vipkvpb.HeadResponse {
	if h.version == 0 {
		return &vipkvpb.HeadResponse{FloorSeq: 1}
	}
	return &vipkvpb.HeadResponse{
		Exists: true, LastSeq: h.last, FloorSeq: h.floor,
		Epoch: bytes.Clone(h.epoch[:]), LastVersion: uint64(h.lastVersion),
	}
}

func badRow(what string, b []byte) error {
	return rpcerr.Integrity(fmt.Sprintf("a stored %s row of %d bytes is malformed", what, len(b)))
}

// clientRow says where a client id's record is.
type clientRow struct {
	seq    uint64
	digest [digestBytes]byte
}

const clientPayload = 8 + digestBytes

func (c *clientRow) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, c.seq)
	return append(b, c.digest[:]...)
}

func (c *clientRow) parse(b []byte) error {
	if len(b) != clientPayload {
		return badRow("client", b)
	}
	c.seq = binary.BigEndian.Uint64(b)
	copy(c.digest[:], b[8:])
	return nil
}

// queueRow holds one command's answer and the keys of the rows that go with it when the window has passed.
type queueRow struct {
	op      byte // opAppend or opTruncate
	request bool
	id      requestID
	issued  int64
	first   uint64 // opTruncate: the floor
	last    uint64
	digest  [digestBytes]byte
	clients []string
}

const (
	opAppend   = 'a'
	opTruncate = 't'

	queueFixed = 2 + requestIDBytes + 8 + 8 + 8 + digestBytes
)

func (q *queueRow) append(b []byte) []byte {
	has := byte(0)
	if q.request {
		has = 1
	}
	b = append(b, q.op, has)
	b = append(b, q.id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(q.issued))
	b = binary.BigEndian.AppendUint64(b, q.first)
	b = binary.BigEndian.AppendUint64(b, q.last)
	b = append(b, q.digest[:]...)
	b = binary.AppendUvarint(b, uint64(len(q.clients)))
	for _, c := range q.clients {
		b = binary.AppendUvarint(b, uint64(len(c)))
		b = append(b, c...)
	}
	return b
}

func (q *queueRow) parse(b []byte) error {
	bad := badRow("queue", b)
	if len(b) < queueFixed || (b[0] != opAppend && b[0] != opTruncate) || b[1] > 1 {
		return bad
	}
	q.op, q.request = b[0], b[1] == 1
	q.id = requestID(b[2 : 2+requestIDBytes])
	b = b[2+requestIDBytes:]
	q.issued = int64(binary.BigEndian.Uint64(b))
	q.first, q.last = binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])
	copy(q.digest[:], b[24:])
	b = b[24+digestBytes:]
	n, w := binary.Uvarint(b)
	if w <= 0 || n > MaxAppendRecords {
		return bad
	}
	b = b[w:]
	q.clients = make([]string, 0, min(n, uint64(len(b))))
	for range n {
		size, w := binary.Uvarint(b)
		if w <= 0 || size > uint64(len(b)-w) {
			return bad
		}
		q.clients = append(q.clients, string(b[w:w+int(size)]))
		b = b[w+int(size):]
	}
	if len(b) != 0 {
		return bad
	}
	return nil
}

// rowValue is the stored form of a tail row.
func (e *eval) rowValue(payload []byte) []byte {
	h := header{kind: kindRow, start: e.Now}
	return append(h.append(make([]byte, 0, headerBytes+len(payload))), payload...)
}

// row reads the newest version of a tail row; ts is 0 when there is none. payload is valid until the iterator moves.
func (e *eval) row(key []byte) (payload []byte, ts proto.Timestamp, size int, err error) {
	f, err := e.lookup(key, 0)
	if err != nil || f.ts == 0 {
		return nil, 0, 0, err
	}
	if f.kind != kindRow {
		return nil, 0, 0, rpcerr.Integrity("a row of a tail block is of another kind")
	}
	return f.rest, f.ts, f.size, nil
}

// rowAt reads the version of a row at exactly ts, without moving the iterator.
func (e *eval) rowAt(key []byte, ts proto.Timestamp) (engineKey, payload []byte, size int, err error) {
	engineKey = keys.Version(key, ts)
	v, err := e.Reader.Get(engineKey)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil, 0, nil
	}
	if err != nil {
		return nil, nil, 0, fmt.Errorf("read a row: %w", err)
	}
	h, payload, err := parseVersion(v)
	if err == nil && h.kind != kindRow {
		err = rpcerr.Integrity("a row of a tail block is of another kind")
	}
	return engineKey, payload, len(v), err
}

// ownTail checks that the range holds all of the stream's tail block.
func (e *eval) ownTail(s streamKeys) error {
	if !e.holds(append(bytes.Clone(s.prefix), partTail)) {
		return errStale()
	}
	return nil
}

func (e *eval) readHead(s streamKeys) (headRow, error) {
	if err := e.ownTail(s); err != nil {
		return headRow{}, err
	}
	payload, ts, size, err := e.row(s.row(rowHead))
	if err != nil || ts == 0 {
		return headRow{}, err
	}
	h := headRow{version: ts, size: size}
	return h, h.parse(payload)
}

// writeHead replaces the head row.
func (e *eval) writeHead(s streamKeys, h *headRow) error {
	key := s.row(rowHead)
	if h.version >= e.Now {
		return fmt.Errorf("%w: %s, %s", ErrTimestampOrder, e.Now, h.version)
	}
	if h.version != 0 {
		e.drop(keys.Version(key, h.version), h.size)
	}
	e.set(keys.Version(key, e.Now), e.rowValue(h.append(nil)))
	return nil
}

func (e *eval) head(r *vipkvpb.HeadRequest) (*vipkvpb.HeadResponse, error) {
	h, err := e.readHead(streamKeys{StreamPrefix(e.Tenant, r.Stream)})
	if err != nil {
		return nil, err
	}
	return h.response(), nil
}
