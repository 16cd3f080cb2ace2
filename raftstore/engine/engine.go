package engine

import (
	"context"

	"github.com/vipkv/vipkv/proto/storage"
)

// Engine is one store's ordered bytes. It is safe for concurrent use. Iterators and views are not: each belongs to one
// goroutine at a time, and all must be closed before the engine.
type Engine interface {
	// Reader reads the latest state. An iterator stays at the moment of NewIter.
	storage.Reader
	// Commit applies b atomically. When sync is set, b and every batch committed before it are durable on return; an
	// empty batch is then a barrier. After an error it is not known whether b took effect, except for a malformed
	// batch, which never does.
	Commit(b *storage.Batch, sync bool) error
	// NewView returns a reader pinned to this moment: it sees no later commit and no later ingest. It never fails; on
	// a closed or failed engine its methods do. It keeps the memory and files of its moment: a view that lives for
	// minutes may hold a few times Options.MemTableBytes.
	NewView() storage.View
	// IngestAndExcise first makes every earlier batch durable, and then, as one atomic and durable step, removes
	// everything in in.Excise and adds in.Tables and in.Local. The table files are gone on success. Reads that start
	// during that step wait for it. A malformed ingest has no effect.
	IngestAndExcise(ctx context.Context, in Ingest) error
	// Metrics are the engine's numbers now.
	Metrics() Metrics
	// Close makes everything committed durable and frees the engine. It waits for calls in progress.
	Close() error
}

// Span bounds engine keys: Start inclusive, End exclusive, both without a suffix.
type Span struct{ Start, End []byte }

// Contains tells whether key lies in the span.
func (s Span) Contains(key []byte) bool { return compare(s.Start, key) <= 0 && compare(key, s.End) < 0 }

// Ingest is one atomic replacement of a span.
type Ingest struct {
	// Tables are paths, in Options.FS, of files written by TableWriter and synced. Their keys lie in Excise and the
	// tables do not overlap each other.
	Tables []string
	// Excise is the span that is emptied first. It must not be empty.
	Excise Span
	// Local, which may be nil, is a small batch whose keys and ranges all lie outside Excise: a range's local records
	// and the reset of its log. Its writes take effect in order, like those of a committed batch.
	Local *storage.Batch
}

// Metrics are sizes in bytes, and counts since the engine was opened. The in-memory engine fills few of them.
type Metrics struct {
	DiskBytes           uint64 // all files of the engine
	DiskFreeBytes       uint64 // what the file system has left; 0 when it cannot tell
	DiskTotalBytes      uint64 // size of the file system; 0 when it cannot tell
	TableBytes          uint64 // live tables
	TableCount          uint64
	WALBytes            uint64 // live part of the write-ahead log
	MemTableBytes       uint64
	MemTableCount       int64
	L0Files             int64
	L0Sublevels         int64
	ReadAmplification   int64
	CompactionDebtBytes uint64
	CompactionsRunning  int64
	Compactions         int64
	Flushes             int64
	Ingests             uint64
	CacheBytes          int64
	CacheHits           int64
	CacheMisses         int64
	BytesLogged         uint64 // written to the write-ahead log
	BytesFlushed        uint64
	BytesCompacted      uint64
	BytesIngested       uint64
	WriteStalls         int64
	OpenViews           int64
}
