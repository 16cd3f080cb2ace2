package node

import (
	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/fault/point"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// answering passes the fault point between a command that was carried out and its answer. In a
// build without fault points nothing of it is left.
func answering(req *internalpb.ExecuteRequest, err error) {
	if !fault.Built || err != nil {
		return
	}
	switch req.Request.(type) {
	case *internalpb.ExecuteRequest_Put:
		point.Hit(point.AnswerPut)
	case *internalpb.ExecuteRequest_Append:
		point.Hit(point.AnswerAppend)
	}
}
