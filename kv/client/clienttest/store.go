package clienttest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"sort"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// store is the cluster's memory; guarded by Cluster.mu.
type store struct {
	tenants map[string]*tenant
	version uint64
	made    int // credentials
}

type tenant struct {
	pb          *vipkvpb.Tenant
	credentials []string
	keys        map[string]*vipkvpb.Item
	streams     map[string]*stream
	requests    map[string]request
}

type stream struct {
	epoch   []byte
	floor   uint64
	records []*vipkvpb.Record // records[i] has number i+1
}

// request is the recorded answer to a request id.
type request struct {
	content [32]byte
	answer  proto.Message
}

func newStore() store { return store{tenants: make(map[string]*tenant)} }

func (s *store) next() uint64 {
	s.version++
	return s.version
}

func (s *store) createTenant(name string) (*tenant, string, error) {
	if s.tenants[name] != nil {
		return nil, "", status.Errorf(codes.AlreadyExists, "tenant %q exists", name)
	}
	t := &tenant{
		pb:       &vipkvpb.Tenant{Id: uint32(len(s.tenants) + 1), Name: name, State: "active"},
		keys:     make(map[string]*vipkvpb.Item),
		streams:  make(map[string]*stream),
		requests: make(map[string]request),
	}
	s.tenants[name] = t
	return t, s.createCredential(t), nil
}

func (s *store) createCredential(t *tenant) string {
	s.made++
	credential := fmt.Sprintf("key-%d-of-%s", s.made, t.pb.Name)
	t.credentials = append(t.credentials, credential)
	t.pb.Credentials++
	return credential
}

// once answers a request id that is known with what is recorded, else carries f out and records its answer.
func once[T proto.Message](t *tenant, req interface {
	proto.Message
	GetRequestId() *vipkvpb.RequestId
}, f func() (T, error)) (answer T, duplicate bool, err error) {
	id := string(req.GetRequestId().GetId())
	if len(id) != 16 {
		return answer, false, rpcerr.Invalid("request_id", "is not 16 bytes")
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return answer, false, err
	}
	content := sha256.Sum256(b)
	if r, ok := t.requests[id]; ok {
		if r.content != content {
			return answer, false, &rpcerr.RequestReusedError{RequestReused: &vipkvpb.RequestReused{}}
		}
		return proto.Clone(r.answer).(T), true, nil
	}
	answer, err = f()
	if err == nil {
		t.requests[id] = request{content, proto.Clone(answer)}
	}
	return answer, false, err
}

func (t *tenant) versionOf(key []byte) uint64 { return t.keys[string(key)].GetVersion() }

func conditionFailed(index int, actual uint64) error {
	return &rpcerr.ConditionFailedError{ConditionFailed: &vipkvpb.ConditionFailed{
		Index: uint32(index), ActualVersion: actual}}
}

// span returns the items of [start, end) in key order.
func (t *tenant) span(start, end []byte) []*vipkvpb.Item {
	var out []*vipkvpb.Item
	for _, item := range t.keys {
		if bytes.Compare(item.Key, start) >= 0 && (len(end) == 0 || bytes.Compare(item.Key, end) < 0) {
			out = append(out, item)
		}
	}
	sort.Slice(out, func(i, j int) bool { return bytes.Compare(out[i].Key, out[j].Key) < 0 })
	return out
}

func (s *stream) head() *vipkvpb.HeadResponse {
	if s == nil {
		return &vipkvpb.HeadResponse{FloorSeq: 1}
	}
	n := uint64(len(s.records))
	return &vipkvpb.HeadResponse{
		Exists: true, LastSeq: n, FloorSeq: s.floor, Epoch: s.epoch, LastVersion: s.records[n-1].Version,
	}
}
