package workload

import (
	"context"
	"math/rand/v2"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/history"
	"github.com/vipkv/vipkv/kv/client"
)

// Workload is what the clients of a run do, and what must then hold. It draws operations and keeps their books, and
// knows neither time nor transport: the simulator and real clients carry the same operations out. It is not safe for
// concurrent use; whoever runs it calls it from one goroutine at a time.
type Workload interface {
	Name() string
	// Clients is how many clients work at the same time, each at one operation at a time.
	Clients() int
	// Setup is what is to be carried out before the clients begin, in order, each until it succeeds.
	Setup() []history.Op
	// Draw makes the next operation of the client at a place from 0 to Clients()-1: everything but Client, the times and
	// the outcome.
	Draw(r *rand.Rand, place int) history.Op
	// Ended is told of every operation that Draw or Setup made, when it has ended.
	Ended(op *history.Op)
	// Final are the reads that see everything, after all faults are mended and all clients have stopped; each is carried
	// out until it succeeds.
	Final() []history.Op
	// Check judges the operations of this workload.
	Check(ops []history.Op) []check.Verdict
}

// Store is the calls that operations are made of, in the space of one tenant. client.Client is one; the simulator has
// another. Errors are those of client.
type Store interface {
	Get(ctx context.Context, key []byte) (client.Item, error)
	BatchGet(ctx context.Context, keys [][]byte, at uint64) ([]client.Item, uint64, error)
	ScanPage(ctx context.Context, o client.ScanOptions) (client.ScanPage, error)
	Put(ctx context.Context, key, value []byte, o client.PutOptions) (client.Written, error)
	Commit(ctx context.Context, t client.Transaction) (client.Written, error)
	Append(ctx context.Context, stream string, r []client.Record, o client.AppendOptions) (
		client.Appended, error)
	Read(ctx context.Context, stream string, o client.ReadOptions) (client.ReadPage, error)
}
