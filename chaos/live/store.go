package live

import (
	"context"
	"sync/atomic"

	"github.com/vipkv/vipkv/kv/client"
)

// store is one tenant's client, which can be closed and opened anew under the load's feet.
type store struct {
	dial func(ctx context.Context) (*client.Client, error)
	now  atomic.Pointer[client.Client]
}

func openStore(
	ctx context.Context, dial func(context.Context) (*client.Client, error),
) (*store, error) {
	s := &store{dial: dial}
	c, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	s.now.Store(c)
	return s, nil
}

// reconnect ends the connections, with the calls that are under way.
func (s *store) reconnect(ctx context.Context) error {
	fresh, err := s.dial(ctx)
	if err != nil {
		return err
	}
	return s.now.Swap(fresh).Close()
}

func (s *store) close() error { return s.now.Load().Close() }

// Get implements workload.Store.
func (s *store) Get(ctx context.Context, key []byte) (client.Item, error) {
	return s.now.Load().Get(ctx, key)
}

// BatchGet implements workload.Store.
func (s *store) BatchGet(ctx context.Context, keys [][]byte, at uint64) (
	[]client.Item, uint64, error,
) {
	return s.now.Load().BatchGet(ctx, keys, at)
}

// ScanPage implements workload.Store.
func (s *store) ScanPage(ctx context.Context, o client.ScanOptions) (client.ScanPage, error) {
	return s.now.Load().ScanPage(ctx, o)
}

// Put implements workload.Store.
func (s *store) Put(ctx context.Context, key, value []byte, o client.PutOptions) (
	client.Written, error,
) {
	return s.now.Load().Put(ctx, key, value, o)
}

// Commit implements workload.Store.
func (s *store) Commit(ctx context.Context, t client.Transaction) (client.Written, error) {
	return s.now.Load().Commit(ctx, t)
}

// Append implements workload.Store.
func (s *store) Append(
	ctx context.Context, stream string, r []client.Record, o client.AppendOptions,
) (client.Appended, error) {
	return s.now.Load().Append(ctx, stream, r, o)
}

// Read implements workload.Store.
func (s *store) Read(ctx context.Context, stream string, o client.ReadOptions) (
	client.ReadPage, error,
) {
	return s.now.Load().Read(ctx, stream, o)
}
