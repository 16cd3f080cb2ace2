package workload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/proto/rpcerr"
)

// appendAttempts is how often one record is sent under the same client id while nobody knows what became of it, as a
// sender of messages does.
const appendAttempts = 3

// listSeparator parts the elements of a list that is a value; elements have none.
const listSeparator = " "

// Exec carries op out on s: it fills in what was answered, the outcome and the error, not client
// and times. In a tenant that op names, every value that is written begins with the tenant's canary, which readers take
// off again: what they find under another one comes back as it is.
//
//	read, write    Get, Put
//	cas            Get, and a Put on condition that what it read (Expect) is there still. Values are unique, so the
//	               version stands for the value
//	append, stream one record, with Arg as its client id; all records
//	add, set       a key of its own for each element; a scan of them at one moment
//	incr, count    Get, and a Put of the sum on condition that nobody was in between; Get
//	txn            BatchGet of its keys at one moment, and, when it writes, a Commit on condition
//	               that all that it read is as it was
//	scan           a page of the first or last keys of all
//	advance        Get, and, when it is less, a Put on condition that nobody was in between; again when somebody was
//	pull           one page of a stream
//	inbox          a scan of the cursors at one moment, then the end of each stream
//	touch, peek    a Put that expires, Get
func Exec(ctx context.Context, s Store, op *history.Op) {
	var err error
	switch op.Kind {
	case history.Read, history.Count:
		err = execRead(ctx, s, op)
	case history.Write:
		err = execWrite(ctx, s, op)
	case history.CAS:
		err = execCAS(ctx, s, op)
	case history.Append:
		execAppend(ctx, s, op)
		return
	case history.Stream:
		err = execStream(ctx, s, op)
	case history.Add:
		err = execAdd(ctx, s, op)
	case history.Set:
		err = execSet(ctx, s, op)
	case history.Incr:
		err = execIncr(ctx, s, op)
	case history.Txn:
		err = execTxn(ctx, s, op)
	case history.Scan:
		err = execScan(ctx, s, op)
	default:
		err = execMessenger(ctx, s, op)
	}
	op.Type, op.Err = outcome(err)
}

// outcome of an error: what is ambiguous may still take effect, every other error says that nothing was done.
func outcome(err error) (history.Type, string) {
	var ambiguous *rpcerr.AmbiguousError
	switch {
	case err == nil:
		return history.OK, ""
	case errors.As(err, &ambiguous):
		return history.Info, err.Error()
	}
	return history.Fail, err.Error()
}

// get is Get, with no item for a key that does not exist.
func get(ctx context.Context, s Store, key string) (client.Item, error) {
	item, err := s.Get(ctx, []byte(key))
	if errors.Is(err, client.ErrNotFound) {
		return client.Item{}, nil
	}
	return item, err
}

func execRead(ctx context.Context, s Store, op *history.Op) error {
	item, err := get(ctx, s, op.Key)
	op.Result, op.Version = open(op, item.Value), item.Version
	return err
}

func execWrite(ctx context.Context, s Store, op *history.Op) error {
	done, err := s.Put(ctx, []byte(op.Key), mark(op, op.Arg), client.PutOptions{})
	op.Version = done.Version
	return err
}

// unchanged is the condition that a key is as it was read.
func unchanged(item client.Item) client.PutOptions {
	return client.PutOptions{IfVersion: item.Version, IfAbsent: item.Version == 0}
}

func execCAS(ctx context.Context, s Store, op *history.Op) error {
	item, err := get(ctx, s, op.Key)
	if err != nil {
		return err
	}
	op.Expect, op.Base = open(op, item.Value), item.Version
	done, err := s.Put(ctx, []byte(op.Key), mark(op, op.Arg), unchanged(item))
	var refused *rpcerr.ConditionFailedError
	if errors.As(err, &refused) {
		op.Result = "false"
		return nil
	}
	if err == nil {
		op.Result, op.Version = "true", done.Version
	}
	return err
}

func execAppend(ctx context.Context, s Store, op *history.Op) {
	records := []client.Record{{ClientID: op.Arg, Body: mark(op, body(op.Arg))}}
	unknown := false
	for range appendAttempts {
		done, err := s.Append(ctx, op.Key, records, client.AppendOptions{})
		if op.Type, op.Err = outcome(err); op.Type == history.OK {
			op.Result, op.Version = strconv.FormatUint(done.FirstSeq, 10), done.Version
		}
		if op.Type != history.Info {
			break
		}
		unknown = true
	}
	if unknown && op.Type == history.Fail {
		op.Type = history.Info // an earlier attempt may have taken effect
	}
}

func execStream(ctx context.Context, s Store, op *history.Op) error {
	o := client.ReadOptions{Limit: 1000}
	op.List = nil
	for {
		page, err := s.Read(ctx, op.Key, o)
		if err != nil {
			op.List = nil
			return err
		}
		for _, r := range page.Records {
			o.After = r.Seq
			if want := uint64(len(op.List)) + 1; r.Seq != want {
				op.List = append(op.List, fmt.Sprintf("hole: number %d where %d belongs", r.Seq, want))
				continue
			}
			op.List = append(op.List, recordID(op, &r))
		}
		if !page.More || len(page.Records) == 0 {
			return nil
		}
	}
}

func execAdd(ctx context.Context, s Store, op *history.Op) error {
	done, err := s.Put(ctx, []byte(op.Key+"/"+op.Arg), mark(op, op.Arg), client.PutOptions{})
	op.Version = done.Version
	return err
}

func execSet(ctx context.Context, s Store, op *history.Op) error {
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
			op.List = append(op.List, element(op, prefix, &i))
		}
		op.At, o.ResumeToken = page.At, page.ResumeToken
		if len(page.ResumeToken) == 0 {
			return nil
		}
	}
}

func execScan(ctx context.Context, s Store, op *history.Op) error {
	page, err := s.ScanPage(ctx, client.ScanOptions{Limit: op.Limit, Reverse: op.Backward})
	op.List, op.At = nil, page.At
	for _, i := range page.Items {
		op.List = append(op.List, string(i.Value))
	}
	return err
}

func execIncr(ctx context.Context, s Store, op *history.Op) error {
	item, err := get(ctx, s, op.Key)
	if err != nil {
		return err
	}
	op.Base = item.Version
	sum, err := add(open(op, item.Value), op.Arg)
	if err != nil {
		return err
	}
	done, err := s.Put(ctx, []byte(op.Key), mark(op, sum), unchanged(item))
	if err == nil {
		op.Result, op.Version = sum, done.Version
	}
	return err
}

func add(value, addend string) (string, error) {
	n, err := strconv.ParseInt(addend, 10, 64)
	if err != nil {
		return "", err
	}
	if value == "" {
		return strconv.FormatInt(n, 10), nil
	}
	had, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return "", fmt.Errorf("a counter holds %q", value)
	}
	return strconv.FormatInt(had+n, 10), nil
}

// errOverdrawn is a transaction's own reason not to commit: an account would fall below nothing.
var errOverdrawn = errors.New("a balance would fall below zero")

func execTxn(ctx context.Context, s Store, op *history.Op) error {
	var names []string
	for i := range op.Txn {
		if !slices.Contains(names, op.Txn[i].Key) {
			names = append(names, op.Txn[i].Key)
		}
	}
	wanted := make([][]byte, len(names))
	for i, n := range names {
		wanted[i] = []byte(n)
	}
	found, at, err := s.BatchGet(ctx, wanted, 0)
	if err != nil {
		return err
	}
	op.At = at
	items := map[string]client.Item{}
	for _, i := range found {
		items[string(i.Key)] = i
	}
	values, err := play(op, items)
	if err != nil {
		return err
	}
	if len(values) == 0 {
		return nil
	}
	t := client.Transaction{}
	for _, n := range names {
		t.Conditions = append(t.Conditions, client.Condition{Key: []byte(n), Version: items[n].Version})
		if v, ok := values[n]; ok {
			t.Mutations = append(t.Mutations, client.Mutation{Key: []byte(n), Value: mark(op, v)})
		}
	}
	done, err := s.Commit(ctx, t)
	op.Version = done.Version
	return err
}

// play goes through a transaction's steps over what was read; each sees what those before it wrote. It fills the steps
// in and returns what is to be written.
func play(op *history.Op, items map[string]client.Item) (map[string]string, error) {
	written := map[string]string{}
	for i := range op.Txn {
		m := &op.Txn[i]
		now, own := written[m.Key]
		if !own {
			now = open(op, items[m.Key].Value)
		}
		m.Version = items[m.Key].Version
		switch m.Part {
		case history.PartRead:
			m.Result, m.List = now, strings.Fields(now)
		case history.PartWrite:
			written[m.Key] = m.Value
		case history.PartAppend:
			written[m.Key] = strings.TrimPrefix(now+listSeparator+m.Value, listSeparator)
		case history.PartIncr:
			sum, err := add(now, m.Value)
			if err != nil {
				return nil, err
			}
			if strings.HasPrefix(sum, "-") {
				return nil, errOverdrawn
			}
			m.Result = sum
			written[m.Key] = sum
		}
	}
	return written, nil
}
