package engine

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options configure an engine. The zero value of every field but OnFatal is usable. The in-memory engine uses FS only.
type Options struct {
	// FS holds the store directory and the tables to ingest. Default: the operating system's.
	FS FS
	// CacheBytes is the size of the cache of uncompressed blocks. Default 256 MiB. More saves reads and holds memory.
	CacheBytes int64
	// MemTableBytes is the size of one memtable. Default 64 MiB. At most 4 exist; a larger one means fewer flushes of
	// log entries that are soon truncated, and a longer recovery.
	MemTableBytes uint64
	// WALBytesPerSync is how many bytes of the log are written before the disk is asked, in the background, to take
	// them. Default 512 KiB; it smooths the latency of the next sync.
	WALBytesPerSync int
	// MaxOpenFiles bounds open table files. Default 1000.
	MaxOpenFiles int
	// CompactionsMax bounds compactions that run at the same time. Default: the number of CPUs, at least 2, at most 4.
	CompactionsMax int
	// Logger takes Pebble's messages. Default: none are kept.
	Logger *slog.Logger
	// OnFatal is called once, with the first error that the engine cannot survive (a failed write or sync, a failed
	// flush or compaction, corruption); errors.Is(err, ErrFailed). From then on every call returns that error. It is
	// called from any goroutine, with locks held: it must neither block nor call the engine. Default: nothing.
	OnFatal func(error)
}

const (
	defaultCacheBytes      = 256 << 20
	defaultMemTableBytes   = 64 << 20
	defaultWALBytesPerSync = 512 << 10
	defaultMaxOpenFiles    = 1000
	memTablesMax           = 4
)

// withDefaults fills what is zero.
func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = defaultMemTableBytes
	}
	if o.WALBytesPerSync == 0 {
		o.WALBytesPerSync = defaultWALBytesPerSync
	}
	if o.MaxOpenFiles == 0 {
		o.MaxOpenFiles = defaultMaxOpenFiles
	}
	if o.CompactionsMax == 0 {
		o.CompactionsMax = min(4, max(2, runtime.NumCPU()))
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnFatal == nil {
		o.OnFatal = func(error) {}
	}
	return o
}

// tableOptions are the options that decide the bytes of a table: the same for those that a store writes itself and for
// those that TableWriter makes.
func tableOptions(fs FS) *pebble.Options {
	o := &pebble.Options{
		FS:                      fs, // never nil: Pebble would start a goroutine to watch the default one
		Comparer:                newComparer(),
		FormatMajorVersion:      pebble.FormatNewest,
		BlockPropertyCollectors: []func() pebble.BlockPropertyCollector{newTimeCollector},
	}
	for i := range o.Levels {
		o.Levels[i].BlockSize = 32 << 10
		o.Levels[i].IndexBlockSize = 256 << 10
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // of prefixes, about 1 % false positives
	}
	return o
}

// pebbleOptions are the options of a store. L0 must take bursts: writers are slowed by the floors above, which see
// Metrics, and a hard stop at a few sublevels is a cliff, so L0StopWritesThreshold is far away.
func (e *pebbleEngine) pebbleOptions() *pebble.Options {
	p := tableOptions(&fence{FS: e.opts.FS, fail: &e.fail})
	p.CacheSize = e.opts.CacheBytes
	p.MemTableSize = e.opts.MemTableBytes
	p.MemTableStopWritesThreshold = memTablesMax
	p.L0CompactionThreshold = 2
	p.L0StopWritesThreshold = 1000
	p.LBaseMaxBytes = 64 << 20
	p.TargetFileSizes[0] = 4 << 20
	p.FlushSplitBytes = 8 << 20
	p.Experimental.L0CompactionConcurrency = 6
	p.Experimental.CompactionDebtConcurrency = 128 << 20
	p.CompactionConcurrencyRange = func() (int, int) { return 1, e.opts.CompactionsMax }
	p.WALBytesPerSync = e.opts.WALBytesPerSync
	p.MaxOpenFiles = e.opts.MaxOpenFiles
	p.LoggerAndTracer = &pebbleLogger{log: e.opts.Logger, fail: &e.fail}
	p.Logger = p.LoggerAndTracer
	p.EventListener = &pebble.EventListener{
		BackgroundError: e.backgroundError,
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			e.fail.set(fmt.Errorf("%w: file %s: %w", ErrCorrupt, i.Path, i.Details))
		},
		WriteStallBegin: func(pebble.WriteStallBeginInfo) { e.stalls.Add(1) },
	}
	return p
}

// pebbleLogger passes Pebble's messages on. Fatalf, after which Pebble expects to be dead, becomes the engine's
// failure: it returns, and the engine answers no call with success any more.
type pebbleLogger struct {
	log  *slog.Logger
	fail *failure
}

func (l *pebbleLogger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("pebble", "text", fmt.Sprintf(format, args...))
	}
}

func (l *pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error("pebble error", "text", fmt.Sprintf(format, args...))
}

func (l *pebbleLogger) Fatalf(format string, args ...any) {
	for _, a := range args {
		if err, ok := a.(error); ok { // keeps what errors.Is can find
			text, _, _ := strings.Cut(format, "%")
			l.fail.set(fmt.Errorf("%s%w", text, err))
			return
		}
	}
	l.fail.set(fmt.Errorf(format, args...))
}

func (l *pebbleLogger) Eventf(context.Context, string, ...any) {}

func (l *pebbleLogger) IsTracingEnabled(context.Context) bool { return false }
