package encryption

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	pb "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

const (
	graceFactor    = 10 // how much longer a failed load stands while old keys may be used
	evictionSample = 16
)

// KeyringConfig configures a Keyring.
type KeyringConfig struct {
	// Load reads a tenant's wrapped keys. An error that is a *rpcerr.TenantStateError is handed on as it is; any other
	// counts as "can not be reached". Required.
	Load func(ctx context.Context, tenant proto.TenantID) (*internalpb.TenantKeys, error)
	// Service unwraps them. Required.
	Service KeyService
	// System is the domain of tenant 0. Required.
	System *Domain
	// Domain holds the options of all domains. With Codec unset, they share a new one.
	Domain Options

	// Refresh is the age at which keys are loaded again in the background, Soft the age at which a caller waits for
	// that (and uses the old keys when the service can not be reached), Hard the age at which keys that could not be
	// loaded again are no longer used. Defaults: 10 minutes, 1 hour, 24 hours.
	Refresh, Soft, Hard time.Duration
	// Retry is how long the answer of a failed load stands; ten times as long when there are keys to go on with.
	// Default: 2 seconds.
	Retry time.Duration
	// LoadTimeout bounds one load with its unwrapping. Default: 5 seconds.
	LoadTimeout time.Duration
	// TenantsMax is how many tenants' keys are kept, up to about 30 KiB each for those in use. Default: 8,192.
	TenantsMax int
	// RefreshQueue is how many background refreshes may wait. When it is full a refresh is left to a later call.
	// Default: 256.
	RefreshQueue int
}

func (c KeyringConfig) withDefaults() (KeyringConfig, error) {
	if c.Load == nil || c.Service == nil || c.System == nil {
		return c, errors.New("keyring: Load, Service and System are required")
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.Refresh, 10 * time.Minute}, {&c.Soft, time.Hour}, {&c.Hard, 24 * time.Hour},
		{&c.Retry, 2 * time.Second}, {&c.LoadTimeout, 5 * time.Second},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if c.Refresh > c.Soft || c.Soft > c.Hard {
		return c, errors.New("keyring: Refresh <= Soft <= Hard must hold")
	}
	if c.TenantsMax <= 0 {
		c.TenantsMax = 8192
	}
	if c.RefreshQueue <= 0 {
		c.RefreshQueue = 256
	}
	o, err := c.Domain.withDefaults()
	c.Domain = o
	return c, err
}

// Keyring finds the Domain of a tenant. Safe for concurrent use.
type Keyring struct {
	cfg     KeyringConfig
	flight  singleflight.Group
	refresh chan proto.TenantID // full: dropped, the next call of the tenant offers it again

	mu struct { // never held across Load or the key service (I6)
		sync.Mutex
		closed  bool
		entries map[proto.TenantID]*keyringEntry
		tick    uint64
		drops   uint64 // grows with each Forget: a load that began before is not kept
	}
}

// keyringEntry is guarded by Keyring.mu.
type keyringEntry struct {
	domain *Domain // nil: the last load failed and there is nothing to use
	keys   *internalpb.TenantKeys
	loaded time.Time // when the load of domain began
	err    error     // of the last load
	retry  time.Time // until then err stands
	queued bool
	used   uint64
}

// NewKeyring makes an empty keyring.
func NewKeyring(cfg KeyringConfig) (*Keyring, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	k := &Keyring{cfg: cfg, refresh: make(chan proto.TenantID, cfg.RefreshQueue)}
	k.mu.entries = make(map[proto.TenantID]*keyringEntry)
	return k, nil
}

// Run loads keys again before callers have to wait for it, until ctx ends. Without it callers wait once an hour.
func (k *Keyring) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case tenant := <-k.refresh:
			// The outcome is in the entry, where the tenant's next call finds it.
			_, _ = k.load(ctx, tenant)
		}
	}
}

// Domain returns the tenant's domain. It waits, for at most LoadTimeout, when the keys are not there or too old. Errors
// are *rpcerr.KeyUnavailableError, *rpcerr.TenantStateError, or the end of ctx.
func (k *Keyring) Domain(ctx context.Context, tenant proto.TenantID) (*Domain, error) {
	if tenant == proto.SystemTenant {
		return k.cfg.System, nil
	}
	d, err, wait := k.cached(tenant)
	if !wait {
		return d, err
	}
	loaded, err := k.load(ctx, tenant)
	if err != nil && d != nil && !isRevoked(err) && ctx.Err() == nil {
		return d, nil
	}
	return loaded, err
}

// Reload loads the tenant's keys though they are not old: another node may have made a new DEK
// (IntegrityError.UnknownDEK). A tenant's keys are loaded again at most once per KeyringConfig.Retry; in between it
// returns what is there.
func (k *Keyring) Reload(ctx context.Context, tenant proto.TenantID) (*Domain, error) {
	k.mu.Lock()
	e := k.mu.entries[tenant]
	recent := e != nil && e.domain != nil && k.cfg.Domain.Now().Sub(e.loaded) < k.cfg.Retry
	k.mu.Unlock()
	if recent || tenant == proto.SystemTenant {
		return k.Domain(ctx, tenant)
	}
	return k.load(ctx, tenant)
}

// Forget clears the tenant's keys at once. The next call loads them again, if that is still allowed.
func (k *Keyring) Forget(tenant proto.TenantID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.drops++
	if e := k.mu.entries[tenant]; e != nil && e.domain != nil {
		e.domain.Close()
	}
	delete(k.mu.entries, tenant)
}

// Close clears all keys but the system domain's. Domain fails from then on.
func (k *Keyring) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.closed = true
	for tenant, e := range k.mu.entries {
		if e.domain != nil {
			e.domain.Close()
		}
		delete(k.mu.entries, tenant)
	}
}

// cached answers from the entry. wait says that the keys must be loaded; d is then what may be used if that fails.
func (k *Keyring) cached(tenant proto.TenantID) (d *Domain, err error, wait bool) {
	now := k.cfg.Domain.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.closed {
		return nil, closedError(), false
	}
	e := k.mu.entries[tenant]
	if e == nil {
		return nil, nil, true
	}
	k.mu.tick++
	e.used = k.mu.tick
	if e.domain != nil && now.Sub(e.loaded) >= k.cfg.Hard {
		e.domain.Close()
		e.domain, e.keys = nil, nil
	}
	switch failing := now.Before(e.retry); {
	case e.domain == nil:
		return nil, e.err, !failing
	case now.Sub(e.loaded) >= k.cfg.Soft && !failing:
		e.retry = now.Add(k.cfg.LoadTimeout) // one caller waits; the others use what is there
		return e.domain, nil, true
	case now.Sub(e.loaded) >= k.cfg.Refresh && !failing && !e.queued:
		select {
		case k.refresh <- tenant:
			e.queued = true
		default:
		}
	}
	return e.domain, nil, false
}

// load reads and unwraps the keys once for all who wait. It is not ended by the end of one caller's ctx.
func (k *Keyring) load(ctx context.Context, tenant proto.TenantID) (*Domain, error) {
	answer := k.flight.DoChan(strconv.FormatUint(uint64(tenant), 10), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.cfg.LoadTimeout)
		defer cancel()
		return k.fetch(ctx, tenant)
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-answer:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*Domain), nil
	}
}

func (k *Keyring) fetch(ctx context.Context, tenant proto.TenantID) (*Domain, error) {
	began := k.cfg.Domain.Now()
	k.mu.Lock()
	drops := k.mu.drops
	k.mu.Unlock()
	keys, err := k.cfg.Load(ctx, tenant)
	if err != nil {
		return nil, k.failed(tenant, loadError(err))
	}
	d, err := Unlock(ctx, k.cfg.Service, keys, k.cfg.Domain)
	if err != nil {
		return nil, k.failed(tenant, serviceError(err))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.closed {
		d.Close()
		return nil, closedError()
	}
	if k.mu.drops != drops {
		return d, nil // good for those who wait, but what it was loaded from may be older than the Forget
	}
	e := k.entryLocked(tenant)
	if e.domain != nil && pb.Equal(e.keys, keys) {
		d.Close()
		d = e.domain // its subkeys are warm
	}
	// A domain that is replaced is not closed: callers may be using it. It is cleared when they are done.
	*e = keyringEntry{domain: d, keys: keys, loaded: began, used: e.used}
	return d, nil
}

// failed records the outcome of a load that failed and returns it.
func (k *Keyring) failed(tenant proto.TenantID, err error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.closed {
		return closedError()
	}
	e := k.entryLocked(tenant)
	if e.domain != nil && isRevoked(err) { // I7
		e.domain.Close()
		e.domain, e.keys = nil, nil
	}
	pause := k.cfg.Retry
	if e.domain != nil {
		pause *= graceFactor
	}
	e.err, e.retry, e.queued = err, k.cfg.Domain.Now().Add(pause), false
	return err
}

// entryLocked finds or makes the entry, for which another one goes when there are too many.
func (k *Keyring) entryLocked(tenant proto.TenantID) *keyringEntry {
	if e := k.mu.entries[tenant]; e != nil {
		return e
	}
	if len(k.mu.entries) >= k.cfg.TenantsMax {
		k.evictLocked()
	}
	k.mu.tick++
	e := &keyringEntry{used: k.mu.tick}
	k.mu.entries[tenant] = e
	return e
}

// evictLocked drops the least recently used of a sample of entries. It is not closed: callers may be using it.
func (k *Keyring) evictLocked() {
	var oldest proto.TenantID
	sample := 0
	for t, e := range k.mu.entries {
		if oldest == 0 || e.used < k.mu.entries[oldest].used {
			oldest = t
		}
		if sample++; sample == evictionSample {
			break
		}
	}
	delete(k.mu.entries, oldest)
}

// isRevoked tells the errors after which old keys must not be used any more.
func isRevoked(err error) bool {
	var unavailable *rpcerr.KeyUnavailableError
	var state *rpcerr.TenantStateError
	return errors.As(err, &unavailable) && unavailable.Revoked || errors.As(err, &state)
}

// loadError gives an error of the loader its form. KeyUnavailable comes first, so that an error of the system range
// (not leader, throttled) does not reach a client as one of its own range.
func loadError(err error) error {
	var state *rpcerr.TenantStateError
	if errors.As(err, &state) {
		return fmt.Errorf("load keys: %w", err)
	}
	return fmt.Errorf("%w: %w", keyUnavailable("the tenant's record can not be read now", false), err)
}

func serviceError(err error) error {
	switch {
	case errors.Is(err, ErrDenied):
		return fmt.Errorf("%w: %w", keyUnavailable("the key service denies its use", true), err)
	case errors.Is(err, ErrBadBlob):
		return fmt.Errorf("%w: %w", keyUnavailable("the stored key does not open", false), err)
	default:
		return fmt.Errorf("%w: %w", keyUnavailable("the key service can not be reached", false), err)
	}
}
