package mvcc

import (
	"bytes"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/proto/storage"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// span is the part of a request's span that lies in the range.
type span struct{ lo, hi []byte }

func (e *eval) clip(lo, hi []byte) span {
	if bytes.Compare(lo, e.Start) < 0 {
		lo = e.Start
	}
	if len(e.End) > 0 && bytes.Compare(hi, e.End) > 0 {
		hi = e.End
	}
	return span{lo, hi}
}

// scanner walks the keys of a span in one direction and stops on each version that is visible.
type scanner struct {
	e       *eval
	it      storage.Iter
	at      proto.Timestamp
	reverse bool
	ok      bool
	visits  int
	key     []byte // replicated key that was looked at last
	reseek  bool   // reverse: the iterator has to go to the key before key
	buf     []byte // reverse: what the answer's version holds
}

// next finds the next visible version. done is true at the end of the span; with ts 0 and not done the scanner has
// looked at enough keys.
func (s *scanner) next() (f found, done bool, err error) {
	for ; s.ok; s.visits++ {
		if s.visits >= maxScanVisits {
			return found{}, false, nil
		}
		k, _ := s.it.Item()
		key, _, err := keys.ParseData(k)
		if err != nil {
			return found{}, false, rpcerr.Integrity(err.Error())
		}
		s.key = append(s.key[:0], key...)
		if s.reverse {
			f, err = s.visitReverse()
		} else {
			f, err = s.visitForward()
		}
		if err != nil {
			return found{}, false, err
		}
		if f.exists(s.at.Physical()) {
			s.visits++
			return f, false, nil
		}
		s.advance()
	}
	return found{}, true, nil
}

// advance leaves the key that was looked at.
func (s *scanner) advance() {
	if !s.ok {
		return
	}
	switch {
	case s.reverse && s.reseek:
		s.ok = s.it.SeekLT(keys.Data(s.key))
	case !s.reverse:
		s.skipKey()
	}
	s.reseek = false
}

// skipKey moves a forward scanner past all versions of its key, unless a seek has done so.
func (s *scanner) skipKey() {
	k, _ := s.it.Item()
	key, _, err := keys.ParseData(k)
	if err == nil && bytes.Equal(key, s.key) {
		s.ok = s.it.NextPrefix()
	}
}

// visitForward looks at the current key from its newest version on. The iterator stays on what it found.
func (s *scanner) visitForward() (found, error) {
	for steps := 0; s.ok; {
		k, v := s.it.Item()
		key, ts, err := keys.ParseData(k)
		if err != nil {
			return found{}, rpcerr.Integrity(err.Error())
		}
		if !bytes.Equal(key, s.key) {
			return found{}, nil
		}
		if keys.Split(k) == len(k) {
			if err := passIntent(key, v, s.at); err != nil {
				return found{}, err
			}
			s.ok = s.it.Next()
			continue
		}
		f, err := parseItem(k, v)
		if err != nil {
			return found{}, err
		}
		if ts <= s.at && f.kind != kindRollback {
			return f, nil
		}
		if steps++; ts > s.at && steps > stepsBeforeSeek {
			s.ok = s.it.SeekGE(keys.Version(s.key, s.at))
		} else {
			s.ok = s.it.Next()
		}
	}
	return found{}, nil
}

// visitReverse looks at the current key, on whose oldest version the iterator is. It walks back over a few versions,
// which leaves the iterator on the key before; with many it seeks, and advance goes to the key before.
func (s *scanner) visitReverse() (found, error) {
	var best found
	for steps := 0; s.ok; steps++ {
		k, v := s.it.Item()
		key, ts, err := keys.ParseData(k)
		if err != nil {
			return found{}, rpcerr.Integrity(err.Error())
		}
		if !bytes.Equal(key, s.key) {
			return best, nil
		}
		if steps == stepsBeforeSeek {
			return s.seekVisible()
		}
		if keys.Split(k) == len(k) {
			if err := passIntent(key, v, s.at); err != nil {
				return found{}, err
			}
		} else if ts <= s.at {
			f, err := parseItem(k, v)
			if err != nil {
				return found{}, err
			}
			if f.kind != kindRollback {
				s.buf = append(s.buf[:0], f.rest...)
				best, best.rest = f, s.buf
			}
		}
		s.ok = s.it.Prev()
	}
	return best, nil
}

// seekVisible finds the visible version of the key by seeks.
func (s *scanner) seekVisible() (found, error) {
	s.reseek = true
	prefix := keys.Data(s.key)
	for ok := s.it.SeekGE(prefix); ok; {
		k, v := s.it.Item()
		if n := keys.Split(k); !bytes.Equal(k[:n], prefix) {
			break
		}
		if len(k) == len(prefix) {
			if err := passIntent(s.key, v, s.at); err != nil {
				return found{}, err
			}
			ok = s.it.SeekGE(keys.Version(s.key, s.at))
			continue
		}
		f, err := parseItem(k, v)
		if err != nil {
			return found{}, err
		}
		switch {
		case f.ts > s.at:
			ok = s.it.SeekGE(keys.Version(s.key, s.at))
		case f.kind == kindRollback:
			ok = s.it.Next()
		default:
			return f, nil
		}
	}
	return found{}, nil
}

func (e *eval) scan(r *vipkvpb.ScanRequest) (*vipkvpb.ScanResponse, []byte, error) {
	resp := &vipkvpb.ScanResponse{At: uint64(e.Now)}
	lo, hi := PlainSpan(e.Tenant, r.Start, r.End)
	if bytes.Compare(lo, hi) >= 0 {
		return resp, nil, nil
	}
	part := e.clip(lo, hi)
	if (r.Reverse && !bytes.Equal(part.hi, hi)) || (!r.Reverse && !bytes.Equal(part.lo, lo)) ||
		bytes.Compare(part.lo, part.hi) >= 0 {
		return nil, nil, errStale()
	}
	lower, upper := keys.DataSpan(part.lo, part.hi)
	it, err := e.Reader.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	if err != nil {
		return nil, nil, err
	}
	s := &scanner{e: e, it: it, at: e.Now, reverse: r.Reverse}
	if r.Reverse {
		s.ok = it.SeekLT(upper)
	} else {
		s.ok = it.SeekGE(lower)
	}
	done, err := s.page(r, resp)
	if closeErr := it.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, nil, err
	}
	return resp, e.scanResume(s, r, part, done), nil
}

// page fills the answer; done tells that the range's part of the span has been read.
func (s *scanner) page(r *vipkvpb.ScanRequest, resp *vipkvpb.ScanResponse) (done bool, err error) {
	limit, bytesLeft := defaultScanItems, MaxPageBytes
	if r.Limit != 0 {
		limit = int(r.Limit)
	}
	if r.MaxBytes != 0 {
		bytesLeft = int(r.MaxBytes)
	}
	before := []byte(nil)
	for {
		f, done, err := s.next()
		if err != nil || done || f.ts == 0 {
			return done, err
		}
		user, err := plainUserKey(s.e.Tenant, s.key)
		if err != nil {
			return false, err
		}
		item, err := s.e.item(user, s.key, &f, r.KeysOnly)
		if err != nil {
			return false, err
		}
		if bytesLeft -= itemBytes(item); bytesLeft < 0 && len(resp.Items) > 0 {
			s.key = append(s.key[:0], before...)
			return false, nil
		}
		resp.Items = append(resp.Items, item)
		if len(resp.Items) == limit || bytesLeft <= 0 {
			return false, nil
		}
		before = append(before[:0], s.key...)
		s.advance()
	}
}

// scanResume is the tenant's key from which the scan goes on: forward the first that was not read, reverse an exclusive
// end; nil when nothing of the request's span is left.
func (e *eval) scanResume(s *scanner, r *vipkvpb.ScanRequest, part span, done bool) []byte {
	lo, hi := PlainSpan(e.Tenant, r.Start, r.End)
	next := part.hi
	if r.Reverse {
		next = part.lo
	}
	if !done {
		next = bytes.Clone(s.key)
		if !r.Reverse {
			next = append(next, 0)
		}
	}
	if (!r.Reverse && bytes.Compare(next, hi) >= 0) || (r.Reverse && bytes.Compare(next, lo) <= 0) {
		return nil
	}
	return bytes.Clone(next[tenantBytes+1:])
}
