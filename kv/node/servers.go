package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/raftstore"
	"github.com/vipkv/vipkv/txn"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// raftServer takes what other stores send.
type raftServer struct {
	internalpb.UnimplementedRaftServer
	store *raftstore.Store
}

func (s *raftServer) Messages(stream internalpb.Raft_MessagesServer) error {
	for {
		b, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&internalpb.Empty{})
		}
		if err != nil {
			return err
		}
		s.store.Step(b.Messages)
	}
}

func (s *raftServer) Snapshot(stream internalpb.Raft_SnapshotServer) error {
	return s.store.ReceiveSnapshot(stream)
}

// rangesServer runs commands for gateways on other nodes.
type rangesServer struct {
	internalpb.UnimplementedRangesServer
	store    *raftstore.Calls
	executor *txn.Executor
}

func (s *rangesServer) Execute(
	ctx context.Context, req *internalpb.ExecuteRequest,
) (*internalpb.ExecuteResponse, error) {
	resp, err := s.executor.Execute(ctx, req)
	answering(req, err)
	return resp, rpcerr.Encode(err)
}

func (s *rangesServer) AdminRange(
	ctx context.Context, req *internalpb.AdminRangeRequest,
) (*internalpb.AdminRangeResponse, error) {
	resp, err := s.step(ctx, req)
	return resp, rpcerr.Encode(err)
}

// step carries out one step of an operator, on a range that this store leads.
func (s *rangesServer) step(
	ctx context.Context, req *internalpb.AdminRangeRequest,
) (*internalpb.AdminRangeResponse, error) {
	id := proto.RangeID(req.RangeId)
	switch k := req.Step.(type) {
	case *internalpb.AdminRangeRequest_Change:
		d, err := s.store.ChangeReplicas(ctx, id, req.Epoch, k.Change)
		if err != nil {
			return nil, err
		}
		return &internalpb.AdminRangeResponse{Desc: d}, nil
	case *internalpb.AdminRangeRequest_Transfer:
		if err := s.store.TransferLeader(ctx, id, proto.ReplicaID(k.Transfer.ToReplica)); err != nil {
			return nil, err
		}
	case *internalpb.AdminRangeRequest_Split:
		d, err := s.split(ctx, id, k.Split.Key)
		if err != nil {
			return nil, err
		}
		return &internalpb.AdminRangeResponse{Desc: d}, nil
	default:
		return nil, status.Error(codes.InvalidArgument, "an empty step")
	}
	st, ok := s.store.Status(id)
	if !ok {
		return nil, status.Error(codes.NotFound, "no replica of the range is here")
	}
	return &internalpb.AdminRangeResponse{Desc: st.Descriptor}, nil
}

// split splits a range at a key that somebody chose, which may lie where no range may be split. The
// answer is the descriptor of the left-hand side, or, when the range begins at the key already, of
// the range as it is.
func (s *rangesServer) split(
	ctx context.Context, id proto.RangeID, key []byte,
) (*internalpb.Descriptor, error) {
	d, _, err := s.store.Begin(id)
	if err != nil {
		return nil, err
	}
	if len(key) > 0 {
		if bytes.Compare(key, d.Start) < 0 || len(d.End) > 0 && bytes.Compare(key, d.End) >= 0 {
			return nil, &rpcerr.StaleEpochError{StaleEpoch: &vipkvpb.StaleEpoch{}}
		}
		view := s.store.NewView()
		key, err = mvcc.SplitPoint(view, key)
		if err := errors.Join(err, view.Close()); err != nil {
			return nil, err
		}
		if key == nil {
			return nil, status.Error(codes.FailedPrecondition, raftstore.ErrNoSplitKey.Error())
		}
		if bytes.Equal(key, d.Start) {
			return d, nil
		}
	}
	left, _, err := s.store.Split(ctx, id, key)
	if errors.Is(err, raftstore.ErrNoSplitKey) {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return left, err
}

// serverOptions are what both gRPC servers share: bounded streams, messages and headers, and pings
// from idle clients.
func serverOptions(messageMax int) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(messageMax), grpc.MaxSendMsgSize(messageMax * 4),
		grpc.MaxHeaderListSize(16 << 10), grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: 15 * time.Minute, Time: 20 * time.Second, Timeout: 5 * time.Second}),
		grpc.InitialWindowSize(1 << 20), grpc.InitialConnWindowSize(4 << 20),
	}
}
