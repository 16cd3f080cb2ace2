package mvcc

import (
	"bytes"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// stepsBeforeSeek is how many versions of a key are walked over one by one before a seek takes over.
const stepsBeforeSeek = 4

// found is a stored version.
type found struct {
	header
	ts   proto.Timestamp // of the version; 0: there is none
	rest []byte          // what follows the header; valid until the iterator moves
	size int             // of the stored value
}

// exists tells whether the version is a value that has not expired at a moment.
func (f *found) exists(millis int64) bool {
	return f.ts != 0 && f.kind != kindTombstone && (f.expiry == 0 || f.expiry > millis)
}

// lookup finds the newest version of a key at or below at (0: of all) and leaves the iterator on it. A transaction's
// intent that the reader must not pass is a *LockedError.
func (e *eval) lookup(key []byte, at proto.Timestamp) (found, error) {
	it, err := e.iter()
	if err != nil {
		return found{}, err
	}
	prefix := keys.Data(key)
	steps := 0
	for ok := it.SeekGE(prefix); ok; {
		k, v := it.Item()
		n := keys.Split(k)
		if !bytes.Equal(k[:n], prefix) {
			break
		}
		if n == len(k) {
			if err := passIntent(key, v, at); err != nil {
				return found{}, err
			}
			ok = it.Next()
			continue
		}
		f, err := parseItem(k, v)
		if err != nil {
			return found{}, err
		}
		above := at != 0 && f.ts > at && !fault.On(fault.ReadPastMoment)
		if !above && f.kind != kindRollback {
			return f, nil
		}
		if steps++; above && steps > stepsBeforeSeek {
			ok = it.SeekGE(keys.AppendSuffix(bytes.Clone(prefix), at))
		} else {
			ok = it.Next()
		}
	}
	return found{}, nil
}

func parseItem(k, v []byte) (found, error) {
	_, ts, err := keys.ParseData(k)
	if err != nil {
		return found{}, rpcerr.Integrity(err.Error())
	}
	f := found{ts: ts, size: len(v)}
	if f.header, f.rest, err = parseVersion(v); err != nil {
		return found{}, err
	}
	return f, nil
}

func (e *eval) get(r *vipkvpb.GetRequest) (*vipkvpb.GetResponse, error) {
	key := PlainKey(e.Tenant, r.Key)
	if err := e.own(key); err != nil {
		return nil, err
	}
	at := proto.Timestamp(r.At)
	f, err := e.lookup(key, at)
	if err != nil {
		return nil, err
	}
	judge := at
	if at == 0 {
		judge = e.Now
	}
	if f.expiry != 0 && judge == 0 {
		return nil, ErrNeedTimestamp
	}
	if !f.exists(judge.Physical()) {
		return &vipkvpb.GetResponse{}, nil
	}
	_, value, err := e.open(&f.header, key, f.rest)
	if err != nil {
		return nil, err
	}
	return &vipkvpb.GetResponse{Found: true, Value: value, Version: uint64(f.ts), ExpiresMs: f.expiry}, nil
}

func (e *eval) batchGet(r *vipkvpb.BatchGetRequest) (*vipkvpb.BatchGetResponse, error) {
	resp := &vipkvpb.BatchGetResponse{At: uint64(e.Now)}
	size := 0
	for _, user := range r.Keys {
		key := PlainKey(e.Tenant, user)
		if err := e.own(key); err != nil {
			return nil, err
		}
		f, err := e.lookup(key, e.Now)
		if err != nil {
			return nil, err
		}
		if !f.exists(e.Now.Physical()) {
			continue
		}
		item, err := e.item(user, key, &f, false)
		if err != nil {
			return nil, err
		}
		if size += itemBytes(item); size > MaxPageBytes {
			return nil, rpcerr.TooLarge("answer of a BatchGet", size, MaxPageBytes)
		}
		resp.Items = append(resp.Items, item)
	}
	return resp, nil
}

// item makes an answer of a version that exists.
func (e *eval) item(user, key []byte, f *found, keyOnly bool) (*vipkvpb.Item, error) {
	item := &vipkvpb.Item{Key: bytes.Clone(user), Version: uint64(f.ts), ExpiresMs: f.expiry}
	if keyOnly {
		return item, nil
	}
	var err error
	_, item.Value, err = e.open(&f.header, key, f.rest)
	return item, err
}

func itemBytes(i *vipkvpb.Item) int { return len(i.Key) + len(i.Value) }
