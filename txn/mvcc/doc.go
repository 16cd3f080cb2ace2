// Package mvcc evaluates one command on one range: against a storage.Reader, to an answer and a storage.Batch. It is
// PURE.
//
// It is not a server of commands: order, latches, timestamps, leadership and replication are package txn's. It is no
// cipher: a Sealer is injected.
//
// The life of a command: Validate (limits), KindOf (what it needs), Spans (what it latches), Evaluate: eval.run
// dispatches to get, batchGet, scan (read.go, scan.go), change (Put, Delete and Commit: write.go), append (append.go),
// read, truncate, head (stream_read.go, rows.go). Writes gather in eval.batch through set and drop, which count
// DeltaBytes.
//
// # Replicated keys
//
//	tenant (4, big endian) | 'k' | key                            a plain key
//	tenant (4, big endian) | 's' | name, 0x00 -> 0x00 0xFF | 0x00 0x01 = P     the prefix of a stream
//	P | 'm' | seq (8, big endian)                                 a record
//	P | 'z' | 'c' | client id                                     client row: where a client id's record is
//	P | 'z' | 'h'                                                 head row
//	P | 'z' | 'k'                                                 secret of the stream, sealed: keys the digests below
//	P | 'z' | 'q' | commit timestamp (8, big endian)              queue row: a recorded answer, and what to evict
//	P | 'z' | 'r' | issued ms (8, big endian) | request id (16)   request row: empty; its version names the queue row
//
// The rows under P|'z' are the stream's tail block. A range is never split between the place of a stream's next record
// and the end of its tail block (AdjustSplitKey, SplitPoint).
//
// # Stored values
//
// A version lies at keys.Version(key, commit timestamp). Numbers are big endian.
//
//	offset  size  field
//	0       1     kind: 1 put, 2 tombstone, 3 record, 4 row, 5 rollback
//	1       1     flags: 1 expiry, 2 request id, 4 ahead; others are 0
//	2       8     start timestamp (of a command: its commit timestamp)
//	        8     flag 1: expiry, ms since 1970
//	        24    flag 2: request id (16), issued ms (8)
//	        4     flag 4: ahead, ms (I6)
//	        ...   put: envelope. tombstone: envelope if flag 2, else nothing. record: uvarint length of the client id,
//	              client id, envelope. row: payload. rollback: nothing
//
// The plaintext in an envelope is: 1 byte, the kind, with bit 7 set if a digest follows; the digest (8, the first bytes
// of a SHA-256 over the request) if flag 2; the value. So the kind can not be changed on the disk, and no hash of a
// value is stored in clear. Envelopes are bound to ValueMeta.
//
//	row      payload
//	head     last seq (8), floor (8), epoch (16), bytes of window rows (8), version of the newest append (8)
//	client   seq (8), digest of the body (8)
//	queue    'a' append or 't' truncate (1), 1 if there is a request id (1), request id (16), issued ms (8), first seq or
//	         floor (8), last seq (8), digest of the request (8), uvarint count, for each client id: uvarint length, bytes
//	request  nothing
//
// Digests in rows are HMAC-SHA-256 with the stream's secret, cut to 8 bytes. Of a tail row only the newest version is
// kept. Nothing in a tail block is sealed but the secret: stream names, client ids, sequence numbers and times are
// metadata that the envelope does not cover. Window rows are c, q and r rows; their bytes are engine keys and values.
//
// An intent lies at keys.Data(key): 0x11, kind (1 or 2), start timestamp (8), time to live in ms (8), expiry (8),
// uvarint length of the primary key, primary key, then the envelope of a put.
//
// # Streams over several ranges
//
// A stream's records may lie in several ranges; its tail block, and the place of its next record, are in one, the last.
// Append and Head go there (Route key: StreamTailKey). Read and Truncate begin there, and go on by ExecuteResponse's
// resume_key, which for these two is a sequence number in 8 bytes, big endian; empty means that it was all:
//
//   - Read, first command: answers the head and the records that this range has, as long as they are the next ones of
//     the page. resume_key: forward the first sequence number, reverse the exclusive upper end, that others have. Go on
//     with read_at = Continuation, after_seq and before_seq around what is left, never beyond the head of the first
//     answer, to the range with the next record's key. Such a command answers for the records of its range alone,
//     without a head.
//     A hole in what comes back means that a Truncate came between: what was read so far is a page with more = true.
//   - Read forward with after_seq > 0 and after_seq + 1 below the floor is a BelowFloorError. after_seq 0 begins at the
//     floor; a reverse read ends at the floor.
//   - Truncate, first command: moves the floor (and records the answer), then deletes up to 10,000 of its own records
//     below it. resume_key: the exclusive upper end of what is still to be deleted, here or in the ranges before. Go on
//     with read_at = Continuation and before_seq = resume_key, to the range that holds the key just before that
//     record's. A crash in between leaves records below the floor: never visible, deleted by the stream's next Truncate.
//
// ScanPlan, ReadPlan and TruncatePlan do this: send what Next says, hand the answers to Answer, until Next has no more.
//
// # Invariants
//
//	I1. Evaluate depends on Env and the command alone, Draw included, and changes neither the reader nor the command.
//	I2. A batch writes only keys of the env's tenant in the env's span; DeltaBytes is exactly what a recount would show.
//	I3. A new version's timestamp is above all versions of its key (ErrTimestampOrder).
//	I4. Sequence numbers of a stream are dense: head.last+1 is the next; [floor, last] are all there. A Read that finds
//	    one missing in the range of the tail fails as corruption.
//	I5. The place of the next record, and the whole tail block, are in one range.
//	I6. A version's ahead is at least (issued - commit ms) of every request id on its key in the window. So the version
//	    of an id is at or above issued - ahead of the newest version, and a first attempt looks at the newest only.
//	I7. What a request id, or a client id, did is remembered while it can be asked for: rows go when a window and the
//	    clocks' allowance (RequestAheadMillis) have passed since the commit, and an id that old is refused.
//
// To test: go test ./txn/mvcc ; models of plain keys and of streams, cut into ranges at random, with a recount after
// each command.
package mvcc
