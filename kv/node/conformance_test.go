package node

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/vipkv/vipkv/kv/gateway"
	"github.com/vipkv/vipkv/kv/tenant"
	"github.com/vipkv/vipkv/kv/tenant/tenanttest"
	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	"github.com/vipkv/vipkv/raftstore"
	"github.com/vipkv/vipkv/raftstore/raftstoretest"
	"github.com/vipkv/vipkv/txn"
	"github.com/vipkv/vipkv/txn/mvcc"
	"github.com/vipkv/vipkv/txn/txntest"
)

// raftstore keeps the promises that txn asks of an engine.
func TestReplicationIsATxnEngine(t *testing.T) {
	txntest.RunEngine(t, func(t *testing.T) txntest.Subject {
		c := raftstoretest.New(t, raftstoretest.Options{Stores: 3})
		c.Place(proto.FirstUserRange, 1, 2, 3)
		store, d := c.WaitLeader(proto.FirstUserRange)
		id := proto.RangeID(d.RangeId)
		return txntest.Subject{
			Engine: replication{store.Calls}, Range: id,
			Split: func(key []byte) error {
				_, _, err := store.Split(t.Context(), id, key)
				return err
			},
			Leave: func() { leave(t, store, id) },
		}
	})
}

// leave hands leadership to any other replica.
func leave(t *testing.T, s *raftstore.Store, id proto.RangeID) {
	t.Helper()
	st, _ := s.Status(id)
	for _, p := range st.Descriptor.Replicas {
		if proto.ReplicaID(p.ReplicaId) != st.Replica {
			if err := s.TransferLeader(t.Context(), id, proto.ReplicaID(p.ReplicaId)); err == nil {
				return
			}
		}
	}
	t.Fatal("nobody took leadership over")
}

// nullSealer: what is tested here is the way of a command, not its encryption.
type nullSealer struct{}

func (nullSealer) Seal(dst []byte, _ mvcc.ValueMeta, p []byte) ([]byte, error) {
	return append(dst, p...), nil
}
func (nullSealer) Open(dst []byte, _ mvcc.ValueMeta, p []byte) ([]byte, error) {
	return append(dst, p...), nil
}

// clock is an oracle on one process's clock.
type clock struct{ last chan proto.Timestamp }

func (c clock) Timestamp(context.Context) (proto.Timestamp, error) {
	t := max(<-c.last+1, proto.MakeTimestamp(time.Now().UnixMilli(), 0))
	c.last <- t
	return t, nil
}

// oneStore is gateway.Ranges over the stores of a test cluster.
type oneStore struct {
	c         *raftstoretest.Cluster
	executors map[proto.StoreID]*txn.Executor
}

func (o *oneStore) Lookup(
	_ context.Context, _ []byte, _ int,
) (out []*internalpb.RangeLocation, err error) {
	for _, id := range []proto.RangeID{proto.SystemRange, proto.FirstUserRange} {
		_, d := o.c.WaitLeader(id)
		out = append(out, &internalpb.RangeLocation{Desc: d, LeaderStore: uint64(o.c.LeaderStore(id))})
	}
	return out, nil
}

func (o *oneStore) Execute(
	ctx context.Context, s proto.StoreID, req *internalpb.ExecuteRequest,
) (*internalpb.ExecuteResponse, error) {
	return o.executors[s].Execute(ctx, req)
}

func (o *oneStore) Endpoint(s proto.StoreID) string { return fmt.Sprintf("store %d", s) }

// The plain keys of tenant 0, through a router, keep the promises that the registry of tenants asks
// for.
func TestSystemKV(t *testing.T) {
	tenanttest.RunSystemKV(t, func(t *testing.T) tenant.SystemKV {
		c := raftstoretest.New(t, raftstoretest.Options{Stores: 1, Mem: true})
		store, _ := c.WaitLeader(proto.SystemRange)
		cfg := txn.DefaultConfig()
		last := make(chan proto.Timestamp, 1)
		last <- 0
		cfg.Engine, cfg.Oracle, cfg.Draw = replication{store.Calls}, clock{last}, draw
		cfg.SealerFor = func(context.Context, proto.TenantID) (mvcc.Sealer, error) { return nullSealer{}, nil }
		rc := gateway.DefaultRouterConfig()
		rc.Ranges = &oneStore{c, map[proto.StoreID]*txn.Executor{1: txn.NewExecutor(cfg)}}
		return systemKV{gateway.NewRouter(rc)}
	})
}
