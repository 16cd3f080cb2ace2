package workload

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/proto/rpcerr"
)

// advanceAttempts is how often a cursor is read and written until nobody was in between.
const advanceAttempts = 4

// execMessenger is Exec for the kinds of a messenger.
func execMessenger(ctx context.Context, s Store, op *history.Op) error {
	switch op.Kind {
	case history.Advance:
		return execAdvance(ctx, s, op)
	case history.Pull:
		return execPull(ctx, s, op)
	case history.Inbox:
		return execInbox(ctx, s, op)
	case history.Touch:
		ttl := time.Duration(op.TTLMs) * time.Millisecond
		done, err := s.Put(ctx, []byte(op.Key), mark(op, op.Arg), client.PutOptions{TTL: ttl})
		op.Version = done.Version
		return err
	case history.Peek:
		return execRead(ctx, s, op)
	}
	return fmt.Errorf("unknown op %q", op.Kind)
}

func execAdvance(ctx context.Context, s Store, op *history.Op) error {
	want, err := strconv.ParseUint(op.Arg, 10, 64)
	if err != nil {
		return err
	}
	for range advanceAttempts {
		var item client.Item
		if item, err = get(ctx, s, op.Key); err != nil {
			return err
		}
		has, err := cursorValue(op, item.Value)
		if err != nil {
			return err
		}
		op.Expect, op.Base = strconv.FormatUint(has, 10), item.Version
		if has >= want {
			op.Result = op.Expect
			return nil
		}
		done, err := s.Put(ctx, []byte(op.Key), mark(op, op.Arg), unchanged(item))
		var refused *rpcerr.ConditionFailedError
		if errors.As(err, &refused) {
			continue
		}
		if err == nil {
			op.Result, op.Version = op.Arg, done.Version
		}
		return err
	}
	return fmt.Errorf("another client was in between %d times", advanceAttempts)
}

func cursorValue(op *history.Op, value []byte) (uint64, error) {
	if len(value) == 0 {
		return 0, nil
	}
	n, err := strconv.ParseUint(open(op, value), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("a cursor holds %q", open(op, value))
	}
	return n, nil
}

func execPull(ctx context.Context, s Store, op *history.Op) error {
	o := client.ReadOptions{Limit: op.Limit, Reverse: op.Backward}
	if !op.Backward {
		after, err := strconv.ParseUint(op.Arg, 10, 64)
		if err != nil {
			return err
		}
		o.After = after
	}
	page, err := s.Read(ctx, op.Key, o)
	if err != nil {
		return err
	}
	op.List = nil
	for i := range page.Records {
		r := &page.Records[i]
		op.List = append(op.List, history.Entry{Number: r.Seq, ID: recordID(op, r)}.String())
	}
	op.Result = strconv.FormatUint(page.Head.LastSeq, 10)
	return nil
}

func execInbox(ctx context.Context, s Store, op *history.Op) error {
	prefix := []byte(op.Key + "/")
	o := client.ScanOptions{Start: prefix, End: client.PrefixEnd(prefix)}
	op.List = nil
	for {
		page, err := s.ScanPage(ctx, o)
		if err != nil {
			op.List = nil
			return err
		}
		for _, i := range page.Items {
			u, err := unread(ctx, s, op, strings.TrimPrefix(string(i.Key), string(prefix)), i.Value)
			if err != nil {
				op.List = nil
				return err
			}
			op.List = append(op.List, u)
		}
		op.At, o.ResumeToken = page.At, page.ResumeToken
		if len(page.ResumeToken) == 0 {
			return nil
		}
	}
}

// unread is an inbox's entry: the cursor that was scanned, and where its stream ends now.
func unread(
	ctx context.Context, s Store, op *history.Op, name string, value []byte,
) (string, error) {
	at, err := cursorValue(op, value)
	if err != nil {
		return "", err
	}
	page, err := s.Read(ctx, op.Arg+name, client.ReadOptions{Limit: 1, Reverse: true})
	if err != nil {
		return "", err
	}
	return history.Unread{Name: name, Cursor: at, Last: page.Head.LastSeq}.String(), nil
}
