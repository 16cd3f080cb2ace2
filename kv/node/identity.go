package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/vipkv/vipkv/encryption"
	"github.com/vipkv/vipkv/placement"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/storage"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/raftstore/replica"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// ErrWrongKeyfile: the store was made with another keyfile.
var ErrWrongKeyfile = errors.New("the keyfile is not the one that this store was made with")

// bootstrapTime is the version of a new cluster's first records: below everything that an oracle
// hands out.
const bootstrapTime = proto.Timestamp(1 << proto.TimestampLogicalBits)

// checkKeyfile compares the keyfile with the one that the store was made with, and remembers it in
// a new one.
func checkKeyfile(e engine.Engine, k *encryption.Keyfile) error {
	key := keys.Store("keyfile")
	got, err := e.Get(key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		var b storage.Batch
		b.Set(key, []byte(k.Fingerprint()))
		if err := e.Commit(&b, true); err != nil {
			return fmt.Errorf("remember the keyfile: %w", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("read the keyfile's fingerprint: %w", err)
	case string(got) != k.Fingerprint():
		return fmt.Errorf("%w: start it with that one (its fingerprint is %s, this one's is %s)",
			ErrWrongKeyfile, got, k.Fingerprint())
	}
	return nil
}

// nextBoot counts the starts of the store, durably, before anything is sent under the new number.
func nextBoot(e engine.Engine) (uint64, error) {
	key := keys.Store("boot")
	v, err := e.Get(key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return 0, fmt.Errorf("read the boot epoch: %w", err)
	}
	boot := uint64(1)
	if len(v) == 8 {
		boot = binary.BigEndian.Uint64(v) + 1
	}
	var b storage.Batch
	b.Set(key, binary.BigEndian.AppendUint64(nil, boot))
	if err := e.Commit(&b, true); err != nil {
		return 0, fmt.Errorf("write the boot epoch: %w", err)
	}
	return boot, nil
}

// Bootstrap makes a new cluster of this store: the two first ranges with the driver's first
// records, then the identity. A crash before the identity leaves a store without one, and bootstrap
// is done again.
func Bootstrap(
	e engine.Engine, system *encryption.Domain, self *internalpb.NodeInfo,
) (engine.Identity, error) {
	id := engine.Identity{StoreID: 1, NodeID: 1}
	_, _ = rand.Read(id.ClusterID[:]) // never fails
	records, err := placement.BootstrapRecords(self)
	if err != nil {
		return id, err
	}
	var b storage.Batch
	for _, d := range placement.BootstrapDescriptors(1) {
		size := uint64(0)
		if proto.RangeID(d.RangeId) == proto.SystemRange {
			res, err := seal(e, system, d, records)
			if err != nil {
				return id, err
			}
			b.Append(res.Batch)
			size = uint64(res.DeltaBytes)
		}
		if err := replica.Bootstrap(&b, d, size); err != nil {
			return id, err
		}
	}
	if err := e.Commit(&b, true); err != nil {
		return id, fmt.Errorf("write the first ranges: %w", err)
	}
	return id, engine.WriteIdentity(e, id)
}

// seal evaluates the first records as one Commit on the system range.
func seal(
	e engine.Engine, system *encryption.Domain, d *internalpb.Descriptor, records []placement.KV,
) (*mvcc.Result, error) {
	req := &vipkvpb.CommitRequest{}
	for _, kv := range records {
		req.Mutations = append(req.Mutations, &vipkvpb.Mutation{Key: kv.Key, Value: kv.Value})
	}
	res, err := mvcc.Evaluate(&mvcc.Env{Reader: e, Sealer: domainSealer{system}, Tenant: proto.SystemTenant,
		Start: d.Start, End: d.End, Now: bootstrapTime, Draw: draw},
		&internalpb.ExecuteRequest{Request: &internalpb.ExecuteRequest_Commit{Commit: req}})
	if err != nil {
		return nil, fmt.Errorf("make the first records: %w", err)
	}
	return res, nil
}

// join asks a running cluster for an identity, until one of its nodes answers.
func (n *Node) join(
	ctx context.Context, self *internalpb.NodeInfo,
) (engine.Identity, error) {
	var resp *internalpb.JoinResponse
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		var err error
		resp, err = n.member.Join(attempt, self)
		cancel()
		if err == nil {
			break
		}
		if ctx.Err() != nil || attempt.Err() == nil {
			return engine.Identity{}, fmt.Errorf("join through %v: %w", n.cfg.Join, err)
		}
		n.log.Warn("no answer from the cluster yet; check --join, and that it runs with the same keyfile",
			"join", n.cfg.Join, "error", err)
	}
	id := engine.Identity{StoreID: proto.StoreID(resp.StoreId), NodeID: proto.NodeID(resp.NodeId)}
	if copy(id.ClusterID[:], resp.ClusterId) != len(id.ClusterID) {
		return engine.Identity{}, errors.New("join: the cluster answered without its id")
	}
	return id, engine.WriteIdentity(n.engine, id)
}
