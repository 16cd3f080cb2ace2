package mvcc_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// streamModel is the dumb version of one stream.
type streamModel struct {
	records []*vipkvpb.Record // all that were ever appended
	floor   uint64
	epoch   []byte
	appends []pastAppend
	cuts    []pastTruncate
}

type pastAppend struct {
	req    *vipkvpb.AppendRequest
	resp   *vipkvpb.AppendResponse
	millis int64
}

type pastTruncate struct {
	req   *vipkvpb.TruncateRequest
	floor uint64
}

var streamNames = []string{"s", "s\x00", "s\x00\x01", "t"}

type streamRun struct {
	c    *cluster
	m    map[string]*streamModel
	next uint64
}

func (s *streamRun) pick(t *rapid.T) (string, *streamModel) {
	name := streamNames[max(0, rapid.IntRange(-4, len(streamNames)-1).Draw(t, "stream"))] // mostly the first
	if s.m[name] == nil {
		s.m[name] = &streamModel{floor: 1}
	}
	return name, s.m[name]
}

func (s *streamRun) append(t *rapid.T) {
	name, m := s.pick(t)
	req := &vipkvpb.AppendRequest{Stream: []byte(name)}
	for range rapid.IntRange(1, 4).Draw(t, "records") {
		s.next++
		rec := &vipkvpb.Record{Body: []byte(fmt.Sprint("body ", s.next))}
		if rapid.Bool().Draw(t, "client") {
			rec.ClientId = fmt.Sprint("client ", s.next)
		}
		req.Records = append(req.Records, rec)
	}
	if rapid.Bool().Draw(t, "id") {
		req.RequestId = requestID(s.next, s.c.now.Physical()+int64(rapid.IntRange(-50, 50).Draw(t, "skew")))
	}
	last := uint64(len(m.records))
	if rapid.IntRange(0, 4).Draw(t, "expect") == 0 {
		wrong := last + 1
		req.ExpectLastSeq = &wrong
		_, err := s.c.append(req)
		if !isA[*rpcerr.StreamConflictError](err) {
			t.Fatalf("a wrong last sequence number: %v", err)
		}
		req.ExpectLastSeq, req.ExpectEpoch = &last, m.epoch
	}
	resp, err := s.c.append(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Duplicate || resp.FirstSeq != last+1 || resp.LastSeq != last+uint64(len(req.Records)) ||
		(m.epoch != nil && !bytes.Equal(m.epoch, resp.Epoch)) {
		t.Fatalf("append after %d: %v", last, resp)
	}
	m.epoch = resp.Epoch
	m.appends = append(m.appends, pastAppend{req, resp, s.c.now.Physical()})
	for i, rec := range req.Records {
		m.records = append(m.records, &vipkvpb.Record{
			Seq: last + 1 + uint64(i), ClientId: rec.ClientId, Body: rec.Body, Version: resp.Version,
		})
	}
}

// retry sends an append again, as it was or under another request id.
func (s *streamRun) retry(t *rapid.T) {
	_, m := s.pick(t)
	if len(m.appends) == 0 {
		t.Skip("nothing to send again")
	}
	old := rapid.SampledFrom(m.appends).Draw(t, "append")
	now := s.c.now.Physical() + 1
	req := &vipkvpb.AppendRequest{Stream: old.req.Stream, Records: old.req.Records}
	known := old.req.RequestId != nil
	if known && rapid.Bool().Draw(t, "same id") {
		req.RequestId, req.ExpectEpoch, req.ExpectLastSeq = old.req.RequestId, old.req.ExpectEpoch, old.req.ExpectLastSeq
		if req.RequestId.IssuedMs < now-mvcc.RequestWindowMillis {
			if _, err := s.c.append(req); !isA[*rpcerr.RequestExpiredError](err) {
				t.Fatalf("an expired id: %v", err)
			}
			return
		}
	} else {
		clients := 0
		for _, rec := range old.req.Records {
			if rec.ClientId != "" {
				clients++
			}
		}
		if clients == 0 || old.millis < now-mvcc.RequestWindowMillis {
			t.Skip("not a duplicate")
		}
		if clients < len(req.Records) || rapid.Bool().Draw(t, "mangled") {
			s.next++
			req.Records = append(slices.Clone(req.Records), &vipkvpb.Record{ClientId: fmt.Sprint("client ", s.next)})
			if _, err := s.c.append(req); !isA[*rpcerr.StreamConflictError](err) {
				t.Fatalf("some of the client ids are there: %v", err)
			}
			return
		}
		req.RequestId = requestID(1<<40+s.next, now)
	}
	resp, err := s.c.append(req)
	if err != nil || !resp.Duplicate || resp.FirstSeq != old.resp.FirstSeq || resp.LastSeq != old.resp.LastSeq ||
		resp.Version != old.resp.Version || !bytes.Equal(resp.Epoch, old.resp.Epoch) {
		t.Fatalf("sent again: %v, %v; recorded %v", resp, err, old.resp)
	}
}

func (s *streamRun) truncate(t *rapid.T) {
	name, m := s.pick(t)
	req := &vipkvpb.TruncateRequest{Stream: []byte(name)}
	if len(m.cuts) > 0 && rapid.IntRange(0, 2).Draw(t, "again") == 0 {
		old := rapid.SampledFrom(m.cuts).Draw(t, "cut")
		if old.req.RequestId.IssuedMs < s.c.now.Physical()-mvcc.RequestWindowMillis+1 {
			t.Skip("expired")
		}
		resp, err := s.c.truncate(old.req)
		if err != nil || resp.FloorSeq != old.floor {
			t.Fatalf("sent again: %v, %v, recorded %d", resp, err, old.floor)
		}
		return
	}
	req.BeforeSeq = uint64(rapid.IntRange(1, len(m.records)+2).Draw(t, "before"))
	if rapid.Bool().Draw(t, "id") {
		s.next++
		req.RequestId = requestID(s.next, s.c.now.Physical())
	}
	m.floor = max(m.floor, min(req.BeforeSeq, uint64(len(m.records))+1))
	p, err := mvcc.NewTruncatePlan(testTenant, req)
	if err != nil {
		t.Fatal(err)
	}
	cmd, _ := p.Next()
	resp, err := s.c.step(cmd)
	if err != nil || p.Answer(resp) != nil || p.Response().FloorSeq != m.floor {
		t.Fatalf("truncate before %d: %v, %v, want %d", req.BeforeSeq, resp, err, m.floor)
	}
	if req.RequestId != nil && len(m.records) > 0 {
		m.cuts = append(m.cuts, pastTruncate{req, m.floor})
	}
	if rapid.IntRange(0, 2).Draw(t, "crash") == 0 {
		return // the records stay below the floor: nobody may see them
	}
	if err := s.c.run(p, nil); err != nil {
		t.Fatal(err)
	}
	lower := mvcc.StreamRecordKey(testTenant, req.Stream, 0)
	if n := s.c.store.Bytes(lower, mvcc.StreamRecordKey(testTenant, req.Stream, min(req.BeforeSeq, m.floor))); n != 0 {
		t.Fatalf("%d bytes are left below %d", n, req.BeforeSeq)
	}
}

func (s *streamRun) head(t *rapid.T) {
	name, m := s.pick(t)
	h, err := s.c.head(name)
	if err != nil {
		t.Fatal(err)
	}
	m.checkHead(t, h)
}

func (m *streamModel) checkHead(t *rapid.T, h *vipkvpb.HeadResponse) {
	n := len(m.records)
	if h.Exists != (n > 0) || h.LastSeq != uint64(n) || h.FloorSeq != m.floor || !bytes.Equal(h.Epoch, m.epoch) {
		t.Fatalf("head %v, want last %d, floor %d", h, n, m.floor)
	}
	if n > 0 && h.LastVersion != m.records[n-1].Version {
		t.Fatalf("head %v, want version %d", h, m.records[n-1].Version)
	}
}

// page is what one Read must answer when nothing happens meanwhile.
func (m *streamModel) page(r *vipkvpb.ReadRequest) (seqs []uint64, more bool) {
	limit, bytesLeft := 100, mvcc.MaxPageBytes
	if r.Limit != 0 {
		limit = int(r.Limit)
	}
	if r.MaxBytes != 0 {
		bytesLeft = int(r.MaxBytes)
	}
	list := slices.Clone(m.records)
	if r.Reverse {
		slices.Reverse(list)
	}
	for _, rec := range list {
		if rec.Seq < m.floor || rec.Seq <= r.AfterSeq || (r.BeforeSeq != 0 && rec.Seq >= r.BeforeSeq) {
			continue
		}
		bytesLeft -= len(rec.ClientId) + len(rec.Body) + 16
		if len(seqs) == limit || (bytesLeft < 0 && len(seqs) > 0) {
			return seqs, true
		}
		seqs = append(seqs, rec.Seq)
	}
	return seqs, false
}

func (s *streamRun) drawRead(t *rapid.T, name string, m *streamModel) *vipkvpb.ReadRequest {
	n := len(m.records)
	return &vipkvpb.ReadRequest{
		Stream: []byte(name), Reverse: rapid.Bool().Draw(t, "reverse"),
		AfterSeq:  uint64(rapid.SampledFrom([]int{0, 0, 1, n / 2, n, n + 3}).Draw(t, "after")),
		BeforeSeq: uint64(rapid.SampledFrom([]int{0, 0, 1, n / 2, n, n + 3}).Draw(t, "before")),
		Limit:     uint32(rapid.SampledFrom([]int{0, 1, 2, 5}).Draw(t, "limit")),
		MaxBytes:  uint32(rapid.SampledFrom([]int{0, 1, 40, 100}).Draw(t, "max")),
	}
}

func (m *streamModel) checkRecords(t *rapid.T, records []*vipkvpb.Record) (seqs []uint64) {
	for _, rec := range records {
		if rec.Seq == 0 || rec.Seq > uint64(len(m.records)) {
			t.Fatalf("record %d was never appended", rec.Seq)
		}
		want := m.records[rec.Seq-1]
		if rec.ClientId != want.ClientId || !bytes.Equal(rec.Body, want.Body) || rec.Version != want.Version {
			t.Fatalf("record %v, want %v", rec, want)
		}
		seqs = append(seqs, rec.Seq)
	}
	return seqs
}

func (s *streamRun) read(t *rapid.T) {
	name, m := s.pick(t)
	req := s.drawRead(t, name, m)
	resp, err := s.c.read(req, nil)
	if !req.Reverse && req.AfterSeq > 0 && req.AfterSeq+1 < m.floor {
		if !isA[*rpcerr.BelowFloorError](err) {
			t.Fatalf("read %v below the floor %d: %v, %v", req, m.floor, resp, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("read %v: %v", req, err)
	}
	m.checkHead(t, resp.Head)
	want, more := m.page(req)
	if got := m.checkRecords(t, resp.Records); !slices.Equal(got, want) || resp.More != more {
		t.Fatalf("read %v: %v %v, want %v %v", req, got, resp.More, want, more)
	}
}

// readDuring reads while records come and go between the commands of the plan: the page must be dense, and begin where
// it has to.
func (s *streamRun) readDuring(t *rapid.T) {
	name, m := s.pick(t)
	req := s.drawRead(t, name, m)
	before := m.floor
	resp, err := s.c.read(req, func() {
		switch rapid.IntRange(0, 3).Draw(t, "meanwhile") {
		case 0:
			cut := min(m.floor+2, uint64(len(m.records))+1)
			if _, err := s.c.truncate(&vipkvpb.TruncateRequest{Stream: []byte(name), BeforeSeq: cut}); err != nil {
				t.Fatal(err)
			}
			m.floor = max(m.floor, cut)
		case 1:
			s.append(t)
		case 2:
			s.split(t)
		}
	})
	if isA[*rpcerr.BelowFloorError](err) && req.AfterSeq+1 < m.floor {
		return
	}
	if err != nil {
		t.Fatalf("read %v: %v", req, err)
	}
	seqs := m.checkRecords(t, resp.Records)
	for i, seq := range seqs {
		if i > 0 && ((req.Reverse && seq != seqs[i-1]-1) || (!req.Reverse && seq != seqs[i-1]+1)) {
			t.Fatalf("read %v: a hole in %v", req, seqs)
		}
		if seq < before {
			t.Fatalf("read %v: %v, below the floor %d", req, seqs, before)
		}
	}
	if !resp.More && len(seqs) > 0 && !req.Reverse && req.BeforeSeq == 0 && seqs[len(seqs)-1] != resp.Head.LastSeq {
		t.Fatalf("read %v: %v ends before %d, and there is no more", req, seqs, resp.Head.LastSeq)
	}
}

func (s *streamRun) split(t *rapid.T) {
	name, m := s.pick(t)
	key := rapid.SampledFrom([]func() []byte{
		func() []byte {
			n := rapid.IntRange(0, len(m.records)+2).Draw(t, "seq")
			return mvcc.StreamRecordKey(testTenant, []byte(name), uint64(n))
		},
		func() []byte { return mvcc.StreamTailKey(testTenant, []byte(name)) },
		func() []byte { return append(mvcc.StreamTailKey(testTenant, []byte(name)), "c/id"...) },
		func() []byte { return mvcc.StreamPrefix(testTenant, []byte(name)) },
	}).Draw(t, "where")()
	s.c.split(key)
}

func TestStreamsAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &streamRun{c: newCluster(), m: map[string]*streamModel{}}
		for range rapid.IntRange(0, 8).Draw(t, "before") {
			s.append(t)
			s.split(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": s.append, "append2": s.append, "retry": s.retry, "truncate": s.truncate, "head": s.head,
			"read": s.read, "read2": s.read, "readDuring": s.readDuring, "split": s.split,
			"wait": func(t *rapid.T) {
				s.c.tick(int64(rapid.SampledFrom([]int{1, 60_000, 300_000, 700_000}).Draw(t, "millis")))
			},
			"": s.check,
		})
	})
}

func (s *streamRun) check(t *rapid.T) { s.c.checkWindows(t) }

// checkWindows recounts each stream's window rows.
func (c *cluster) checkWindows(t rapid.TB) {
	for _, name := range streamNames {
		tail := mvcc.StreamTailKey(testTenant, []byte(name))
		window, stored := int64(0), int64(-1)
		c.store.Each(func(key, value []byte) {
			k, _, err := keys.ParseData(key)
			if err != nil || !bytes.HasPrefix(k, tail) {
				return
			}
			switch k[len(tail)] {
			case 'h':
				stored = mvcc.HeadWindow(value)
			case 'c', 'q', 'r':
				window += int64(len(key) + len(value))
			}
		})
		if stored >= 0 && stored != window {
			t.Fatalf("stream %q: its head says %d bytes of window, there are %d", name, stored, window)
		}
	}
}

func record(client, body string) *vipkvpb.Record {
	return &vipkvpb.Record{ClientId: client, Body: []byte(body)}
}

func TestTailFullAndEviction(t *testing.T) {
	c := newCluster()
	big := func(n int) *vipkvpb.AppendRequest {
		req := &vipkvpb.AppendRequest{Stream: []byte("s"), RequestId: requestID(uint64(n), c.now.Physical())}
		for i := range 4000 {
			req.Records = append(req.Records, record(fmt.Sprintf("%0250d", n*10_000+i), ""))
		}
		return req
	}
	if _, err := c.append(big(1)); err != nil {
		t.Fatal(err)
	}
	c.tick(1000)
	var full *rpcerr.TailFullError
	n := 2
	for ; ; n++ {
		if n == 10 {
			t.Fatal("the tail never fills up")
		}
		if _, err := c.append(big(n)); err != nil {
			if !isAs(err, &full) {
				t.Fatal(err)
			}
			break
		}
	}
	if full.Bytes > mvcc.TailBytesMax || full.RetryAfterMs < mvcc.RequestWindowMillis {
		t.Fatalf("%v", full)
	}
	small := &vipkvpb.AppendRequest{Stream: []byte("s"), Records: []*vipkvpb.Record{record("", "x")}}
	if _, err := c.append(small); err != nil {
		t.Fatalf("an append without ids needs no room: %v", err)
	}
	c.tick(full.RetryAfterMs)
	resp, err := c.append(big(n))
	if err != nil || resp.Duplicate {
		t.Fatalf("after the time it was told: %v, %v", resp, err)
	}
	h, err := c.head("s")
	if err != nil || h.LastSeq != uint64(n*4000)+1 {
		t.Fatalf("%v, %v", h, err)
	}
}

func TestAppendRefusals(t *testing.T) {
	c := newCluster()
	twice := &vipkvpb.AppendRequest{Stream: []byte("s"), Records: []*vipkvpb.Record{record("a", ""), record("a", "")}}
	if _, err := c.append(twice); !isA[*rpcerr.InvalidArgumentError](err) {
		t.Fatalf("a client id twice: %v", err)
	}
	epoch := &vipkvpb.AppendRequest{
		Stream: []byte("s"), Records: []*vipkvpb.Record{record("a", "")}, ExpectEpoch: make([]byte, 16),
	}
	if _, err := c.append(epoch); !isA[*rpcerr.StreamConflictError](err) {
		t.Fatalf("an epoch of a stream that is not there: %v", err)
	}
	id := requestID(1, c.now.Physical())
	if _, err := c.append(&vipkvpb.AppendRequest{
		Stream: []byte("s"), Records: []*vipkvpb.Record{record("a", "1"), record("b", "2")}, RequestId: id,
	}); err != nil {
		t.Fatal(err)
	}
	for name, records := range map[string][]*vipkvpb.Record{
		"another order": {record("b", "2"), record("a", "1")},
		"another body":  {record("a", "1"), record("b", "3")},
		"one more":      {record("a", "1"), record("b", "2"), record("c", "3")},
		"one anonymous": {record("a", "1"), record("", "2")},
	} {
		_, err := c.append(&vipkvpb.AppendRequest{Stream: []byte("s"), Records: records})
		var conflict *rpcerr.StreamConflictError
		if !isAs(err, &conflict) || conflict.LastSeq != 2 || len(conflict.Epoch) != 16 {
			t.Fatalf("%s: %v", name, err)
		}
		reused := &vipkvpb.AppendRequest{Stream: []byte("s"), Records: records, RequestId: id}
		if _, err := c.append(reused); !isA[*rpcerr.RequestReusedError](err) {
			t.Fatalf("%s under the same request id: %v", name, err)
		}
	}
	cut := &internalpb.ExecuteRequest{Request: &internalpb.ExecuteRequest_Truncate{
		Truncate: &vipkvpb.TruncateRequest{Stream: []byte("s"), BeforeSeq: 1, RequestId: id},
	}}
	if _, err := c.do(cut); !isA[*rpcerr.RequestReusedError](err) {
		t.Fatalf("a Truncate under an Append's request id: %v", err)
	}
}

// A client id is free again when the window has passed, though its row may still be there.
func TestClientIDAfterTheWindow(t *testing.T) {
	c := newCluster()
	req := &vipkvpb.AppendRequest{Stream: []byte("s"), Records: []*vipkvpb.Record{record("a", "1")}}
	if _, err := c.append(req); err != nil {
		t.Fatal(err)
	}
	c.tick(mvcc.RequestWindowMillis + 10)
	if resp, err := c.append(req); err != nil || resp.Duplicate || resp.FirstSeq != 2 {
		t.Fatalf("%v, %v", resp, err)
	}
	c.checkWindows(t)
	c.tick(mvcc.RequestAheadMillis + 10) // the first row's queue row is evicted now, the second's client row stays
	other := &vipkvpb.AppendRequest{Stream: []byte("s"), Records: []*vipkvpb.Record{record("b", "2")}}
	if _, err := c.append(other); err != nil {
		t.Fatal(err)
	}
	c.checkWindows(t)
	if resp, err := c.append(req); err != nil || !resp.Duplicate || resp.FirstSeq != 2 {
		t.Fatalf("%v, %v", resp, err)
	}
}

// A Truncate between the commands of a Read: what was read is a page; with nothing read the floor is the new one.
func TestReadOverTruncate(t *testing.T) {
	for _, test := range []struct {
		after   uint64
		limit   uint32
		reverse bool
		when    int // after so many commands
		want    string
	}{
		{0, 0, false, 1, "[7 8 9] more false"}, // the first command had the head only: the read begins anew
		{2, 0, false, 1, "below floor"},        // anew, and what was asked for is gone
		{0, 0, false, 2, "[1 2 3] more true"},  // the first range's records had been read
		{0, 2, false, 2, "[1 2] more true"},
		{0, 0, false, 9, "[1 2 3 4 5 6 7 8 9] more false"},
		{0, 0, true, 1, "[9 8 7] more true"},
		{0, 0, true, 2, "[9 8 7 6 5 4] more true"},
		{0, 0, true, 9, "[9 8 7 6 5 4 3 2 1] more false"},
	} {
		c := newCluster()
		for range 9 {
			req := &vipkvpb.AppendRequest{Stream: []byte("s"), Records: []*vipkvpb.Record{record("", "x")}}
			if _, err := c.append(req); err != nil {
				t.Fatal(err)
			}
		}
		for _, seq := range []uint64{4, 8} {
			c.split(mvcc.StreamRecordKey(testTenant, []byte("s"), seq))
		}
		commands := 0
		read := &vipkvpb.ReadRequest{Stream: []byte("s"), AfterSeq: test.after, Limit: test.limit, Reverse: test.reverse}
		resp, err := c.read(read, func() {
			if commands++; commands == test.when {
				if _, err := c.truncate(&vipkvpb.TruncateRequest{Stream: []byte("s"), BeforeSeq: 7}); err != nil {
					t.Fatal(err)
				}
			}
		})
		got := "below floor"
		if !isA[*rpcerr.BelowFloorError](err) {
			var seqs []uint64
			for _, rec := range resp.GetRecords() {
				seqs = append(seqs, rec.Seq)
			}
			got = fmt.Sprint(seqs, " more ", resp.GetMore())
		}
		if got != test.want {
			t.Errorf("%+v: %s (%v)", test, got, err)
		}
	}
}

func TestLongTruncateGoesInSteps(t *testing.T) {
	c := newCluster()
	req := &vipkvpb.AppendRequest{Stream: []byte("s")}
	for range mvcc.MaxAppendRecords {
		req.Records = append(req.Records, record("", "x"))
	}
	for range 3 {
		if _, err := c.append(req); err != nil {
			t.Fatal(err)
		}
	}
	c.split(mvcc.StreamRecordKey(testTenant, []byte("s"), 12_000))
	c.steps = 0
	resp, err := c.truncate(&vipkvpb.TruncateRequest{Stream: []byte("s"), BeforeSeq: 29_990})
	if err != nil || resp.FloorSeq != 29_990 {
		t.Fatalf("%v, %v", resp, err)
	}
	if c.steps < 4 || c.steps > 6 {
		t.Fatalf("%d commands", c.steps)
	}
	got, err := c.read(&vipkvpb.ReadRequest{Stream: []byte("s")}, nil)
	if err != nil || len(got.Records) != 11 || got.Records[0].Seq != 29_990 {
		t.Fatalf("%v, %v", got.GetHead(), err)
	}
}
