package client

import (
	"context"
	"iter"
	"slices"

	"google.golang.org/grpc"

	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// Record of a stream. For Append, Seq and Version are left out.
type Record struct {
	Seq      uint64 // dense, from 1
	ClientID string // at most 256 bytes; may be empty
	Body     []byte
	Version  uint64 // the commit timestamp
}

// AppendOptions of an Append.
type AppendOptions struct {
	ExpectLastSeq *uint64    // nil: no condition
	ExpectEpoch   []byte     // empty: no condition
	RequestID     *RequestID // nil: a new one
}

// Appended is the outcome of an Append.
type Appended struct {
	FirstSeq  uint64
	LastSeq   uint64
	Epoch     []byte // the stream's incarnation, 16 bytes
	Version   uint64
	Duplicate bool // the records were there already
}

// ReadOptions of a Read. The zero value reads the first 100 records.
type ReadOptions struct {
	After    uint64 // records with a greater number
	Before   uint64 // records with a smaller number; 0: no bound
	Reverse  bool   // newest first
	Limit    int    // records a page; 0: 100; at most 10,000
	MaxBytes int    // bytes a page; 0 and at most 4 MiB
}

// Head is the state of a stream.
type Head struct {
	Exists      bool
	LastSeq     uint64
	FloorSeq    uint64 // the first number that can be read; 1 when nothing was truncated
	Epoch       []byte
	LastVersion uint64
}

// ReadPage is one page of records.
type ReadPage struct {
	Records []Record
	Head    Head
	More    bool // the page ended by its limit or its bytes
}

// Append adds records to the end of a stream, all or none, and makes the stream when it is not there.
func (c *Client) Append(ctx context.Context, stream string, records []Record, o AppendOptions) (Appended, error) {
	req := &vipkvpb.AppendRequest{
		Stream: []byte(stream), ExpectLastSeq: o.ExpectLastSeq, ExpectEpoch: o.ExpectEpoch,
		RequestId: c.requestID(o.RequestID), Records: make([]*vipkvpb.Record, len(records)),
	}
	for i, r := range records {
		req.Records[i] = &vipkvpb.Record{ClientId: r.ClientID, Body: r.Body}
	}
	var res *vipkvpb.AppendResponse
	err := c.do(ctx, call{name: "append", key: routeOfStream(stream), writes: true, sent: req,
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewStreamsClient(conn).Append(ctx, req, opts...)
			return err
		}})
	if err != nil {
		return Appended{}, err
	}
	return Appended{
		FirstSeq: res.FirstSeq, LastSeq: res.LastSeq, Epoch: res.Epoch, Version: res.Version,
		Duplicate: res.Duplicate,
	}, nil
}

// Read returns one page of a stream.
func (c *Client) Read(ctx context.Context, stream string, o ReadOptions) (ReadPage, error) {
	if o.Limit < 0 || o.MaxBytes < 0 {
		return ReadPage{}, rpcerr.Invalid("limit", "is negative")
	}
	req := &vipkvpb.ReadRequest{
		Stream: []byte(stream), AfterSeq: o.After, BeforeSeq: o.Before, Reverse: o.Reverse,
		Limit: uint32(o.Limit), MaxBytes: uint32(o.MaxBytes),
	}
	var res *vipkvpb.ReadResponse
	err := c.do(ctx, call{name: "read", key: routeOfStream(stream),
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewStreamsClient(conn).Read(ctx, req, opts...)
			return err
		}})
	if err != nil {
		return ReadPage{}, err
	}
	page := ReadPage{Head: head(res.Head), More: res.More, Records: make([]Record, len(res.Records))}
	for i, r := range res.Records {
		page.Records[i] = Record{Seq: r.Seq, ClientID: r.ClientId, Body: r.Body, Version: r.Version}
	}
	return page, nil
}

// Records reads the records between o.After and o.Before, a page of o.Limit at a time. It ends after the first error.
func (c *Client) Records(ctx context.Context, stream string, o ReadOptions) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		o := o
		for {
			page, err := c.Read(ctx, stream, o)
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, r := range page.Records {
				if !yield(r, nil) {
					return
				}
			}
			if !page.More || len(page.Records) == 0 {
				return
			}
			if o.Reverse {
				o.Before = page.Records[len(page.Records)-1].Seq
			} else {
				o.After = page.Records[len(page.Records)-1].Seq
			}
		}
	}
}

// Latest returns the newest n records of a stream, oldest first. A stream without records has none.
func (c *Client) Latest(ctx context.Context, stream string, n int) ([]Record, error) {
	if n <= 0 {
		return nil, nil
	}
	out := make([]Record, 0, min(n, 1000))
	for r, err := range c.Records(ctx, stream, ReadOptions{Reverse: true, Limit: min(n, 1000)}) {
		if err != nil {
			return nil, err
		}
		out = append(out, r)
		if len(out) == n {
			break
		}
	}
	slices.Reverse(out)
	return out, nil
}

// Truncate makes the records below beforeSeq unreadable and gives their space back. It returns the first number that
// can be read.
func (c *Client) Truncate(ctx context.Context, stream string, beforeSeq uint64) (uint64, error) {
	var res *vipkvpb.TruncateResponse
	req := &vipkvpb.TruncateRequest{
		Stream: []byte(stream), BeforeSeq: beforeSeq, RequestId: c.requestID(nil),
	}
	err := c.do(ctx, call{name: "truncate", key: routeOfStream(stream), writes: true, sent: req,
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewStreamsClient(conn).Truncate(ctx, req, opts...)
			return err
		}})
	if err != nil {
		return 0, err
	}
	return res.FloorSeq, nil
}

// Head returns the state of a stream, also of one that does not exist.
func (c *Client) Head(ctx context.Context, stream string) (Head, error) {
	var res *vipkvpb.HeadResponse
	req := &vipkvpb.HeadRequest{Stream: []byte(stream)}
	err := c.do(ctx, call{name: "head", key: routeOfStream(stream),
		invoke: func(ctx context.Context, conn connection, opts ...grpc.CallOption) (err error) {
			res, err = vipkvpb.NewStreamsClient(conn).Head(ctx, req, opts...)
			return err
		}})
	if err != nil {
		return Head{}, err
	}
	return head(res), nil
}

func head(pb *vipkvpb.HeadResponse) Head {
	return Head{
		Exists: pb.GetExists(), LastSeq: pb.GetLastSeq(), FloorSeq: pb.GetFloorSeq(), Epoch: pb.GetEpoch(),
		LastVersion: pb.GetLastVersion(),
	}
}
