package rpcerr_test

import (
	"errors"
	"testing"

	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

func TestSettles(t *testing.T) {
	failed := func(index uint32) error {
		return &rpcerr.ConditionFailedError{ConditionFailed: &vipkvpb.ConditionFailed{Index: index}}
	}
	conflict := &rpcerr.StreamConflictError{StreamConflict: &vipkvpb.StreamConflict{LastSeq: 5}}
	expect := func(seq uint64) *vipkvpb.AppendRequest { return &vipkvpb.AppendRequest{ExpectLastSeq: &seq} }
	conditions := &vipkvpb.CommitRequest{Conditions: []*vipkvpb.Condition{{Version: 3}, {Version: 0}}}
	for name, c := range map[string]struct {
		err     error
		request any
		want    bool
	}{
		"a version is gone for good":            {failed(0), conditions, true},
		"a key that exists may go":              {failed(1), conditions, false},
		"a condition that nobody made":          {failed(2), conditions, false},
		"a stream that is further":              {conflict, expect(4), true},
		"a stream that has yet to get there":    {conflict, expect(6), false},
		"another incarnation, another client's": {conflict, &vipkvpb.AppendRequest{}, true},
		"too large":                             {rpcerr.TooLarge("value", 2, 1), &vipkvpb.PutRequest{}, true},
		"several ranges by now":                 {&rpcerr.MultiRangeError{MultiRange: &vipkvpb.MultiRange{}}, conditions, false},
		"an error of no table":                  {errors.New("?"), &vipkvpb.TruncateRequest{}, false},
		"a read":                                {errors.New("?"), &vipkvpb.GetRequest{}, true},
	} {
		if got := rpcerr.Settles(c.err, c.request); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
