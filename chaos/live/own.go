package live

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vipkv/vipkv/chaos/workload"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/proto"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// own injects what needs no access to hosts: the administrator's calls, on ranges of the run's tenant only, and what
// the run's own clients do.
type own struct {
	admin  admin
	tenant proto.TenantID
	prefix string // of the run's keys
	stores []*store
	// sample draws a key at which a split breaks no workload; nil: the run has no load yet.
	sample func(*rand.Rand) string
}

// Name implements Driver.
func (*own) Name() string { return "api" }

// Can implements Driver.
func (*own) Can(fault string) bool {
	known := []string{"transfer-leader", "ping-pong", "split", "disconnect", "hot-key"}
	return slices.Contains(known, fault)
}

// Prepare implements Driver.
func (d *own) Prepare(_ context.Context, a Aim) (Injection, error) {
	switch a.Fault {
	case "transfer-leader":
		return d.transfer(a, 1)
	case "ping-pong":
		return d.transfer(a, 4)
	case "split":
		return d.split(a)
	case "disconnect":
		return d.disconnect(), nil
	case "hot-key":
		return d.hotKey(a), nil
	}
	return Injection{}, fmt.Errorf("the api driver does not know %s", a.Fault)
}

func nothing(text string) Undo { return Undo{Text: text} }

// transfer hands a range's leadership to another voter, and, when times is more than one, back and forth.
func (d *own) transfer(a Aim, times int) (Injection, error) {
	ranges := a.view.rangesOf(d.tenant)
	if len(ranges) == 0 {
		return Injection{}, errors.New("the run has no ranges yet")
	}
	r := ranges[a.rand.IntN(len(ranges))]
	to := transferTo(r, a.rand)
	if to == 0 {
		return Injection{}, fmt.Errorf("range %d has no other voter that is live, or no leader", r.Id)
	}
	done := atomic.Int32{}
	return Injection{
		Text:   fmt.Sprintf("vipkv range transfer %d s%d", r.Id, to),
		Target: fmt.Sprintf("range %d", r.Id),
		Undo:   nothing("nothing: the placement driver balances leaders by itself"),
		Inject: func(ctx context.Context) error {
			for i := range times {
				at := to
				if i%2 == 1 {
					at = r.LeaderStore
				}
				if err := d.admin.TransferLeader(ctx, r.Id, at); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		},
		Bit: func(context.Context) (bool, string) {
			n := done.Load()
			return n > 0, fmt.Sprintf("%d transfers were carried out, s%d to s%d", n, r.LeaderStore, to)
		},
	}, nil
}

// transferTo draws a voter that is live and does not lead; 0: there is none.
func transferTo(r *vipkvpb.RangeInfo, rnd *rand.Rand) uint64 {
	var others []uint64
	for _, p := range r.Replicas {
		if p.Role == "voter" && p.Live && p.StoreId != r.LeaderStore && r.LeaderStore != 0 {
			others = append(others, p.StoreId)
		}
	}
	if len(others) == 0 {
		return 0
	}
	return others[rnd.IntN(len(others))]
}

func (d *own) split(a Aim) (Injection, error) {
	if d.sample == nil {
		return Injection{}, errors.New("the run has no keys yet")
	}
	key := mvcc.PlainKey(d.tenant, []byte(d.sample(a.rand)))
	var at []byte
	prefix := mvcc.PlainKey(d.tenant, nil)
	return Injection{
		Text:   "vipkv range split --hex " + hex.EncodeToString(key),
		Target: "a range of the run",
		Undo:   nothing("nothing: a range that was split stays so"),
		Inject: func(ctx context.Context) (err error) {
			at, err = d.admin.SplitRange(ctx, key)
			return err
		},
		Bit: func(context.Context) (bool, string) {
			return at != nil, fmt.Sprintf("a range begins at %q", at[min(len(at), len(prefix)):])
		},
	}, nil
}

// disconnect ends the connections of all clients of the run.
func (d *own) disconnect() Injection {
	n := atomic.Int32{}
	return Injection{
		Text:   "close the connections of the run's clients, and open new ones",
		Target: "clients",
		Undo:   nothing("nothing: they are open again"),
		Inject: func(ctx context.Context) error {
			for _, s := range d.stores {
				if err := s.reconnect(ctx); err != nil {
					return err
				}
				n.Add(1)
			}
			return nil
		},
		Bit: func(context.Context) (bool, string) {
			return n.Load() > 0, fmt.Sprintf("%d clients were closed", n.Load())
		},
	}
}

const (
	hotClients = 4
	hotEnough  = 20 // operations that show that it took place
)

// hotKey lets some clients read and write one key without a pause for as long as the fault lasts.
func (d *own) hotKey(a Aim) Injection {
	key := []byte(d.prefix + "hot")
	n := &atomic.Int64{}
	return Injection{
		Text:   fmt.Sprintf("%d clients read and write the key %s for %v", hotClients, key, a.Hold),
		Target: "clients",
		Undo:   nothing("nothing: it ends by itself"),
		Inject: func(ctx context.Context) error {
			if len(d.stores) == 0 {
				return errors.New("the run has no clients yet")
			}
			ctx, cancel := context.WithTimeout(ctx, a.Hold)
			context.AfterFunc(ctx, cancel)
			for range hotClients {
				go func() { // ends with ctx, after the call under way
					for ctx.Err() == nil {
						if hammer(ctx, d.stores[0], key) == nil {
							n.Add(1)
						}
					}
				}()
			}
			return nil
		},
		Bit: func(context.Context) (bool, string) {
			return n.Load() >= hotEnough, fmt.Sprintf("%d operations on it", n.Load())
		},
	}
}

func hammer(ctx context.Context, s workload.Store, key []byte) error {
	if _, err := s.Get(ctx, key); err != nil && !errors.Is(err, client.ErrNotFound) {
		return pause(ctx, 10*time.Millisecond)
	}
	_, err := s.Put(ctx, key, []byte("hot"), client.PutOptions{})
	return err
}
