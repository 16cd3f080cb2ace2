// Package engine is the ordered bytes of one store on one disk.
//
// What it is: an interface, Engine, with two implementations behind one conformance suite (package enginetest): Pebble
// on a directory, and a google/btree in memory, for the simulator, on a MemDisk: bytes with checksums that a crash can
// lose or tear, and a disk that can be full, fail and rot. It is the only package
// that imports Pebble; FS, InjectFS and NewCrashableMemFS pass on what others need of it.
//
// What it is not: it knows the order and the prefixes of keys (package keys) and nothing of ranges, logs or versions.
// It replicates nothing, admits nothing (callers look at Metrics) and retries nothing. It seals nothing: values arrive
// as ciphertext.
//
// The life of a write:
//
//  1. A worker gathers the appends and applies of its ranges in a storage.Batch and calls Commit, with sync when the
//     batch appends to a log.
//  2. Commit checks the keys and hands a Pebble batch to DB.Apply. Concurrent calls share a sync of the log.
//  3. Reads go through Get, NewIter or NewView. NextPrefix skips a key's other versions; IterOptions.MinTS and MaxTS
//     skip blocks by the block property of props.go.
//  4. A range snapshot arrives as tables that TableWriter made elsewhere, is written to files, synced, and given to
//     IngestAndExcise with the range's local records.
//
// Invariants:
//
//   - I1. After a crash the engine holds a prefix of all batches that includes each synced one and all before it.
//   - I2. A batch, and an ingest with its excise and local records, is seen and survives whole or not at all.
//   - I3. An ingest is durable when IngestAndExcise returns, and so is everything committed before the call. A batch
//     committed during the call, without sync, may be lost although the ingest survives.
//   - I4. A view or iterator sees one moment for ever: no later commit, no later excise. It pins the memtables (up
//     to 4) and files of that moment until it is closed.
//   - I5. The first write, sync, flush or compaction that fails, and any corruption met, is final: OnFatal is called
//     once, every call returns that error, nothing is acknowledged, and the disk stays as it was (see fence).
//   - I6. A bare key's block is never skipped by a time bound, and a tombstone is skipped only with what it hides.
//   - I7. A table holds sets only. In the table of an ingest's local records, range tombstones come first: equal
//     sequence numbers do not hide each other.
//   - I8. A directory with files of something else, of a newer format, or in use is refused and not changed.
//
// What is not detected: damage within the last 32 KiB of the write-ahead log looks like a torn end, so the batches
// after it are dropped; damage before that, in tables and in the manifest is ErrCorrupt.
//
// Who owns what: an Engine is safe for concurrent use, and Pebble runs its own goroutines from OpenPebble to Close.
// pebbleEngine.life is held by every call and excludes Close; swap is held while readers are made and excludes the
// atomic step of an ingest. An iterator or view belongs to one goroutine and is closed before the engine. MemDisk.mu
// guards everything in memory; there is no goroutine. OnFatal runs on any goroutine with locks held.
//
// How to test it: go test ./raftstore/engine/... runs both engines through enginetest.RunConformance and RunModel, the
// stories in testdata, a power loss and a fault at every file operation, and damage in the log. A change of any option
// that decides bytes on disk needs a new FormatVersion.
package engine
