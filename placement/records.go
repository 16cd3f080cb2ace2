package placement

import (
	"encoding/binary"
	"fmt"

	gproto "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

// Keys of the driver's records: plain keys of tenant 0, values are messages of records.proto.
const (
	nodePrefix   = "node/"
	rangePrefix  = "range/"
	allocatorKey = "alloc/ids"

	// OracleKey is the key of the oracle's OracleRecord, which whoever implements tso.Saver keeps.
	OracleKey = "oracle"
)

func nodeKey(id proto.NodeID) []byte { return fmt.Appendf(nil, nodePrefix+"%020d", id) }

func rangeKey(id proto.RangeID) []byte { return fmt.Appendf(nil, rangePrefix+"%020d", id) }

func marshal(m gproto.Message) ([]byte, error) {
	return gproto.MarshalOptions{Deterministic: true}.Marshal(m)
}

func record(key []byte, m gproto.Message) (KV, error) {
	v, err := marshal(m)
	if err != nil {
		return KV{}, fmt.Errorf("record %q: %w", key, err)
	}
	return KV{Key: key, Value: v}, nil
}

// BootstrapDescriptors are the two ranges of a new cluster, each with one voter on the first store: the system range
// has the span of tenant 0, the first user range everything else.
func BootstrapDescriptors(store proto.StoreID) []*internalpb.Descriptor {
	border := binary.BigEndian.AppendUint32(nil, uint32(proto.SystemTenant)+1)
	descriptor := func(id proto.RangeID, start, end []byte) *internalpb.Descriptor {
		return &internalpb.Descriptor{
			RangeId: uint64(id), Start: start, End: end, Epoch: &internalpb.Epoch{Version: 1, Conf: 1},
			Replicas:      []*internalpb.Replica{{StoreId: uint64(store), ReplicaId: 1}},
			NextReplicaId: 2,
		}
	}
	return []*internalpb.Descriptor{
		descriptor(proto.SystemRange, nil, border), descriptor(proto.FirstUserRange, border, nil),
	}
}

// BootstrapRecords are the driver's first records, sorted by key, for the first batch of a new cluster's system range:
// the first node (node 1, store 1; ids in info are ignored), the two ranges, and the allocator of ids.
func BootstrapRecords(info *internalpb.NodeInfo) ([]KV, error) {
	first := gproto.Clone(info).(*internalpb.NodeInfo)
	first.NodeId = 1
	records := []struct {
		key []byte
		msg gproto.Message
	}{
		{[]byte(allocatorKey), &internalpb.AllocatorRecord{Next: uint64(proto.FirstUserRange) + 1}},
		{nodeKey(1), &internalpb.NodeRecord{Node: first, StoreId: 1}},
	}
	for _, d := range BootstrapDescriptors(1) {
		records = append(records, struct {
			key []byte
			msg gproto.Message
		}{rangeKey(proto.RangeID(d.RangeId)), &internalpb.RangeRecord{Desc: d}})
	}
	out := make([]KV, 0, len(records))
	for _, r := range records {
		kv, err := record(r.key, r.msg)
		if err != nil {
			return nil, err
		}
		out = append(out, kv)
	}
	return out, nil
}
