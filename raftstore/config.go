package raftstore

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/replica"

	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// Transport moves messages and range snapshots to other stores.
type Transport interface {
	// Send queues a message. It never blocks; a message that finds no room is dropped, as on any network.
	Send(m *internalpb.RaftMessage)
	// Snapshot opens a stream for one range snapshot.
	Snapshot(ctx context.Context, to proto.StoreID) (internalpb.Raft_SnapshotClient, error)
}

// Config of a Store. DefaultConfig fills what has a default.
type Config struct {
	Store  proto.StoreID
	Engine engine.Engine
	// FS and SnapshotDir hold the tables of range snapshots on their way in. The directory is on the engine's file
	// system; what a crash left in it is removed by Open.
	FS          engine.FS
	SnapshotDir string
	Transport   Transport
	// AllocateRange returns a range id that nobody else gets.
	AllocateRange func(context.Context) (proto.RangeID, error)
	// AdjustSplitKey moves a candidate for a split key to where a range may be split; nil where it may not.
	AdjustSplitKey func([]byte) []byte
	Logger         *slog.Logger
	Registerer     prometheus.Registerer
	// OnFatal is called once when the store can not go on. It must not block.
	OnFatal func(error)

	// Core configures the replicas; its first five fields are filled by Open.
	Core replica.Config
	// Workers is how many goroutines step replicas. Default 2.
	Workers int
	// TickInterval is the length of a tick. Default 100 ms: with 10 election ticks a leader that is gone is replaced
	// after one to two seconds.
	TickInterval time.Duration
	// MailboxMax bounds the events that wait for one worker; above, messages are dropped and requests are refused.
	// Default 16,384.
	MailboxMax int
	// SplitBytes is the size above which a range is split in the middle. Default 128 MiB; 0 never.
	SplitBytes uint64
	// SplitInterval is how often sizes are looked at. Default 1 s.
	SplitInterval time.Duration
	// SendSlots and ReceiveSlots bound the range snapshots that move at the same time. Default 2 and 4.
	SendSlots, ReceiveSlots int
	// SnapshotBytesPerSecond bounds what one snapshot sends, before compression. Default 64 MiB/s.
	SnapshotBytesPerSecond int
	// SnapshotTableBytes is the size of one table of a range snapshot. Default 16 MiB.
	SnapshotTableBytes int64
	// SnapshotTimeout is how long one range snapshot may take. Default 10 min.
	SnapshotTimeout time.Duration
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Logger:                 slog.New(slog.DiscardHandler),
		Registerer:             prometheus.NewRegistry(),
		OnFatal:                func(error) {},
		AdjustSplitKey:         func(k []byte) []byte { return k },
		Core:                   replica.DefaultConfig(),
		Workers:                2,
		TickInterval:           100 * time.Millisecond,
		MailboxMax:             16384,
		SplitBytes:             128 << 20,
		SplitInterval:          time.Second,
		SendSlots:              2,
		ReceiveSlots:           4,
		SnapshotBytesPerSecond: 64 << 20,
		SnapshotTableBytes:     16 << 20,
		SnapshotTimeout:        10 * time.Minute,
	}
}

// Validate checks the config.
func (c *Config) Validate() error {
	switch {
	case c.Store == 0:
		return errors.New("raftstore: a store needs an id")
	case c.Engine == nil || c.FS == nil || c.SnapshotDir == "" || c.Transport == nil || c.AllocateRange == nil:
		return errors.New("raftstore: engine, file system, snapshot directory, transport and allocator are needed")
	case c.Workers < 1 || c.MailboxMax < 16 || c.SendSlots < 1 || c.ReceiveSlots < 1:
		return errors.New("raftstore: workers, mailbox and snapshot slots must be positive")
	case c.TickInterval <= 0 || c.SnapshotBytesPerSecond < 1<<20 || c.SnapshotTableBytes < 1<<16:
		return errors.New("raftstore: tick interval, snapshot rate or table size is too small")
	}
	return nil
}
