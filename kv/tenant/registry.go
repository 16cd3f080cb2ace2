package tenant

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vipkv/vipkv/encryption"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/authz"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

const (
	stateActive    = "active"
	nameLengthMax  = 63
	createAttempts = 16 // against other creators of tenants
)

// RegistryConfig configures a Registry. All fields are required, but Now.
type RegistryConfig struct {
	KV      SystemKV
	Service encryption.KeyService // wraps new tenants' KEKs
	Pepper  []byte                // encryption.Keyfile.Pepper
	Now     func() time.Time      // default: time.Now
}

// Registry creates and finds tenants and credentials. It has no state; safe for concurrent use.
type Registry struct{ cfg RegistryConfig }

// NewRegistry checks the configuration.
func NewRegistry(cfg RegistryConfig) (*Registry, error) {
	if cfg.KV == nil || cfg.Service == nil || len(cfg.Pepper) != encryption.KeyLength {
		return nil, fmt.Errorf("registry of tenants: KV, Service and a Pepper of %d bytes are required",
			encryption.KeyLength)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Registry{cfg: cfg}, nil
}

// CheckName tells whether a tenant may have the name: 1 to 63 of a-z 0-9 . _ -, first a letter or digit. The error is a
// *rpcerr.InvalidArgumentError.
func CheckName(name string) error {
	const first, rest = "abcdefghijklmnopqrstuvwxyz0123456789", "._-"
	if name == "" || len(name) > nameLengthMax || strings.IndexByte(first, name[0]) < 0 ||
		strings.Trim(name, first+rest) != "" {
		return rpcerr.Invalid("name", "must be 1 to 63 of a-z 0-9 . _ -, the first a letter or digit")
	}
	return nil
}

// Create makes a tenant with its keys and its first credential, or nothing. Errors: *AlreadyExistsError,
// *rpcerr.InvalidArgumentError, *rpcerr.ThrottledError when too many creators race, *rpcerr.AmbiguousError when nobody
// knows (then Get tells; the credential is lost and CreateCredential makes another), and those of the key service.
func (r *Registry) Create(
	ctx context.Context, name string,
) (*internalpb.TenantRecord, Credential, error) {
	if err := CheckName(name); err != nil {
		return nil, Credential{}, err
	}
	for range createAttempts {
		record, credential, err := r.tryCreate(ctx, name)
		switch index, failed := failedCondition(err); {
		case err == nil:
			return record, credential, nil
		case !failed:
			return nil, Credential{}, fmt.Errorf("create tenant %s: %w", name, err)
		case index == 0:
			return nil, Credential{}, &AlreadyExistsError{Name: name}
		}
	}
	return nil, Credential{}, rpcerr.Throttled("too many tenants are being created", time.Second)
}

// tryCreate fails with ConditionFailed at index 0 when the name is taken, at others when another creator was faster.
func (r *Registry) tryCreate(
	ctx context.Context, name string,
) (*internalpb.TenantRecord, Credential, error) {
	if _, _, taken, err := r.cfg.KV.Get(ctx, nameKey(name)); err != nil || taken {
		if taken {
			err = &rpcerr.ConditionFailedError{ConditionFailed: &vipkvpb.ConditionFailed{}}
		}
		return nil, Credential{}, err
	}
	alloc := &internalpb.AllocatorRecord{Next: 1}
	version, err := getRecord(ctx, r.cfg.KV, allocKey, alloc)
	if err != nil {
		return nil, Credential{}, err
	}
	id := proto.TenantID(alloc.Next)
	if alloc.Next == 0 || alloc.Next > uint64(authz.MaxTenant) {
		return nil, Credential{}, fmt.Errorf("the next tenant id would be %d", alloc.Next)
	}
	keys, err := encryption.NewTenantKeys(ctx, r.cfg.Service, id, r.cfg.Now())
	if err != nil {
		return nil, Credential{}, err
	}
	record := &internalpb.TenantRecord{
		Id: uint32(id), Name: name, State: stateActive, CreatedMs: r.cfg.Now().UnixMilli(), Keys: keys,
	}
	credential := newCredential()
	mutations, err := r.credentialMutations(credential, id, authz.RoleTenant)
	if err != nil {
		return nil, Credential{}, err
	}
	conditions := []Condition{
		{nameKey(name), 0}, {allocKey, version}, {idKey(id), 0}, {mutations[0].Key, 0},
	}
	more, err := tenantMutations(record)
	if err != nil {
		return nil, Credential{}, err
	}
	err = r.cfg.KV.Commit(ctx, conditions, append(mutations, more...))
	if err := r.settle(ctx, record, err); err != nil {
		return nil, Credential{}, err
	}
	return record, credential, nil
}

// tenantMutations writes a new tenant's records and takes its id.
func tenantMutations(record *internalpb.TenantRecord) ([]Mutation, error) {
	byID, err1 := set(idKey(proto.TenantID(record.Id)), record)
	ref := &internalpb.TenantRecord{Id: record.Id, Name: record.Name}
	byName, err2 := set(nameKey(record.Name), ref)
	alloc, err3 := set(allocKey, &internalpb.AllocatorRecord{Next: uint64(record.Id) + 1})
	return []Mutation{byID, byName, alloc}, errors.Join(err1, err2, err3)
}

// settle looks, after an ambiguous outcome, whether the record is there: its random domain id tells it from any other.
// When it is not there, it may still appear.
func (r *Registry) settle(ctx context.Context, record *internalpb.TenantRecord, err error) error {
	var ambiguous *rpcerr.AmbiguousError
	if !errors.As(err, &ambiguous) {
		return err
	}
	stored := new(internalpb.TenantRecord)
	_, readErr := getRecord(ctx, r.cfg.KV, idKey(proto.TenantID(record.Id)), stored)
	if readErr != nil || stored.GetKeys().GetDomainId() != record.Keys.DomainId {
		return err
	}
	return nil
}

func (r *Registry) credentialMutations(
	c Credential, t proto.TenantID, role authz.Role,
) ([]Mutation, error) {
	m, err := set(apiKeyKey(c.keyID), &internalpb.ApiKeyRecord{
		KeyId: c.keyID, Hmac: c.seal(r.cfg.Pepper), Tenant: uint32(t), Role: role.String(),
		CreatedMs: r.cfg.Now().UnixMilli(),
	})
	return []Mutation{m, {Key: credentialKey(t, c.keyID)}}, err
}

// Get finds a tenant by name, or *NotFoundError.
func (r *Registry) Get(ctx context.Context, name string) (*internalpb.TenantRecord, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	ref := new(internalpb.TenantRecord)
	version, err := getRecord(ctx, r.cfg.KV, nameKey(name), ref)
	if err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, &NotFoundError{What: fmt.Sprintf("tenant %q", name)}
	}
	return r.ByID(ctx, proto.TenantID(ref.Id))
}

// ByID finds a tenant by its id, or *NotFoundError.
func (r *Registry) ByID(ctx context.Context, id proto.TenantID) (*internalpb.TenantRecord, error) {
	return byID(ctx, r.cfg.KV, id)
}

func byID(ctx context.Context, kv SystemKV, id proto.TenantID) (*internalpb.TenantRecord, error) {
	record := new(internalpb.TenantRecord)
	version, err := getRecord(ctx, kv, idKey(id), record)
	if err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, &NotFoundError{What: fmt.Sprintf("tenant %d", id)}
	}
	return record, nil
}

// KeysOf reads a tenant's wrapped keys: the loader of an encryption.Keyring. A tenant that is not active has none
// (*rpcerr.TenantStateError).
func (r *Registry) KeysOf(ctx context.Context, id proto.TenantID) (*internalpb.TenantKeys, error) {
	record, err := r.ByID(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := checkState(record); err != nil {
		return nil, err
	}
	return record.Keys, nil
}

func checkState(record *internalpb.TenantRecord) error {
	if record.State == stateActive {
		return nil
	}
	return &rpcerr.TenantStateError{TenantState: &vipkvpb.TenantState{State: record.State}}
}

// List returns all tenants in the order of their ids.
func (r *Registry) List(ctx context.Context) ([]*internalpb.TenantRecord, error) {
	items, err := r.cfg.KV.Scan(ctx, idPrefix)
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	records := make([]*internalpb.TenantRecord, len(items))
	for i, item := range items {
		records[i] = new(internalpb.TenantRecord)
		if err := unmarshal(item, records[i]); err != nil {
			return nil, fmt.Errorf("list tenants: %w", err)
		}
	}
	return records, nil
}

// Credentials returns the key ids of a tenant's credentials; tenant 0: of the admin credentials.
func (r *Registry) Credentials(ctx context.Context, id proto.TenantID) ([]string, error) {
	items, err := r.cfg.KV.Scan(ctx, credentialsOf(id))
	if err != nil {
		return nil, fmt.Errorf("list credentials of tenant %d: %w", id, err)
	}
	keyIDs := make([]string, len(items))
	for i, item := range items {
		if _, keyIDs[i], err = parseCredentialKey(item.Key); err != nil {
			return nil, fmt.Errorf("list credentials of tenant %d: %w", id, err)
		}
	}
	return keyIDs, nil
}

// CredentialCounts returns how many credentials each tenant has.
func (r *Registry) CredentialCounts(ctx context.Context) (map[proto.TenantID]int, error) {
	items, err := r.cfg.KV.Scan(ctx, credentialPrefix)
	if err != nil {
		return nil, fmt.Errorf("count credentials: %w", err)
	}
	counts := make(map[proto.TenantID]int)
	for _, item := range items {
		id, _, err := parseCredentialKey(item.Key)
		if err != nil {
			return nil, fmt.Errorf("count credentials: %w", err)
		}
		counts[id]++
	}
	return counts, nil
}

// CreateCredential makes one more credential of the tenant. After an error that is not typed, or ambiguous, there may
// be one that nobody has seen; it is harmless.
func (r *Registry) CreateCredential(ctx context.Context, name string) (Credential, error) {
	record, err := r.Get(ctx, name)
	if err != nil {
		return Credential{}, err
	}
	if err := checkState(record); err != nil {
		return Credential{}, err
	}
	return r.addCredential(ctx, proto.TenantID(record.Id), authz.RoleTenant)
}

// BootstrapAdmin makes a credential with the role admin. Each call makes another one: who may call it has the keyfile.
func (r *Registry) BootstrapAdmin(ctx context.Context) (Credential, error) {
	return r.addCredential(ctx, proto.SystemTenant, authz.RoleAdmin)
}

// HasAdmin tells whether there is an admin credential.
func (r *Registry) HasAdmin(ctx context.Context) (bool, error) {
	keyIDs, err := r.Credentials(ctx, proto.SystemTenant)
	return len(keyIDs) > 0, err
}

func (r *Registry) addCredential(
	ctx context.Context, id proto.TenantID, role authz.Role,
) (Credential, error) {
	c := newCredential()
	mutations, err := r.credentialMutations(c, id, role)
	if err != nil {
		return Credential{}, err
	}
	if err := r.cfg.KV.Commit(ctx, []Condition{{mutations[0].Key, 0}}, mutations); err != nil {
		return Credential{}, fmt.Errorf("create credential of tenant %d: %w", id, err)
	}
	return c, nil
}

// RevokeCredential deletes a credential by its key id, or fails with *NotFoundError. It opens nothing any more within
// AuthConfig.PositiveTTL.
func (r *Registry) RevokeCredential(ctx context.Context, keyID string) error {
	record := new(internalpb.ApiKeyRecord)
	version, err := getRecord(ctx, r.cfg.KV, apiKeyKey(keyID), record)
	if err != nil {
		return err
	}
	if version == 0 {
		return &NotFoundError{What: "credential " + keyID}
	}
	err = r.cfg.KV.Commit(ctx, []Condition{{apiKeyKey(keyID), version}}, []Mutation{
		{Key: apiKeyKey(keyID), Delete: true},
		{Key: credentialKey(proto.TenantID(record.Tenant), keyID), Delete: true},
	})
	if _, failed := failedCondition(err); failed {
		// Somebody else revoked it: records of credentials are never changed.
		return &NotFoundError{What: "credential " + keyID}
	}
	if err != nil {
		return fmt.Errorf("revoke credential %s: %w", keyID, err)
	}
	return nil
}
