package rpcerr

import (
	"google.golang.org/grpc/codes"

	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// Code implements Error.
func (e *NotLeaderError) Code() codes.Code { return codes.Unavailable }

// Code implements Error.
func (e *StaleEpochError) Code() codes.Code { return codes.Unavailable }

// Code implements Error.
func (e *ThrottledError) Code() codes.Code { return codes.ResourceExhausted }

// Code implements Error.
func (e *AmbiguousError) Code() codes.Code { return codes.Unknown }

// Code implements Error.
func (e *ConditionFailedError) Code() codes.Code { return codes.FailedPrecondition }

// Code implements Error.
func (e *TooLargeError) Code() codes.Code { return codes.InvalidArgument }

// Code implements Error.
func (e *IntegrityError) Code() codes.Code { return codes.DataLoss }

// Code implements Error.
func (e *StreamConflictError) Code() codes.Code { return codes.FailedPrecondition }

// Code implements Error.
func (e *RequestExpiredError) Code() codes.Code { return codes.FailedPrecondition }

// Code implements Error.
func (e *RequestReusedError) Code() codes.Code { return codes.InvalidArgument }

// Code implements Error.
func (e *KeyUnavailableError) Code() codes.Code { return codes.Unavailable }

// Code implements Error.
func (e *BelowFloorError) Code() codes.Code { return codes.OutOfRange }

// Code implements Error.
func (e *TailFullError) Code() codes.Code { return codes.ResourceExhausted }

// Code implements Error.
func (e *MultiRangeError) Code() codes.Code { return codes.Unimplemented }

// Code implements Error.
func (e *TenantStateError) Code() codes.Code { return codes.PermissionDenied }

// Code implements Error.
func (e *DiskFullError) Code() codes.Code { return codes.ResourceExhausted }

// Code implements Error.
func (e *InvalidArgumentError) Code() codes.Code { return codes.InvalidArgument }

// Detail implements Error.
func (e *NotLeaderError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_NotLeader{NotLeader: e.NotLeader}}
}

// Detail implements Error.
func (e *StaleEpochError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_StaleEpoch{StaleEpoch: e.StaleEpoch}}
}

// Detail implements Error.
func (e *ThrottledError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_Throttled{Throttled: e.Throttled}}
}

// Detail implements Error.
func (e *AmbiguousError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_Ambiguous{Ambiguous: e.Ambiguous}}
}

// Detail implements Error.
func (e *ConditionFailedError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_ConditionFailed{ConditionFailed: e.ConditionFailed}}
}

// Detail implements Error.
func (e *TooLargeError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_TooLarge{TooLarge: e.TooLarge}}
}

// Detail implements Error.
func (e *IntegrityError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_Integrity{Integrity: e.Integrity}}
}

// Detail implements Error.
func (e *StreamConflictError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_StreamConflict{StreamConflict: e.StreamConflict}}
}

// Detail implements Error.
func (e *RequestExpiredError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_RequestExpired{RequestExpired: e.RequestExpired}}
}

// Detail implements Error.
func (e *RequestReusedError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_RequestReused{RequestReused: e.RequestReused}}
}

// Detail implements Error.
func (e *KeyUnavailableError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_KeyUnavailable{KeyUnavailable: e.KeyUnavailable}}
}

// Detail implements Error.
func (e *BelowFloorError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_BelowFloor{BelowFloor: e.BelowFloor}}
}

// Detail implements Error.
func (e *TailFullError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_TailFull{TailFull: e.TailFull}}
}

// Detail implements Error.
func (e *MultiRangeError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_MultiRange{MultiRange: e.MultiRange}}
}

// Detail implements Error.
func (e *TenantStateError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_TenantState{TenantState: e.TenantState}}
}

// Detail implements Error.
func (e *DiskFullError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_DiskFull{DiskFull: e.DiskFull}}
}

// Detail implements Error.
func (e *InvalidArgumentError) Detail() *vipkvpb.ErrorDetail {
	return &vipkvpb.ErrorDetail{Kind: &vipkvpb.ErrorDetail_InvalidArgument{InvalidArgument: e.InvalidArgument}}
}

func fromDetail(d *vipkvpb.ErrorDetail) Error {
	switch k := d.Kind.(type) {
	case *vipkvpb.ErrorDetail_NotLeader:
		return &NotLeaderError{k.NotLeader}
	case *vipkvpb.ErrorDetail_StaleEpoch:
		return &StaleEpochError{k.StaleEpoch}
	case *vipkvpb.ErrorDetail_Throttled:
		return &ThrottledError{k.Throttled}
	case *vipkvpb.ErrorDetail_Ambiguous:
		return &AmbiguousError{k.Ambiguous}
	case *vipkvpb.ErrorDetail_ConditionFailed:
		return &ConditionFailedError{k.ConditionFailed}
	case *vipkvpb.ErrorDetail_TooLarge:
		return &TooLargeError{k.TooLarge}
	case *vipkvpb.ErrorDetail_Integrity:
		return &IntegrityError{k.Integrity}
	case *vipkvpb.ErrorDetail_StreamConflict:
		return &StreamConflictError{k.StreamConflict}
	case *vipkvpb.ErrorDetail_RequestExpired:
		return &RequestExpiredError{k.RequestExpired}
	case *vipkvpb.ErrorDetail_RequestReused:
		return &RequestReusedError{k.RequestReused}
	case *vipkvpb.ErrorDetail_KeyUnavailable:
		return &KeyUnavailableError{k.KeyUnavailable}
	case *vipkvpb.ErrorDetail_BelowFloor:
		return &BelowFloorError{k.BelowFloor}
	case *vipkvpb.ErrorDetail_TailFull:
		return &TailFullError{k.TailFull}
	case *vipkvpb.ErrorDetail_MultiRange:
		return &MultiRangeError{k.MultiRange}
	case *vipkvpb.ErrorDetail_TenantState:
		return &TenantStateError{k.TenantState}
	case *vipkvpb.ErrorDetail_DiskFull:
		return &DiskFullError{k.DiskFull}
	case *vipkvpb.ErrorDetail_InvalidArgument:
		return &InvalidArgumentError{k.InvalidArgument}
	}
	return nil
}
