package tenant

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/vipkv/vipkv/encryption"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/authz"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

const (
	evictionSample = 16
	throttleWait   = 200 * time.Millisecond // what a client waits when credentials can not be checked
)

// AuthConfig configures an Authenticator. KV and Pepper are required.
type AuthConfig struct {
	KV     SystemKV
	Pepper []byte           // encryption.Keyfile.Pepper
	Now    func() time.Time // default: time.Now

	// PositiveTTL is how long a credential that was found good is not looked up again: how late a revocation is seen.
	// Default: 5 seconds. NegativeTTL is the same for one that was not. Default: 1 second.
	PositiveTTL, NegativeTTL time.Duration
	// Grace is how long after its last good lookup a credential is accepted while the system range can not be read,
	// so that its failover fails nobody. Default: 30 seconds.
	Grace time.Duration
	// LookupTimeout bounds one lookup. Default: 3 seconds. A caller whose credential is in its grace waits GraceWait
	// at most. Default: 300 milliseconds.
	LookupTimeout, GraceWait time.Duration
	// EntriesMax is how many credentials are cached, of about 200 bytes. Default: 16,384.
	EntriesMax int
}

func (c AuthConfig) withDefaults() (AuthConfig, error) {
	if c.KV == nil || len(c.Pepper) != encryption.KeyLength {
		return c, fmt.Errorf("authenticator: KV and a Pepper of %d bytes are required",
			encryption.KeyLength)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.PositiveTTL, 5 * time.Second}, {&c.NegativeTTL, time.Second}, {&c.Grace, 30 * time.Second},
		{&c.LookupTimeout, 3 * time.Second}, {&c.GraceWait, 300 * time.Millisecond},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if c.Grace < c.PositiveTTL {
		return c, errors.New("authenticator: Grace must not be shorter than PositiveTTL")
	}
	if c.EntriesMax <= 0 {
		c.EntriesMax = 16384
	}
	return c, nil
}

// Authenticator tells who a credential belongs to. Safe for concurrent use.
type Authenticator struct {
	cfg    AuthConfig
	flight singleflight.Group

	mu struct { // never held across SystemKV (I5)
		sync.Mutex
		entries map[tokenSum]*answer
		tick    uint64
	}
}

// tokenSum is the SHA-256 of a whole credential: the cache holds no secrets.
type tokenSum [sha256.Size]byte

// answer is guarded by Authenticator.mu once it is in the cache.
type answer struct {
	principal authz.Principal
	err       error     // what a caller with this credential gets: not known, or tenant not active
	checked   time.Time // when the lookup began
	retry     time.Time // after a lookup that failed: not again before
	used      uint64
}

// NewAuthenticator makes one with an empty cache.
func NewAuthenticator(cfg AuthConfig) (*Authenticator, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	a := &Authenticator{cfg: cfg}
	a.mu.entries = make(map[tokenSum]*answer)
	return a, nil
}

// Authenticate tells who the bearer of a credential is; "Bearer " before it is allowed. Errors: *UnauthenticatedError,
// *rpcerr.TenantStateError, *rpcerr.ThrottledError when it can not be told now, or the end of ctx.
func (a *Authenticator) Authenticate(ctx context.Context, bearer string) (authz.Principal, error) {
	const scheme = "bearer "
	text := strings.TrimSpace(bearer)
	if len(text) > len(scheme) && strings.EqualFold(text[:len(scheme)], scheme) {
		text = strings.TrimSpace(text[len(scheme):])
	}
	c, err := ParseCredential(text)
	if err != nil {
		return authz.Principal{}, err
	}
	sum := tokenSum(sha256.Sum256([]byte(text)))
	old, fresh := a.cached(sum)
	if fresh {
		return old.principal, old.err
	}
	found, err := a.lookup(ctx, sum, c, old)
	if err == nil {
		return found.principal, found.err
	}
	if ctx.Err() != nil {
		return authz.Principal{}, ctx.Err()
	}
	if old != nil {
		return old.principal, old.err // good, and in its grace
	}
	// The cause is not wrapped: an error of the system range must not look like one of the caller's range.
	unknown := rpcerr.Throttled("credentials can not be checked now", throttleWait)
	return authz.Principal{}, fmt.Errorf("%w: %v", unknown, err)
}

// cached returns a copy of what is known. fresh: it is the answer. Otherwise it must be looked up, and old, when not
// nil, is good while that can not be done.
func (a *Authenticator) cached(sum tokenSum) (old *answer, fresh bool) {
	now := a.cfg.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.mu.entries[sum]
	if e == nil {
		return nil, false
	}
	a.mu.tick++
	e.used = a.mu.tick
	known, age := *e, now.Sub(e.checked)
	switch {
	case e.err != nil && age < a.cfg.NegativeTTL:
		return &known, true
	case e.err != nil:
		return nil, false
	case age < a.cfg.PositiveTTL:
		return &known, true
	case age < a.cfg.Grace:
		return &known, now.Before(e.retry)
	}
	return nil, false
}

// lookup asks the system range, once for all who wait. An error means that it did not answer.
func (a *Authenticator) lookup(
	ctx context.Context, sum tokenSum, c Credential, old *answer,
) (*answer, error) {
	result := a.flight.DoChan(string(sum[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.LookupTimeout)
		defer cancel()
		found, err := a.check(ctx, c)
		if err != nil {
			a.failed(sum)
			return nil, err
		}
		a.keep(sum, found)
		return found, nil
	})
	wait := ctx
	if old != nil {
		limited, cancel := context.WithTimeout(ctx, a.cfg.GraceWait)
		defer cancel()
		wait = limited
	}
	select {
	case <-wait.Done():
		return nil, wait.Err()
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*answer), nil
	}
}

// check reads the record and compares. For a key id that is not there it does the same work (I3).
func (a *Authenticator) check(ctx context.Context, c Credential) (*answer, error) {
	began := a.cfg.Now()
	record := new(internalpb.ApiKeyRecord)
	version, err := getRecord(ctx, a.cfg.KV, apiKeyKey(c.keyID), record)
	if err != nil {
		return nil, err
	}
	stored := record.Hmac
	if version == 0 {
		stored = make([]byte, sha256.Size)
	}
	if !hmac.Equal(stored, c.seal(a.cfg.Pepper)) {
		return &answer{err: wrong(), checked: began}, nil
	}
	role, err := authz.ParseRole(record.Role)
	if err != nil {
		return nil, err
	}
	id := proto.TenantID(record.Tenant)
	p, err := authz.NewPrincipal(id, role)
	if err != nil {
		return nil, err
	}
	if role == authz.RoleTenant {
		switch refused, err := a.tenantRefused(ctx, id); {
		case err != nil:
			return nil, err
		case refused != nil:
			return &answer{err: refused, checked: began}, nil
		}
	}
	return &answer{principal: p, checked: began}, nil
}

// tenantRefused is the answer to a good credential of a tenant that is not active.
func (a *Authenticator) tenantRefused(ctx context.Context, id proto.TenantID) (refused, err error) {
	record, err := byID(ctx, a.cfg.KV, id)
	var gone *NotFoundError
	switch {
	case errors.As(err, &gone):
		return wrong(), nil
	case err != nil:
		return nil, err
	}
	return checkState(record), nil
}

func (a *Authenticator) keep(sum tokenSum, found *answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.entries[sum] == nil && len(a.mu.entries) >= a.cfg.EntriesMax {
		a.evictLocked()
	}
	a.mu.tick++
	kept := *found
	kept.used = a.mu.tick
	a.mu.entries[sum] = &kept
}

// failed makes callers go on with what is known for a while.
func (a *Authenticator) failed(sum tokenSum) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.mu.entries[sum]; e != nil {
		e.retry = a.cfg.Now().Add(a.cfg.NegativeTTL)
	}
}

// evictLocked drops one of a sample of entries.
func (a *Authenticator) evictLocked() {
	var victim tokenSum
	var worst *answer
	sample := 0
	for sum, e := range a.mu.entries {
		if worst == nil || e.goesBefore(worst) {
			victim, worst = sum, e
		}
		if sample++; sample == evictionSample {
			break
		}
	}
	delete(a.mu.entries, victim)
}

// goesBefore: refusals go first, so that wrong credentials do not push out good ones; then the least recently used.
func (e *answer) goesBefore(other *answer) bool {
	if refused := e.err != nil; refused != (other.err != nil) {
		return refused
	}
	return e.used < other.used
}
