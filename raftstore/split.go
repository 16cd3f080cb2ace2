package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore/replica"
)

// ErrNoSplitKey means that a range can not be split: it holds one key, or one stream's tail.
var ErrNoSplitKey = errors.New("the range has no key at which it may be split")

// RunSplits splits the ranges that this store leads and that are too large, one after the other. Sizes are the
// replicated counters, so a new leader goes on where the old one stopped. A look that split nothing is followed by the
// next interval's: every write to a range that can not be split would bring another one. It returns when ctx ends.
func (s *Calls) RunSplits(ctx context.Context) {
	refused := map[proto.RangeID]uint64{} // bytes at which it could not be split
	wake := s.large
	for s.cfg.SplitBytes > 0 && ctx.Err() == nil {
		look, cancel := s.cfg.Wait.WithTimeout(ctx, s.cfg.SplitInterval)
		_ = s.cfg.Wait.Await(look, wake) // or it is time to look anyway
		cancel()
		if wake = nil; ctx.Err() == nil && s.splitLarge(ctx, refused) {
			wake = s.large
		}
	}
}

// splitLarge splits what is too large and tells whether all of that, and anything, was split.
func (s *Calls) splitLarge(ctx context.Context, refused map[proto.RangeID]uint64) bool {
	ids := s.tooLarge(refused)
	all := len(ids) > 0
	for _, id := range ids {
		_, _, err := s.Split(ctx, id, nil)
		delete(refused, id)
		if err == nil {
			continue
		}
		all = false
		if st, ok := s.Status(id); ok && errors.Is(err, ErrNoSplitKey) {
			refused[id] = st.Bytes
		}
		if ctx.Err() == nil {
			s.cfg.Logger.Info("split failed", slog.Uint64("range", uint64(id)), slog.Any("error", err))
		}
	}
	return all
}

func (s *Calls) tooLarge(refused map[proto.RangeID]uint64) (ids []proto.RangeID) {
	s.Statuses(func(st *replica.Status) bool {
		if st.Leads && st.AppliedTerm == st.Term && st.Bytes > s.cfg.SplitBytes && st.Range != proto.SystemRange &&
			st.Bytes > refused[st.Range]+refused[st.Range]/4 {
			ids = append(ids, st.Range)
		}
		return true
	})
	slices.Sort(ids)
	return ids
}

// Split splits a range that this store leads at key, or in the middle when key is empty.
func (s *Calls) Split(ctx context.Context, id proto.RangeID,
	key []byte) (left, right *internalpb.Descriptor, err error) {
	if id == proto.SystemRange {
		return nil, nil, errors.New("the system range is never split")
	}
	d, _, err := s.Begin(id)
	if err != nil {
		return nil, nil, err
	}
	point, err := s.splitPoint(ctx, d, key)
	if err != nil {
		return nil, nil, fmt.Errorf("split range %d: %w", id, err)
	}
	if point.Right, err = s.cfg.AllocateRange(ctx); err != nil {
		return nil, nil, fmt.Errorf("split range %d: %w", id, err)
	}
	point.Epoch = d.Epoch
	point.Campaigner = s.campaigner(ctx, d, point.Right)
	ctx, cancel := s.cfg.Wait.WithTimeout(ctx, changeTimeout)
	defer cancel()
	o, err := s.propose(ctx, id, func(c *replica.Core, proposal uint64) { c.ProposeSplit(id, proposal, *point) })
	if err != nil {
		return nil, nil, fmt.Errorf("split range %d: %w", id, err)
	}
	if err := s.verdict(o); err != nil {
		return nil, nil, fmt.Errorf("split range %d: %w", id, err)
	}
	s.cfg.Split()
	s.cfg.Logger.Info("range split", slog.Uint64("range", uint64(id)), slog.Uint64("right", uint64(point.Right)))
	return o.Descriptors[0], o.Descriptors[1], nil
}

// campaigner spreads the first leaders of right-hand sides over the voters that are there.
func (s *Calls) campaigner(ctx context.Context, d *internalpb.Descriptor, right proto.RangeID) proto.ReplicaID {
	var progress []*internalpb.ReplicaProgress
	id := proto.RangeID(d.RangeId)
	if err := s.visit(ctx, id, func(c *replica.Core) { progress = c.Progress(id) }); err != nil {
		return 0
	}
	var voters []uint64
	for _, p := range d.Replicas {
		active := slices.ContainsFunc(progress, func(q *internalpb.ReplicaProgress) bool {
			return q.ReplicaId == p.ReplicaId && q.RecentlyActive && !q.InSnapshot
		})
		if p.Role == internalpb.ReplicaRole_VOTER && active {
			voters = append(voters, p.ReplicaId)
		}
	}
	if len(voters) == 0 {
		return 0
	}
	return proto.ReplicaID(voters[uint64(right)%uint64(len(voters))])
}

// splitPoint finds the key and counts what lies left of it. The whole span is read once, from a view, so the counter
// of the left-hand side is exact for that view.
func (s *Calls) splitPoint(ctx context.Context, d *internalpb.Descriptor, key []byte) (*replica.Split, error) {
	view := s.NewView()
	defer func() { _ = view.Close() }() // only read from; errors showed while reading
	total := uint64(0)
	if st, ok := s.Status(proto.RangeID(d.RangeId)); ok {
		total = st.Bytes
	}
	f := &splitFinder{d: d, want: key, half: total / 2, adjust: s.cfg.AdjustSplitKey}
	if err := f.walk(ctx, view); err != nil {
		return nil, err
	}
	if f.key == nil {
		return nil, ErrNoSplitKey
	}
	return &replica.Split{Key: f.key, LeftBytes: f.left}, nil
}

// splitFinder walks a span until it is at the split key, summing up.
type splitFinder struct {
	d      *internalpb.Descriptor
	want   []byte // nil: where half is passed
	half   uint64
	adjust func([]byte) []byte

	key  []byte
	left uint64
}

func (f *splitFinder) walk(ctx context.Context, r storage.Reader) (err error) {
	lower, upper := keys.DataSpan(f.d.Start, f.d.End)
	it, err := r.NewIter(storage.IterOptions{Lower: lower, Upper: upper})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if f.want != nil && !f.accept(f.want) {
		return ErrNoSplitKey
	}
	steps := 0
	for ok := it.SeekGE(lower); ok; ok = it.Next() {
		k, v := it.Item()
		key, _, err := keys.ParseData(k)
		if err != nil {
			return err
		}
		if f.key == nil && f.left >= f.half {
			f.accept(key)
		}
		if f.key != nil && bytes.Compare(key, f.key) >= 0 {
			return nil
		}
		f.left += uint64(len(k) + len(v))
		if steps++; steps%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if f.want == nil {
		f.key = nil // the candidate lies behind everything
	}
	return nil
}

// accept makes a candidate the split key, where the range may be split there.
func (f *splitFinder) accept(candidate []byte) bool {
	k := f.adjust(candidate)
	if k == nil || bytes.Compare(k, f.d.Start) <= 0 || (len(f.d.End) > 0 && bytes.Compare(k, f.d.End) >= 0) {
		return false
	}
	f.key = bytes.Clone(k)
	return true
}
