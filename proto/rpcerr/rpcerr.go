// Package rpcerr is the one table of errors that a caller acts on: a Go type, its message on the wire
// (vipkvpb.ErrorDetail in the details of a gRPC status), and the status code, for each. Encode and Decode turn one into
// the other; TestRoundTrip walks the whole table.
//
// What is not in the table is an error that nobody can act on by program; it travels as a status with code Internal, or
// with the code of the context's end.
package rpcerr

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// Error is any error of the table.
type Error interface {
	error
	// Code is the gRPC status code under which it travels.
	Code() codes.Code
	// Detail is its form on the wire.
	Detail() *vipkvpb.ErrorDetail
}

type (
	// NotLeaderError: the node does not lead the range; nothing was done.
	NotLeaderError struct{ *vipkvpb.NotLeader }
	// StaleEpochError: the range has changed; nothing was done. It holds the ranges that are there now, when known.
	StaleEpochError struct{ *vipkvpb.StaleEpoch }
	// ThrottledError: a queue or limit is full; nothing was done.
	ThrottledError struct{ *vipkvpb.Throttled }
	// AmbiguousError: the write may or may not take effect. Sending it again with its request id tells.
	AmbiguousError struct{ *vipkvpb.Ambiguous }
	// ConditionFailedError: a condition did not hold; nothing was written.
	ConditionFailedError struct{ *vipkvpb.ConditionFailed }
	// TooLargeError: something is over a limit; nothing was done.
	TooLargeError struct{ *vipkvpb.TooLarge }
	// IntegrityError: a stored value does not authenticate. Never retried, never hidden.
	IntegrityError struct{ *vipkvpb.Integrity }
	// StreamConflictError: an append's expectation did not hold; nothing was written.
	StreamConflictError struct{ *vipkvpb.StreamConflict }
	// RequestExpiredError: the request id is older than the window; it was not executed by this call.
	RequestExpiredError struct{ *vipkvpb.RequestExpired }
	// RequestReusedError: the request id belongs to a request with another content.
	RequestReusedError struct{ *vipkvpb.RequestReused }
	// KeyUnavailableError: the tenant's data key can not be had now.
	KeyUnavailableError struct{ *vipkvpb.KeyUnavailable }
	// BelowFloorError: the records were truncated.
	BelowFloorError struct{ *vipkvpb.BelowFloor }
	// TailFullError: the stream's idempotency window is full; nothing was written.
	TailFullError struct{ *vipkvpb.TailFull }
	// MultiRangeError: a Commit's keys lie in more than one range.
	MultiRangeError struct{ *vipkvpb.MultiRange }
	// TenantStateError: the tenant is not active.
	TenantStateError struct{ *vipkvpb.TenantState }
	// DiskFullError: the leader's disk is full; nothing was written.
	DiskFullError struct{ *vipkvpb.DiskFull }
	// InvalidArgumentError: the request is malformed.
	InvalidArgumentError struct{ *vipkvpb.InvalidArgument }
)

func (e *NotLeaderError) Error() string {
	if e.LeaderEndpoint == "" {
		return fmt.Sprintf("range %d: no known leader", e.RangeId)
	}
	return fmt.Sprintf("range %d: led by %s", e.RangeId, e.LeaderEndpoint)
}

func (e *StaleEpochError) Error() string {
	return "the range was split or moved; look it up again"
}

func (e *ThrottledError) Error() string {
	return fmt.Sprintf("%s; try again in %d ms", e.Reason, e.RetryAfterMs)
}

func (e *AmbiguousError) Error() string {
	return "the outcome is not known: " + e.Reason + "; send it again with the same request id to learn it"
}

func (e *ConditionFailedError) Error() string {
	if e.ActualVersion == 0 {
		return fmt.Sprintf("condition %d failed: the key does not exist", e.Index)
	}
	return fmt.Sprintf("condition %d failed: the key is at version %d", e.Index, e.ActualVersion)
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s is too large: %d, the limit is %d", e.What, e.Size, e.Limit)
}

func (e *IntegrityError) Error() string {
	return "a stored value failed authentication: " + e.Reason
}

func (e *StreamConflictError) Error() string {
	return fmt.Sprintf("stream conflict: %s (last sequence number %d)", e.Reason, e.LastSeq)
}

func (e *RequestExpiredError) Error() string {
	return fmt.Sprintf("the request id is older than %d s; it was not executed", e.WindowMs/1000)
}

func (e *RequestReusedError) Error() string {
	return "the request id was used before by another request"
}

func (e *KeyUnavailableError) Error() string {
	return "the tenant's key is not available: " + e.Reason
}

func (e *BelowFloorError) Error() string {
	return fmt.Sprintf("the records were truncated; the first that can be read is %d", e.FloorSeq)
}

func (e *TailFullError) Error() string {
	return fmt.Sprintf("the stream's idempotency window is full (%d of %d bytes); try again in %d ms",
		e.Bytes, e.Limit, e.RetryAfterMs)
}

func (e *MultiRangeError) Error() string {
	return fmt.Sprintf("the keys lie in %d ranges; a Commit over several ranges is not there yet", e.Ranges)
}

func (e *TenantStateError) Error() string { return "the tenant is " + e.State }

func (e *DiskFullError) Error() string {
	return fmt.Sprintf("the disk of store %d is full; free space or add a node", e.StoreId)
}

func (e *InvalidArgumentError) Error() string { return e.Field + ": " + e.Reason }

// Throttled makes a ThrottledError.
func Throttled(reason string, after time.Duration) error {
	return &ThrottledError{&vipkvpb.Throttled{Reason: reason, RetryAfterMs: after.Milliseconds()}}
}

// Ambiguous makes an AmbiguousError.
func Ambiguous(reason string) error {
	return &AmbiguousError{&vipkvpb.Ambiguous{Reason: reason}}
}

// TooLarge makes a TooLargeError.
func TooLarge(what string, size, limit int) error {
	return &TooLargeError{&vipkvpb.TooLarge{What: what, Size: uint64(size), Limit: uint64(limit)}}
}

// Invalid makes an InvalidArgumentError.
func Invalid(field, reason string) error {
	return &InvalidArgumentError{&vipkvpb.InvalidArgument{Field: field, Reason: reason}}
}

// Integrity makes an IntegrityError.
func Integrity(reason string) error {
	return &IntegrityError{&vipkvpb.Integrity{Reason: reason}}
}

// Encode turns err into an error with a gRPC status. It is what a server returns.
func Encode(err error) error {
	if err == nil {
		return nil
	}
	var e Error
	if errors.As(err, &e) {
		s, detailErr := status.New(e.Code(), err.Error()).WithDetails(e.Detail())
		if detailErr != nil {
			return status.Error(codes.Internal, detailErr.Error())
		}
		return s.Err()
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	return status.Error(codes.Internal, err.Error())
}

// Decode turns what a gRPC call returned back into an error of the table, where it is one.
func Decode(err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	for _, d := range s.Details() {
		if detail, ok := d.(*vipkvpb.ErrorDetail); ok {
			if e := fromDetail(detail); e != nil {
				return e
			}
		}
	}
	return err
}
