package client

import (
	"context"
	"iter"
	"time"

	"google.golang.org/grpc"

	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// Item is a key with its value.
type Item struct {
	Key     []byte
	Value   []byte
	Version uint64    // the commit timestamp
	Expires time.Time // zero: never
}

// Written is the outcome of a write.
type Written struct {
	Version   uint64 // the commit timestamp
	Duplicate bool   // the request had been carried out before
}

// PutOptions of a Put.
type PutOptions struct {
	TTL       time.Duration // 0: for ever; in whole milliseconds
	IfAbsent  bool
	IfVersion uint64     // 0: no condition
	RequestID *RequestID // nil: a new one
}

// DeleteOptions of a Delete.
type DeleteOptions struct {
	IfVersion uint64     // 0: no condition
	RequestID *RequestID // nil: a new one
}

// Condition of a Transaction: the key's newest version is Version; 0: the key does not exist.
type Condition struct {
	Key     []byte
	Version uint64
}

// Mutation of a Transaction: a put, or a delete.
type Mutation struct {
	Key    []byte
	Value  []byte
	TTL    time.Duration // 0: for ever; in whole milliseconds
	Delete bool
}

// Transaction is what Commit does at one moment: it checks all conditions and, if they hold, makes all mutations.
type Transaction struct {
	Conditions []Condition
	Mutations  []Mutation // no key twice; at most 100,000 and 4 MiB together
	RequestID  *RequestID // nil: a new one
}

// Get returns the newest value of key, or ErrNotFound.
func (c *Client) Get(ctx context.Context, key []byte) (Item, error) {
	return c.GetAt(ctx, key, 0)
}

// GetAt returns the value that key had at a timestamp; 0: now.
func (c *Client) GetAt(ctx context.Context, key []byte, at uint64) (Item, error) {
	var res *vipkvpb.GetResponse
	req := &vipkvpb.GetRequest{Key: key, At: at}
	err := c.do(ctx, call{name: "get", key: routeOfKey(key),
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewKVClient(conn).Get(ctx, req, opts...)
			return err
		}})
	if err != nil {
		return Item{}, err
	}
	if !res.Found {
		return Item{}, ErrNotFound
	}
	return Item{Key: key, Value: res.Value, Version: res.Version, Expires: fromMillis(res.ExpiresMs)}, nil
}

// BatchGet returns those of at most 1,000 keys that exist, in their order, all read at one moment: at, or now when it
// is 0. The moment is returned.
func (c *Client) BatchGet(ctx context.Context, keys [][]byte, at uint64) ([]Item, uint64, error) {
	if len(keys) == 0 {
		return nil, at, nil
	}
	var res *vipkvpb.BatchGetResponse
	req := &vipkvpb.BatchGetRequest{Keys: keys, At: at}
	err := c.do(ctx, call{name: "batch get", key: routeOfKey(keys[0]),
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewKVClient(conn).BatchGet(ctx, req, opts...)
			return err
		}})
	if err != nil {
		return nil, 0, err
	}
	return items(res.Items), res.At, nil
}

// Put sets key to value.
func (c *Client) Put(ctx context.Context, key, value []byte, o PutOptions) (Written, error) {
	ttl, err := millis(o.TTL)
	if err != nil {
		return Written{}, err
	}
	var res *vipkvpb.PutResponse
	req := &vipkvpb.PutRequest{
		Key: key, Value: value, TtlMs: ttl, IfAbsent: o.IfAbsent, IfVersion: o.IfVersion,
		RequestId: c.requestID(o.RequestID),
	}
	err = c.do(ctx, call{name: "put", key: routeOfKey(key), writes: true, sent: req,
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewKVClient(conn).Put(ctx, req, opts...)
			return err
		}})
	if err != nil {
		return Written{}, err
	}
	return Written{Version: res.Version, Duplicate: res.Duplicate}, nil
}

// Delete removes key; one that does not exist is removed as well, unless a version is asked for.
func (c *Client) Delete(ctx context.Context, key []byte, o DeleteOptions) (Written, error) {
	var res *vipkvpb.DeleteResponse
	id := c.requestID(o.RequestID)
	req := &vipkvpb.DeleteRequest{Key: key, IfVersion: o.IfVersion, RequestId: id}
	err := c.do(ctx, call{name: "delete", key: routeOfKey(key), writes: true, sent: req,
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewKVClient(conn).Delete(ctx, req, opts...)
			return err
		}})
	if err != nil {
		return Written{}, err
	}
	return Written{Version: res.Version, Duplicate: res.Duplicate}, nil
}

// Commit carries t out. Its keys must lie in one range, else it fails with *rpcerr.MultiRangeError.
func (c *Client) Commit(ctx context.Context, t Transaction) (Written, error) {
	req := &vipkvpb.CommitRequest{RequestId: c.requestID(t.RequestID)}
	for _, x := range t.Conditions {
		req.Conditions = append(req.Conditions, &vipkvpb.Condition{Key: x.Key, Version: x.Version})
	}
	for _, m := range t.Mutations {
		ttl, err := millis(m.TTL)
		if err != nil {
			return Written{}, err
		}
		req.Mutations = append(req.Mutations,
			&vipkvpb.Mutation{Key: m.Key, Value: m.Value, TtlMs: ttl, Delete: m.Delete})
	}
	var route []byte
	switch {
	case len(t.Mutations) > 0:
		route = routeOfKey(t.Mutations[0].Key)
	case len(t.Conditions) > 0:
		route = routeOfKey(t.Conditions[0].Key)
	}
	var res *vipkvpb.CommitResponse
	err := c.do(ctx, call{name: "commit", key: route, writes: true, sent: req,
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewKVClient(conn).Commit(ctx, req, opts...)
			return err
		}})
	if err != nil {
		return Written{}, err
	}
	return Written{Version: res.Version, Duplicate: res.Duplicate}, nil
}

// ScanOptions of a Scan. The zero value reads all keys forward.
type ScanOptions struct {
	Start       []byte // inclusive; empty: from the first key
	End         []byte // exclusive; empty: to the last key
	Reverse     bool
	Limit       int    // items in all; 0: no limit
	PageItems   int    // items a page; 0: 1,000; at most 10,000
	PageBytes   int    // bytes a page; 0 and at most 4 MiB
	At          uint64 // 0: now, for all pages the same moment
	KeysOnly    bool
	ResumeToken []byte // of the page before; it carries the moment of the read
}

// ScanPage is one page of a Scan.
type ScanPage struct {
	Items       []Item
	ResumeToken []byte // empty: no more
	At          uint64 // the moment of the read
}

// Scan reads the keys of a span in order, a page at a time, all at one moment. It ends after the first error.
func (c *Client) Scan(ctx context.Context, o ScanOptions) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		left := o.Limit
		o := o
		for {
			if o.Limit > 0 {
				o.Limit = left
			}
			page, err := c.ScanPage(ctx, o)
			if err != nil {
				yield(Item{}, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			left -= len(page.Items)
			if len(page.ResumeToken) == 0 || (o.Limit > 0 && left <= 0) {
				return
			}
			o.ResumeToken = page.ResumeToken
		}
	}
}

// ScanPage reads one page of at most PageItems and at most Limit items. For the next one set ResumeToken.
func (c *Client) ScanPage(ctx context.Context, o ScanOptions) (ScanPage, error) {
	if o.Limit < 0 || o.PageItems < 0 || o.PageBytes < 0 {
		return ScanPage{}, rpcerr.Invalid("limit", "is negative")
	}
	limit := o.PageItems
	if limit == 0 {
		limit = 1000
	}
	if o.Limit > 0 {
		limit = min(limit, o.Limit)
	}
	req := &vipkvpb.ScanRequest{
		Start: o.Start, End: o.End, Reverse: o.Reverse, Limit: uint32(limit), MaxBytes: uint32(o.PageBytes),
		ResumeToken: o.ResumeToken, At: o.At, KeysOnly: o.KeysOnly,
	}
	op := call{name: "scan", key: routeOfKey(o.Start)}
	if o.Reverse || len(o.ResumeToken) > 0 {
		op.key = nil // where it goes on is the server's to know
	}
	var res *vipkvpb.ScanResponse
	op.invoke = func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
		res, err = vipkvpb.NewKVClient(conn).Scan(ctx, req, opts...)
		return err
	}
	if err := c.do(ctx, op); err != nil {
		return ScanPage{}, err
	}
	return ScanPage{Items: items(res.Items), ResumeToken: res.ResumeToken, At: res.At}, nil
}

// PrefixEnd is the end of the span of all keys with a prefix; empty when there is none.
func PrefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xFF {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}

func items(pb []*vipkvpb.Item) []Item {
	out := make([]Item, len(pb))
	for i, x := range pb {
		out[i] = Item{Key: x.Key, Value: x.Value, Version: x.Version, Expires: fromMillis(x.ExpiresMs)}
	}
	return out
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func millis(ttl time.Duration) (int64, error) {
	if ttl < 0 || ttl%time.Millisecond != 0 {
		return 0, rpcerr.Invalid("ttl", "is not a positive number of whole milliseconds")
	}
	return ttl.Milliseconds(), nil
}
