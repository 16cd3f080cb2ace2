package rpcerr

import (
	"errors"

	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// Settles tells whether err, the answer to one attempt at a request, also says what became of earlier attempts at it
// that were not answered: that none of them has taken effect, nor ever will. An attempt that is still on its way may be
// carried out after this answer was given, so a refusal settles only when its reason can not pass: that a key existed
// can (it may be deleted), that it had left a version can not, since versions never come back. request is the message
// that was sent, of package vipkvpb; for one that writes nothing there is nothing to settle.
func Settles(err error, request any) bool {
	switch r := request.(type) {
	case *vipkvpb.PutRequest:
		return settlesWrite(err, func(uint32) bool { return r.IfVersion != 0 })
	case *vipkvpb.DeleteRequest:
		return settlesWrite(err, func(uint32) bool { return r.IfVersion != 0 })
	case *vipkvpb.CommitRequest:
		return settlesWrite(err, func(index uint32) bool {
			return int(index) < len(r.Conditions) && r.Conditions[index].Version != 0
		})
	case *vipkvpb.AppendRequest:
		var conflict *StreamConflictError
		if errors.As(err, &conflict) {
			return r.ExpectLastSeq == nil || *r.ExpectLastSeq < conflict.LastSeq
		}
		return settlesWrite(err, nil)
	case *vipkvpb.TruncateRequest:
		return settlesWrite(err, nil)
	}
	return true
}

// settlesWrite judges what all writes have in common. forGood tells whether a condition that failed names a version.
// MultiRangeError is not among them: an attempt may have been carried out before the range was split.
func settlesWrite(err error, forGood func(index uint32) bool) bool {
	var e Error
	if !errors.As(err, &e) {
		return false
	}
	switch e := e.(type) {
	case *ConditionFailedError:
		return forGood != nil && forGood(e.Index)
	case *TooLargeError, *InvalidArgumentError, *RequestReusedError:
		return true
	}
	return false
}
