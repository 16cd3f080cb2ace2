package mvcc

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/rpcerr"
)

// Intent is a transaction's provisional value of one key, and its lock. It lies under the key's bare engine key, before
// all versions.
type Intent struct {
	Primary   []byte          // replicated key that decides the transaction
	Start     proto.Timestamp // of the transaction: its id
	TTLMillis int64           // how long after Start the lock lives without a heartbeat
	Delete    bool
	Expiry    int64 // milliseconds since 1970; 0: never
}

const intentFormat = 0x11

// LockedError is met by who reads or writes a key with another transaction's intent.
type LockedError struct {
	Key       []byte // replicated
	Primary   []byte
	Start     proto.Timestamp
	TTLMillis int64
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("the key is locked by the transaction that started at %s", e.Start)
}

// WriteConflictError: the key has a version that is newer than the transaction's start.
type WriteConflictError struct {
	Key     []byte
	Version proto.Timestamp
}

func (e *WriteConflictError) Error() string {
	return fmt.Sprintf("the key was written at %s, after the transaction's start", e.Version)
}

// AbortedError: the transaction was rolled back, or never wrote, on this key.
type AbortedError struct{ Start proto.Timestamp }

func (e *AbortedError) Error() string {
	return fmt.Sprintf("the transaction that started at %s was aborted", e.Start)
}

// CommittedError: the transaction can not be aborted any more.
type CommittedError struct{ Version proto.Timestamp }

func (e *CommittedError) Error() string {
	return fmt.Sprintf("the transaction was committed at %s", e.Version)
}

// append makes the stored form, but for the envelope that follows.
func (in *Intent) append(b []byte) []byte {
	kind := kindPut
	if in.Delete {
		kind = kindTombstone
	}
	b = append(b, intentFormat, byte(kind))
	b = binary.BigEndian.AppendUint64(b, uint64(in.Start))
	b = binary.BigEndian.AppendUint64(b, uint64(in.TTLMillis))
	b = binary.BigEndian.AppendUint64(b, uint64(in.Expiry))
	b = binary.AppendUvarint(b, uint64(len(in.Primary)))
	return append(b, in.Primary...)
}

// parseIntent takes a stored intent apart; both results alias b.
func parseIntent(b []byte) (in Intent, envelope []byte, err error) {
	bad := rpcerr.Integrity(fmt.Sprintf("a stored intent of %d bytes is malformed", len(b)))
	if len(b) < 2+24 || b[0] != intentFormat || (b[1] != byte(kindPut) && b[1] != byte(kindTombstone)) {
		return Intent{}, nil, bad
	}
	in.Delete = b[1] == byte(kindTombstone)
	in.Start = proto.Timestamp(binary.BigEndian.Uint64(b[2:]))
	in.TTLMillis = int64(binary.BigEndian.Uint64(b[10:]))
	in.Expiry = int64(binary.BigEndian.Uint64(b[18:]))
	rest := b[26:]
	n, w := binary.Uvarint(rest)
	if w <= 0 || n > uint64(len(rest)-w) {
		return Intent{}, nil, bad
	}
	in.Primary = rest[w : w+int(n)]
	return in, rest[w+int(n):], nil
}

// passIntent lets a reader at a timestamp (0: of the latest) pass intents of transactions that started later.
func passIntent(key, stored []byte, at proto.Timestamp) error {
	in, _, err := parseIntent(stored)
	if err != nil {
		return err
	}
	if at != 0 && in.Start > at {
		return nil
	}
	return &LockedError{
		Key: bytes.Clone(key), Primary: bytes.Clone(in.Primary), Start: in.Start, TTLMillis: in.TTLMillis,
	}
}

// intentAt reads the key's intent; ok is false when there is none.
func (e *eval) intentAt(key []byte) (in Intent, envelope []byte, stored int, ok bool, err error) {
	it, err := e.iter()
	if err != nil {
		return Intent{}, nil, 0, false, err
	}
	bare := keys.Data(key)
	if !it.SeekGE(bare) {
		return Intent{}, nil, 0, false, nil
	}
	k, v := it.Item()
	if !bytes.Equal(k, bare) {
		return Intent{}, nil, 0, false, nil
	}
	v = bytes.Clone(v)
	in, envelope, err = parseIntent(v)
	return in, envelope, len(v), err == nil, err
}

// fate looks at the key's versions from the newest to the transaction's start: the version that it committed (0: none),
// whether it was rolled back, and the newest version of all.
func (e *eval) fate(
	key []byte, start proto.Timestamp,
) (committed proto.Timestamp, aborted bool, newest found, err error) {
	it, err := e.iter()
	if err != nil {
		return 0, false, found{}, err
	}
	prefix := keys.Data(key)
	for ok := it.SeekGE(prefix); ok; ok = it.Next() {
		k, v := it.Item()
		n := keys.Split(k)
		if !bytes.Equal(k[:n], prefix) {
			break
		}
		if n == len(k) {
			continue
		}
		f, err := parseItem(k, v)
		if err != nil {
			return 0, false, found{}, err
		}
		if f.ts < start {
			if newest.ts == 0 && f.kind != kindRollback {
				newest = f
			}
			break
		}
		switch {
		case f.kind == kindRollback:
			aborted = aborted || f.ts == start
			continue
		case f.start == start:
			committed = f.ts
		}
		if newest.ts == 0 {
			newest = f
		}
	}
	return committed, aborted, newest, nil
}

func (e *eval) result(err error) (*Result, error) {
	if closeErr := e.close(); err == nil && closeErr != nil {
		err = fmt.Errorf("read: %w", closeErr)
	}
	if err != nil {
		return nil, err
	}
	return &Result{Batch: &e.batch, DeltaBytes: e.delta}, nil
}

// PrewriteIntent puts a transaction's lock and provisional value on a replicated key. It fails with *LockedError,
// *WriteConflictError or *AbortedError. Doing it again changes nothing.
func PrewriteIntent(env *Env, key []byte, in Intent, value []byte) (*Result, error) {
	e := &eval{Env: env}
	return e.result(e.prewrite(key, in, value))
}

func (e *eval) prewrite(key []byte, in Intent, value []byte) error {
	if err := e.own(key); err != nil {
		return err
	}
	have, _, _, locked, err := e.intentAt(key)
	if err != nil {
		return err
	}
	if locked && have.Start == in.Start {
		return nil
	}
	if locked {
		return &LockedError{Key: bytes.Clone(key), Primary: have.Primary, Start: have.Start, TTLMillis: have.TTLMillis}
	}
	committed, aborted, newest, err := e.fate(key, in.Start)
	switch {
	case err != nil:
		return err
	case aborted:
		return &AbortedError{Start: in.Start}
	case committed != 0:
		return &CommittedError{Version: committed}
	case newest.ts > in.Start:
		return &WriteConflictError{Key: bytes.Clone(key), Version: newest.ts}
	}
	stored := in.append(nil)
	if !in.Delete {
		h := header{kind: kindPut, start: in.Start, expiry: in.Expiry}
		if stored, err = e.seal(stored, &h, key, nil, value); err != nil {
			return err
		}
	}
	e.set(keys.Data(key), stored)
	return nil
}

// CommitIntent turns the intent of the transaction that started at start into a version at commit. It fails with
// *AbortedError when there is no intent and no version of it. Doing it again changes nothing.
func CommitIntent(env *Env, key []byte, start, commit proto.Timestamp) (*Result, error) {
	e := &eval{Env: env}
	return e.result(e.commitIntent(key, start, commit))
}

func (e *eval) commitIntent(key []byte, start, commit proto.Timestamp) error {
	if err := e.own(key); err != nil {
		return err
	}
	in, envelope, stored, locked, err := e.intentAt(key)
	if err != nil {
		return err
	}
	committed, _, newest, err := e.fate(key, start)
	switch {
	case err != nil:
		return err
	case committed != 0:
		return nil
	case !locked || in.Start != start:
		return &AbortedError{Start: start}
	case commit <= start || newest.ts >= commit:
		return fmt.Errorf("%w: %s, %s", ErrTimestampOrder, commit, newest.ts)
	}
	h := header{kind: kindPut, start: start, expiry: in.Expiry, ahead: newest.ahead}
	if in.Delete {
		h.kind = kindTombstone
	}
	e.drop(keys.Data(key), stored)
	e.set(keys.Version(key, commit), append(h.append(nil), envelope...))
	return nil
}

// AbortIntent removes the transaction's intent and leaves a mark at start, so that a late prewrite fails. It fails with
// *CommittedError. Doing it again changes nothing.
func AbortIntent(env *Env, key []byte, start proto.Timestamp) (*Result, error) {
	e := &eval{Env: env}
	return e.result(e.abortIntent(key, start))
}

func (e *eval) abortIntent(key []byte, start proto.Timestamp) error {
	if err := e.own(key); err != nil {
		return err
	}
	in, _, stored, locked, err := e.intentAt(key)
	if err != nil {
		return err
	}
	committed, aborted, _, err := e.fate(key, start)
	switch {
	case err != nil:
		return err
	case committed != 0:
		return &CommittedError{Version: committed}
	}
	if locked && in.Start == start {
		e.drop(keys.Data(key), stored)
	}
	if !aborted {
		h := header{kind: kindRollback, start: start}
		e.set(keys.Version(key, start), h.append(nil))
	}
	return nil
}
