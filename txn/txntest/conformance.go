package txntest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	ids "github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/txn"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// Subject is an engine under test, with one range that it leads and that holds tenant 7.
type Subject struct {
	Engine txn.Engine
	Range  ids.RangeID
	// Split cuts the range at a replicated key and returns when that has been applied. Nil: not tested.
	Split func(key []byte) error
	// Leave ends the store's leadership of the range and returns when that is so. Nil: not tested.
	Leave func()
}

const subjectTenant = ids.TenantID(7)

// RunEngine checks that an engine keeps the promises of txn.Engine.
func RunEngine(t *testing.T, open func(t *testing.T) Subject) {
	for name, test := range map[string]func(*testing.T, *subject){
		"AppliedIsSeen": appliedIsSeen, "StaleIsWithoutEffect": staleIsWithoutEffect, "Confirm": confirm,
		"Concurrent": concurrent, "UnknownRange": unknownRange, "AfterSplit": afterSplit, "AfterLeaving": afterLeaving,
	} {
		t.Run(name, func(t *testing.T) { test(t, &subject{Subject: open(t)}) })
	}
}

type subject struct{ Subject }

func (s *subject) begin(t *testing.T) txn.Evaluation {
	t.Helper()
	at, err := s.Engine.Begin(t.Context(), s.Range)
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	if at.Term == 0 || at.Descriptor.GetRangeId() != uint64(s.Range) || at.Descriptor.GetEpoch().GetVersion() == 0 {
		t.Fatalf("begin: %v", at)
	}
	return at
}

func subjectKey(name string) []byte {
	return keys.Version(mvcc.PlainKey(subjectTenant, []byte(name)), 100)
}

func write(at txn.Evaluation, name string) *internalpb.Command {
	b := &storage.Batch{}
	key := subjectKey(name)
	b.Set(key, []byte("value"))
	return &internalpb.Command{
		EpochVersion: at.Descriptor.GetEpoch().GetVersion(), EvalTerm: at.Term,
		Kind: &internalpb.Command_Write{Write: &internalpb.WriteCommand{
			Tenant: uint32(subjectTenant), Batch: b.Bytes(), DeltaBytes: int64(len(key) + len("value")),
		}},
	}
}

func (s *subject) seen(t *testing.T, v storage.View, name string) bool {
	t.Helper()
	_, err := v.Get(subjectKey(name))
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func (s *subject) seenNow(t *testing.T, name string) bool {
	t.Helper()
	v := s.Engine.NewView()
	defer v.Close()
	return s.seen(t, v, name)
}

func appliedIsSeen(t *testing.T, s *subject) {
	at := s.begin(t)
	before := s.Engine.NewView()
	defer before.Close()
	if err := s.Engine.Propose(t.Context(), s.Range, write(at, "a")); err != nil {
		t.Fatal(err)
	}
	if !s.seenNow(t, "a") {
		t.Fatal("applied, but not in a view taken after that")
	}
	if s.seen(t, before, "a") {
		t.Fatal("a view shows what was applied after it was taken")
	}
}

// withoutEffect tells whether an error promises that nothing was written.
func withoutEffect(err error) bool {
	var stale *rpcerr.StaleEpochError
	var leader *rpcerr.NotLeaderError
	return errors.As(err, &stale) || errors.As(err, &leader)
}

func staleIsWithoutEffect(t *testing.T, s *subject) {
	at := s.begin(t)
	epoch := write(at, "epoch")
	epoch.EpochVersion++
	if err := s.Engine.Propose(t.Context(), s.Range, epoch); !withoutEffect(err) {
		t.Fatalf("another epoch: %v", err)
	}
	term := write(at, "term")
	term.EvalTerm--
	if err := s.Engine.Propose(t.Context(), s.Range, term); !withoutEffect(err) {
		t.Fatalf("another term: %v", err)
	}
	if s.seenNow(t, "epoch") || s.seenNow(t, "term") {
		t.Fatal("a refused command had an effect")
	}
}

func confirm(t *testing.T, s *subject) {
	at := s.begin(t)
	if err := s.Engine.Confirm(t.Context(), s.Range, at.Term); err != nil {
		t.Fatalf("the present term: %v", err)
	}
	if err := s.Engine.Confirm(t.Context(), s.Range, at.Term-1); err == nil {
		t.Fatal("confirmed a term that is over")
	}
}

func concurrent(t *testing.T, s *subject) {
	at := s.begin(t)
	var wg sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		wg.Go(func() { errs[i] = s.Engine.Propose(context.Background(), s.Range, write(at, fmt.Sprint(i))) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil || !s.seenNow(t, fmt.Sprint(i)) {
			t.Fatalf("command %d: %v", i, err)
		}
	}
}

func unknownRange(t *testing.T, s *subject) {
	if _, err := s.Engine.Begin(t.Context(), s.Range+1000); !withoutEffect(err) {
		t.Fatalf("got %v", err)
	}
}

func afterSplit(t *testing.T, s *subject) {
	if s.Split == nil {
		t.Logf("the engine does not split")
		return
	}
	at := s.begin(t)
	if err := s.Split(mvcc.PlainKey(subjectTenant, []byte("m"))); err != nil {
		t.Fatal(err)
	}
	if err := s.Engine.Propose(t.Context(), s.Range, write(at, "a")); !withoutEffect(err) {
		t.Fatalf("a command from before the split: %v", err)
	}
	now := s.begin(t)
	if now.Descriptor.GetEpoch().GetVersion() <= at.Descriptor.GetEpoch().GetVersion() {
		t.Fatalf("the epoch did not grow: %v, %v", at, now)
	}
	if err := s.Engine.Propose(t.Context(), s.Range, write(now, "a")); err != nil {
		t.Fatal(err)
	}
}

func afterLeaving(t *testing.T, s *subject) {
	if s.Leave == nil {
		t.Logf("the engine does not leave")
		return
	}
	at := s.begin(t)
	s.Leave()
	if _, err := s.Engine.Begin(t.Context(), s.Range); !withoutEffect(err) {
		t.Fatalf("begin: %v", err)
	}
	if err := s.Engine.Confirm(t.Context(), s.Range, at.Term); err == nil {
		t.Fatal("confirmed the leadership of another")
	}
	if err := s.Engine.Propose(t.Context(), s.Range, write(at, "a")); !withoutEffect(err) || s.seenNow(t, "a") {
		t.Fatalf("propose: %v", err)
	}
}
