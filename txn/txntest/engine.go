package txntest

import (
	"bytes"
	"context"
	"encoding/binary"
	"sync"

	"google.golang.org/protobuf/proto"

	ids "github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/txn"
)

// Fault is what an Engine does to a proposal.
type Fault int

// The faults.
const (
	None          Fault = iota
	Lost                // not applied, and the proposer does not learn it
	AppliedSilent       // applied, and the proposer does not learn it
	Refused             // not applied: the leader has changed
)

// Engine is replication without replicas: ranges of one store, all led by it. After a fault the range is led again, in
// the next term.
type Engine struct {
	store *Store
	fault func(id ids.RangeID, cmd *internalpb.Command) Fault

	mu struct {
		sync.Mutex
		ranges map[ids.RangeID]*ledRange
		next   ids.RangeID
	}
}

type ledRange struct {
	desc  *internalpb.Descriptor // replaced, never changed
	term  uint64
	bytes int64
	away  bool
}

var _ txn.Engine = (*Engine)(nil)

// NewEngine makes an engine with one range, ids.FirstUserRange, over all keys. fault, unless it is nil, is asked before
// each proposal is applied; it may block, and it is called from many goroutines.
func NewEngine(fault func(ids.RangeID, *internalpb.Command) Fault) *Engine {
	e := &Engine{store: NewStore(), fault: fault}
	e.mu.ranges = map[ids.RangeID]*ledRange{ids.FirstUserRange: {
		desc: &internalpb.Descriptor{RangeId: uint64(ids.FirstUserRange), Epoch: &internalpb.Epoch{Version: 1, Conf: 1}},
		term: 5,
	}}
	e.mu.next = ids.FirstUserRange + 1
	return e
}

// Store is where the engine keeps what was applied.
func (e *Engine) Store() *Store { return e.store }

// Bytes is the range's size by the deltas of its commands.
func (e *Engine) Bytes(id ids.RangeID) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mu.ranges[id].bytes
}

// SetAway ends the store's leadership of a range, or gives it back in the next term.
func (e *Engine) SetAway(id ids.RangeID, away bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.mu.ranges[id]
	r.away = away
	r.term++
}

// Split cuts a range at a replicated key and returns the id of the right-hand side.
func (e *Engine) Split(id ids.RangeID, key []byte) ids.RangeID {
	e.mu.Lock()
	defer e.mu.Unlock()
	left := e.mu.ranges[id]
	right := &ledRange{term: left.term + 1, desc: proto.CloneOf(left.desc)}
	left.desc = proto.CloneOf(left.desc)
	right.desc.RangeId = uint64(e.mu.next)
	e.mu.next++
	left.desc.Epoch.Version++
	right.desc.Epoch.Version++
	left.desc.End, right.desc.Start = bytes.Clone(key), bytes.Clone(key)
	right.bytes = e.store.Bytes(right.desc.Start, right.desc.End)
	left.bytes -= right.bytes
	e.mu.ranges[ids.RangeID(right.desc.RangeId)] = right
	return ids.RangeID(right.desc.RangeId)
}

func (e *Engine) ledLocked(id ids.RangeID) (*ledRange, error) {
	r := e.mu.ranges[id]
	if r == nil || r.away {
		return nil, notLeader(id)
	}
	return r, nil
}

func notLeader(id ids.RangeID) error {
	return &rpcerr.NotLeaderError{NotLeader: &vipkvpb.NotLeader{RangeId: uint64(id)}}
}

// Begin implements txn.Engine.
func (e *Engine) Begin(ctx context.Context, id ids.RangeID) (txn.Evaluation, error) {
	if err := ctx.Err(); err != nil {
		return txn.Evaluation{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r, err := e.ledLocked(id)
	if err != nil {
		return txn.Evaluation{}, err
	}
	return txn.Evaluation{Descriptor: r.desc, Term: r.term}, nil
}

// NewView implements txn.Engine.
func (e *Engine) NewView() storage.View { return e.store.NewView() }

// Confirm implements txn.Engine.
func (e *Engine) Confirm(ctx context.Context, id ids.RangeID, term uint64) error {
	at, err := e.Begin(ctx, id)
	if err == nil && at.Term != term {
		err = notLeader(id)
	}
	return err
}

// Propose implements txn.Engine.
func (e *Engine) Propose(_ context.Context, id ids.RangeID, cmd *internalpb.Command) error {
	fault := None
	if e.fault != nil {
		fault = e.fault(id, cmd)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r, err := e.ledLocked(id)
	if err != nil {
		return err
	}
	if fault == Lost || fault == Refused {
		r.term++
	}
	switch fault {
	case Lost:
		return rpcerr.Ambiguous("the leader changed")
	case Refused:
		return notLeader(id)
	}
	if err := e.applyLocked(r, cmd); err != nil {
		return err
	}
	if fault == AppliedSilent {
		r.term++
		return rpcerr.Ambiguous("the leader changed")
	}
	return nil
}

func (e *Engine) applyLocked(r *ledRange, cmd *internalpb.Command) error {
	if cmd.EpochVersion != r.desc.Epoch.Version {
		return &rpcerr.StaleEpochError{StaleEpoch: &vipkvpb.StaleEpoch{}}
	}
	if cmd.EvalTerm != r.term {
		return notLeader(ids.RangeID(r.desc.RangeId))
	}
	w := cmd.GetWrite()
	batch, err := storage.Decode(w.GetBatch())
	if err != nil {
		return err
	}
	if err := inside(r.desc, w.GetTenant(), &batch); err != nil {
		return err
	}
	if err := e.store.Apply(&batch); err != nil {
		return err
	}
	r.bytes += w.GetDeltaBytes()
	return nil
}

// inside checks what apply checks: the batch writes in the range's span and under the command's tenant.
func inside(d *internalpb.Descriptor, tenant uint32, b *storage.Batch) error {
	lower, upper := keys.DataSpan(d.Start, d.End)
	prefix := binary.BigEndian.AppendUint32(nil, tenant)
	for ops := b.Ops(); ; {
		op, ok, err := ops.Next()
		if err != nil || !ok {
			return err
		}
		key, _, err := keys.ParseData(op.Key)
		if err != nil {
			return err
		}
		if keys.Compare(op.Key, lower) < 0 || keys.Compare(op.Key, upper) >= 0 || !bytes.HasPrefix(key, prefix) ||
			(op.Kind == storage.OpDeleteRange && keys.Compare(op.Value, upper) > 0) {
			return rpcerr.Integrity("a batch writes outside of its range or tenant")
		}
	}
}

// Oracle counts up.
type Oracle struct {
	mu struct {
		sync.Mutex
		last ids.Timestamp
	}
}

// NewOracle begins after a moment in milliseconds.
func NewOracle(millis int64) *Oracle {
	o := &Oracle{}
	o.mu.last = ids.MakeTimestamp(millis, 0)
	return o
}

// Timestamp implements txn.Oracle.
func (o *Oracle) Timestamp(context.Context) (ids.Timestamp, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.last++
	return o.mu.last, nil
}

// Advance moves the oracle's clock on.
func (o *Oracle) Advance(millis int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.last = ids.MakeTimestamp(o.mu.last.Physical()+millis, 0)
}
