package raftstore

import (
	"context"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// Campaigner is campaigner.
func (s *Calls) Campaigner(
	ctx context.Context, d *internalpb.Descriptor, right proto.RangeID,
) proto.ReplicaID {
	return s.campaigner(ctx, d, right)
}
