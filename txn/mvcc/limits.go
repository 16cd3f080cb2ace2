package mvcc

import (
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// The limits of a request. Sizes are in bytes, times in milliseconds.
const (
	MaxKeyBytes        = 4096
	MaxValueBytes      = 1 << 20
	MaxPageBytes       = 4 << 20 // of a Scan, Read or BatchGet answer: keys, client ids and values
	MaxRequestBytes    = 4 << 20 // of all keys and values of a Commit; of all records of an Append
	MaxCommitMutations = 100_000 // conditions count too
	MaxBatchKeys       = 1000
	MaxPageItems       = 10_000
	MaxAppendRecords   = 10_000
	MaxClientIDBytes   = 256
	MaxStreamNameBytes = 1024
	// TailBytesMax bounds the window rows of one stream: engine keys and values.
	TailBytesMax = 4 << 20
	// RequestWindowMillis is how long a request id, or a client id, is remembered.
	RequestWindowMillis = 10 * 60 * 1000
	// RequestAheadMillis is how far in the future a request id may have been issued.
	RequestAheadMillis = 60 * 1000

	defaultScanItems  = 1000
	defaultReadItems  = 100
	requestIDBytes    = 16
	maxScanVisits     = 1 << 16 // keys that one Scan command looks at
	maxTruncateSweep  = 10_000  // records that one Truncate command deletes
	rangeDeleteFrom   = 64      // as many deletes become one range delete
	evictRowsConstant = 16
	maxTTLMillis      = 100 * 366 * 24 * 3600 * 1000
)

// Continuation, as the read_at of a Read or Truncate command, marks the second and later commands of a ReadPlan or
// TruncatePlan: the range answers for its own records and looks at no head.
const Continuation = 1

// Validate checks all of a command that needs no stored state.
func Validate(req *internalpb.ExecuteRequest) error {
	switch r := req.GetRequest().(type) {
	case *internalpb.ExecuteRequest_Get:
		return validKey("key", r.Get.GetKey())
	case *internalpb.ExecuteRequest_BatchGet:
		return validBatchGet(r.BatchGet)
	case *internalpb.ExecuteRequest_Scan:
		return validScan(r.Scan)
	case *internalpb.ExecuteRequest_Put:
		return validPut(r.Put)
	case *internalpb.ExecuteRequest_Delete:
		if err := validKey("key", r.Delete.GetKey()); err != nil {
			return err
		}
		return validRequestID(r.Delete.GetRequestId())
	case *internalpb.ExecuteRequest_Commit:
		return validCommit(r.Commit)
	case *internalpb.ExecuteRequest_Append:
		return validAppend(r.Append)
	case *internalpb.ExecuteRequest_Read:
		return validRead(r.Read)
	case *internalpb.ExecuteRequest_Truncate:
		return validTruncate(r.Truncate)
	case *internalpb.ExecuteRequest_Head:
		return validStream(r.Head.GetStream())
	}
	return rpcerr.Invalid("request", "is missing")
}

func validKey(field string, key []byte) error {
	if len(key) == 0 {
		return rpcerr.Invalid(field, "must not be empty")
	}
	if len(key) > MaxKeyBytes {
		return rpcerr.TooLarge(field, len(key), MaxKeyBytes)
	}
	return nil
}

func validValue(value []byte) error {
	if len(value) > MaxValueBytes {
		return rpcerr.TooLarge("value", len(value), MaxValueBytes)
	}
	return nil
}

func validTTL(ttl int64) error {
	if ttl < 0 || ttl > maxTTLMillis {
		return rpcerr.Invalid("ttl_ms", "must be between 0 and 100 years")
	}
	return nil
}

func validRequestID(id *vipkvpb.RequestId) error {
	if id == nil {
		return nil
	}
	if len(id.Id) != requestIDBytes {
		return rpcerr.Invalid("request_id.id", "must be 16 bytes")
	}
	if id.IssuedMs <= 0 {
		return rpcerr.Invalid("request_id.issued_ms", "must be set")
	}
	return nil
}

func validBatchGet(r *vipkvpb.BatchGetRequest) error {
	if len(r.Keys) > MaxBatchKeys {
		return rpcerr.TooLarge("keys", len(r.Keys), MaxBatchKeys)
	}
	for _, k := range r.Keys {
		if err := validKey("keys", k); err != nil {
			return err
		}
	}
	return nil
}

// validScan allows bounds one byte longer than a key: a page resumes after a key by adding a zero byte.
func validScan(r *vipkvpb.ScanRequest) error {
	if n := max(len(r.Start), len(r.End)); n > MaxKeyBytes+1 {
		return rpcerr.TooLarge("key", n, MaxKeyBytes)
	}
	if r.Limit > MaxPageItems {
		return rpcerr.TooLarge("limit", int(r.Limit), MaxPageItems)
	}
	if r.MaxBytes > MaxPageBytes {
		return rpcerr.TooLarge("max_bytes", int(r.MaxBytes), MaxPageBytes)
	}
	return nil
}

func validPut(r *vipkvpb.PutRequest) error {
	if err := validKey("key", r.Key); err != nil {
		return err
	}
	if err := validValue(r.Value); err != nil {
		return err
	}
	if err := validTTL(r.TtlMs); err != nil {
		return err
	}
	if r.IfAbsent && r.IfVersion != 0 {
		return rpcerr.Invalid("if_version", "contradicts if_absent")
	}
	return validRequestID(r.RequestId)
}

func validCommit(r *vipkvpb.CommitRequest) error {
	if n := len(r.Mutations) + len(r.Conditions); n > MaxCommitMutations {
		return rpcerr.TooLarge("mutations", n, MaxCommitMutations)
	} else if n == 0 {
		return rpcerr.Invalid("mutations", "no condition and no mutation")
	}
	bytes := 0
	for _, c := range r.Conditions {
		if err := validKey("conditions.key", c.GetKey()); err != nil {
			return err
		}
		bytes += len(c.Key)
	}
	seen := make(map[string]struct{}, len(r.Mutations))
	for _, m := range r.Mutations {
		if err := validMutation(m); err != nil {
			return err
		}
		if _, ok := seen[string(m.Key)]; ok {
			return rpcerr.Invalid("mutations.key", "is there twice")
		}
		seen[string(m.Key)] = struct{}{}
		bytes += len(m.Key) + len(m.Value)
	}
	if bytes > MaxRequestBytes {
		return rpcerr.TooLarge("request", bytes, MaxRequestBytes)
	}
	return validRequestID(r.RequestId)
}

func validMutation(m *vipkvpb.Mutation) error {
	if err := validKey("mutations.key", m.GetKey()); err != nil {
		return err
	}
	if err := validValue(m.Value); err != nil {
		return err
	}
	if m.Delete && (len(m.Value) > 0 || m.TtlMs != 0) {
		return rpcerr.Invalid("mutations.delete", "comes with a value or a time to live")
	}
	return validTTL(m.TtlMs)
}

func validStream(name []byte) error {
	if len(name) == 0 {
		return rpcerr.Invalid("stream", "must not be empty")
	}
	if len(name) > MaxStreamNameBytes {
		return rpcerr.TooLarge("stream", len(name), MaxStreamNameBytes)
	}
	return nil
}

func validAppend(r *vipkvpb.AppendRequest) error {
	if err := validStream(r.Stream); err != nil {
		return err
	}
	if len(r.Records) == 0 {
		return rpcerr.Invalid("records", "must not be empty")
	}
	if len(r.Records) > MaxAppendRecords {
		return rpcerr.TooLarge("records", len(r.Records), MaxAppendRecords)
	}
	if n := len(r.ExpectEpoch); n != 0 && n != epochBytes {
		return rpcerr.Invalid("expect_epoch", "must be 16 bytes")
	}
	bytes := 0
	seen := make(map[string]struct{}, len(r.Records))
	for _, rec := range r.Records {
		id, body := rec.GetClientId(), rec.GetBody()
		if len(id) > MaxClientIDBytes {
			return rpcerr.TooLarge("records.client_id", len(id), MaxClientIDBytes)
		}
		if err := validValue(body); err != nil {
			return err
		}
		if _, ok := seen[id]; ok && id != "" {
			return rpcerr.Invalid("records.client_id", "is there twice")
		}
		seen[id] = struct{}{}
		bytes += len(id) + len(body)
	}
	if bytes > MaxRequestBytes {
		return rpcerr.TooLarge("request", bytes, MaxRequestBytes)
	}
	return validRequestID(r.RequestId)
}

func validRead(r *vipkvpb.ReadRequest) error {
	if err := validStream(r.Stream); err != nil {
		return err
	}
	if r.Limit > MaxPageItems {
		return rpcerr.TooLarge("limit", int(r.Limit), MaxPageItems)
	}
	if r.MaxBytes > MaxPageBytes {
		return rpcerr.TooLarge("max_bytes", int(r.MaxBytes), MaxPageBytes)
	}
	return nil
}

func validTruncate(r *vipkvpb.TruncateRequest) error {
	if err := validStream(r.Stream); err != nil {
		return err
	}
	if r.BeforeSeq == 0 {
		return rpcerr.Invalid("before_seq", "must be at least 1")
	}
	return validRequestID(r.RequestId)
}
