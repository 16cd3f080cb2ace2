package tenant

import (
	"context"
	"errors"
	"fmt"
	"strings"

	pb "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
)

// SystemKV is all that the registry needs from the store: the plain keys of tenant 0. Reads see every write that was
// acknowledged before they began. tenanttest has an in-memory one; every one passes tenanttest.RunSystemKV.
type SystemKV interface {
	// Get returns the value and its version, which is not 0. found is false when the key does not exist.
	Get(ctx context.Context, key string) (value []byte, version uint64, found bool, err error)
	// Scan returns all keys that start with prefix, which is not empty, in order, as of one moment.
	Scan(ctx context.Context, prefix string) ([]Item, error)
	// Commit checks all conditions and, if they hold, makes all mutations, at one moment. Otherwise nothing is written
	// and the error is a *rpcerr.ConditionFailedError with the index of a condition that does not hold. After a
	// *rpcerr.AmbiguousError nobody knows which of both.
	Commit(ctx context.Context, conditions []Condition, mutations []Mutation) error
}

// Item is what a Scan finds.
type Item struct {
	Key     string
	Value   []byte
	Version uint64
}

// Condition holds when the key is at the version; 0: when it does not exist.
type Condition struct {
	Key     string
	Version uint64
}

// Mutation sets or deletes a key. A Commit names no key twice.
type Mutation struct {
	Key    string
	Value  []byte
	Delete bool
}

const (
	idPrefix         = "tenant/id/"
	namePrefix       = "tenant/name/"
	credentialPrefix = "tenant/cred/"
	apiKeyPrefix     = "apikey/"
	allocKey         = "alloc/tenant"
)

func idKey(t proto.TenantID) string { return fmt.Sprintf("%s%010d", idPrefix, t) }

func nameKey(name string) string { return namePrefix + name }

func apiKeyKey(keyID string) string { return apiKeyPrefix + keyID }

func credentialsOf(t proto.TenantID) string { return fmt.Sprintf("%s%010d/", credentialPrefix, t) }

func credentialKey(t proto.TenantID, keyID string) string { return credentialsOf(t) + keyID }

// parseCredentialKey is the inverse of credentialKey.
func parseCredentialKey(key string) (t proto.TenantID, keyID string, err error) {
	id, keyID, ok := strings.Cut(strings.TrimPrefix(key, credentialPrefix), "/")
	if n, scanErr := fmt.Sscanf(id, "%d", &t); !ok || n != 1 || scanErr != nil {
		return 0, "", fmt.Errorf("%q is not the key of a credential", key)
	}
	return t, keyID, nil
}

// getRecord reads a record; version is 0 when there is none.
func getRecord(
	ctx context.Context, kv SystemKV, key string, into pb.Message,
) (version uint64, err error) {
	value, version, found, err := kv.Get(ctx, key)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", key, err)
	}
	if !found {
		return 0, nil
	}
	return version, unmarshal(Item{Key: key, Value: value}, into)
}

func unmarshal(item Item, into pb.Message) error {
	if err := pb.Unmarshal(item.Value, into); err != nil {
		return fmt.Errorf("read %s: %w", item.Key, err)
	}
	return nil
}

func set(key string, record pb.Message) (Mutation, error) {
	value, err := pb.Marshal(record)
	if err != nil {
		return Mutation{}, fmt.Errorf("write %s: %w", key, err)
	}
	return Mutation{Key: key, Value: value}, nil
}

// failedCondition tells which condition of a Commit failed.
func failedCondition(err error) (index int, ok bool) {
	var failed *rpcerr.ConditionFailedError
	if !errors.As(err, &failed) {
		return 0, false
	}
	return int(failed.Index), true
}
