package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/vipkv/vipkv/encryption"
	"github.com/vipkv/vipkv/placement/tso"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/fault"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/raftstore"
	"github.com/vipkv/vipkv/txn"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// replication is raftstore as txn sees it.
type replication struct{ store *raftstore.Calls }

// fenceKey carries, in a context, the term in which a command on the system range must be
// evaluated.
type fenceKey struct{}

// fenced returns a context under which commands on the system range are refused in any other term.
func fenced(ctx context.Context, term uint64) context.Context {
	return context.WithValue(ctx, fenceKey{}, term)
}

// Begin implements txn.Engine.
func (r replication) Begin(ctx context.Context, id proto.RangeID) (txn.Evaluation, error) {
	d, term, err := r.store.Begin(id)
	if err != nil {
		return txn.Evaluation{}, err
	}
	if want, ok := ctx.Value(fenceKey{}).(uint64); ok && want != term {
		return txn.Evaluation{}, &rpcerr.NotLeaderError{NotLeader: &vipkvpb.NotLeader{RangeId: uint64(id)}}
	}
	return txn.Evaluation{Descriptor: d, Term: term}, nil
}

// NewView implements txn.Engine.
func (r replication) NewView() storage.View { return r.store.NewView() }

// Confirm implements txn.Engine.
func (r replication) Confirm(ctx context.Context, id proto.RangeID, term uint64) error {
	return r.store.Confirm(ctx, id, term)
}

// Propose implements txn.Engine.
func (r replication) Propose(ctx context.Context, id proto.RangeID, cmd *internalpb.Command) error {
	return r.store.Propose(ctx, id, cmd)
}

// oracle is the batcher as txn sees it.
type oracle struct{ batcher *tso.Batcher }

// Timestamp implements txn.Oracle.
func (o oracle) Timestamp(ctx context.Context) (proto.Timestamp, error) {
	ts, err := o.batcher.Timestamp(ctx)
	if errors.Is(err, tso.ErrBatcherStopped) {
		err = fmt.Errorf("%w: %w", txn.ErrStopping, err)
	}
	return ts, err
}

// sealers gives every tenant the sealer of its domain.
type sealers struct {
	system  *encryption.Domain
	keyring *encryption.Keyring
}

func (s *sealers) forTenant(ctx context.Context, t proto.TenantID) (mvcc.Sealer, error) {
	if t == proto.SystemTenant {
		return domainSealer{s.system}, nil
	}
	d, err := s.keyring.Domain(ctx, t)
	if err != nil {
		return nil, err
	}
	return domainSealer{d}, nil
}

// domainSealer is a tenant's domain as mvcc sees it.
type domainSealer struct{ domain *encryption.Domain }

// SealerOf is the sealer of a domain.
func SealerOf(d *encryption.Domain) mvcc.Sealer { return domainSealer{d} }

// metaOf leaves the tenant's id out of the key: the envelope is bound to the tenant by its domain,
// so that a tenant can be restored under another id.
func metaOf(m mvcc.ValueMeta) encryption.Meta {
	return encryption.Meta{Key: m.Key[len(mvcc.TenantPrefix(0)):], ExpiryMillis: m.ExpiryMillis, Start: uint64(m.Start)}
}

// Seal implements mvcc.Sealer.
func (s domainSealer) Seal(dst []byte, m mvcc.ValueMeta, plaintext []byte) ([]byte, error) {
	if fault.On(fault.SealNothing) {
		return append(dst, plaintext...), nil
	}
	return s.domain.Seal(dst, metaOf(m), plaintext)
}

// Open implements mvcc.Sealer.
func (s domainSealer) Open(dst []byte, m mvcc.ValueMeta, envelope []byte) ([]byte, error) {
	if fault.On(fault.SealNothing) {
		return append(dst, envelope...), nil
	}
	return s.domain.Open(dst, metaOf(m), envelope)
}

func draw(b []byte) { _, _ = rand.Read(b) } // never fails

// systemRange reads and writes plain keys of the system tenant on this node, which must lead the
// system range in the term of the context's fence.
type systemRange struct {
	executor *txn.Executor
	store    *raftstore.Calls
}

func (s *systemRange) request() *internalpb.ExecuteRequest {
	req := &internalpb.ExecuteRequest{Tenant: uint32(proto.SystemTenant), RangeId: uint64(proto.SystemRange)}
	if st, ok := s.store.Status(proto.SystemRange); ok && st.Descriptor != nil {
		req.EpochVersion = st.Descriptor.Epoch.Version
	}
	return req
}

func (s *systemRange) get(ctx context.Context, key string) ([]byte, error) {
	req := s.request()
	req.Request = &internalpb.ExecuteRequest_Get{Get: &vipkvpb.GetRequest{Key: []byte(key)}}
	resp, err := s.executor.Execute(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return resp.GetGet().GetValue(), nil
}

// putAt writes under a given timestamp: the oracle saves its own bound that way.
func (s *systemRange) putAt(
	ctx context.Context, key string, value []byte, at proto.Timestamp,
) error {
	req := s.request()
	req.Request = &internalpb.ExecuteRequest_Put{Put: &vipkvpb.PutRequest{Key: []byte(key), Value: value}}
	if _, err := s.executor.ExecuteAt(ctx, req, at); err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

func (s *systemRange) commit(ctx context.Context, mutations []*vipkvpb.Mutation) error {
	req := s.request()
	req.Request = &internalpb.ExecuteRequest_Commit{Commit: &vipkvpb.CommitRequest{Mutations: mutations}}
	if _, err := s.executor.Execute(ctx, req); err != nil {
		return fmt.Errorf("write %d records: %w", len(mutations), err)
	}
	return nil
}

// scan reads all keys with a prefix, page after page, at one timestamp.
func (s *systemRange) scan(ctx context.Context, prefix string) (items []*vipkvpb.Item, err error) {
	start, end := []byte(prefix), []byte(prefix)
	end = append(end[:len(end)-1:len(end)-1], end[len(end)-1]+1) // prefixes end with a slash
	at := uint64(0)
	for {
		req := s.request()
		req.ReadAt = at
		req.Request = &internalpb.ExecuteRequest_Scan{Scan: &vipkvpb.ScanRequest{Start: start, End: end}}
		resp, err := s.executor.Execute(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("scan %s: %w", prefix, err)
		}
		items = append(items, resp.GetScan().Items...)
		at = resp.GetScan().At
		if len(resp.ResumeKey) == 0 {
			return items, nil
		}
		start = resp.ResumeKey
	}
}
