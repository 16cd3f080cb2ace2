package encryption

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// world is a loader and a key service that a test switches off, and a clock that it moves.
type world struct {
	*Keyfile
	ring *Keyring

	mu      sync.Mutex
	now     time.Time
	records map[proto.TenantID]*internalpb.TenantKeys
	loadErr error
	keyErr  error
	loads   atomic.Int32
	gate    chan struct{} // when not nil, a load waits for it
}

func newWorld(t testing.TB, tenants int, change func(*KeyringConfig)) *world {
	t.Helper()
	w := &world{
		Keyfile: loadKeyfile(t, keyfileOf("k1", 1)), now: time.Unix(1e9, 0),
		records: make(map[proto.TenantID]*internalpb.TenantKeys),
	}
	for i := range tenants {
		w.records[proto.TenantID(i+1)] = newTestTenantKeys(t, w.Keyfile)
	}
	system, err := SystemDomain(w.Keyfile, Options{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := KeyringConfig{Load: w.load, Service: w, System: system, Domain: Options{Now: w.clock}}
	if change != nil {
		change(&cfg)
	}
	w.ring, err = NewKeyring(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) load(ctx context.Context, tenant proto.TenantID) (*internalpb.TenantKeys, error) {
	w.loads.Add(1)
	if w.gate != nil {
		select {
		case <-w.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.loadErr != nil {
		return nil, w.loadErr
	}
	return pb.CloneOf(w.records[tenant]), nil
}

// Unwrap is the keyfile's, unless the test says otherwise.
func (w *world) Unwrap(ctx context.Context, ref string, b Wrapped, ec map[string]string) ([]byte, error) {
	w.mu.Lock()
	err := w.keyErr
	w.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("test: %w", err)
	}
	return w.Keyfile.Unwrap(ctx, ref, b, ec)
}

func (w *world) set(after time.Duration, keyErr, loadErr error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now, w.keyErr, w.loadErr = w.now.Add(after), keyErr, loadErr
}

// The table of what works while the key service does not (doc.go, I7). Each row is one tenant's life: keys loaded, then
// the service fails and time passes.
func TestKeyringOutage(t *testing.T) {
	for _, c := range []struct {
		what            string
		keyErr, loadErr error
		after           time.Duration
		works, revoked  bool
	}{
		{"fresh", ErrUnreachable, nil, time.Minute, true, false},
		{"to be refreshed", ErrUnreachable, nil, 11 * time.Minute, true, false},
		{"soft", ErrUnreachable, nil, 2 * time.Hour, true, false},
		{"soft, blob", ErrBadBlob, nil, 2 * time.Hour, true, false},
		{"soft, record", nil, errors.New("no leader"), 2 * time.Hour, true, false},
		{"hard", ErrUnreachable, nil, 24 * time.Hour, false, false},
		{"hard, record", nil, errors.New("no leader"), 25 * time.Hour, false, false},
		{"denied", ErrDenied, nil, 2 * time.Hour, false, true},
		{"denied, hard", ErrDenied, nil, 25 * time.Hour, false, true},
	} {
		w := newWorld(t, 2, nil)
		if _, err := w.ring.Domain(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		w.set(c.after, c.keyErr, c.loadErr)
		_, err := w.ring.Domain(t.Context(), 1)
		var unavailable *rpcerr.KeyUnavailableError
		if (err == nil) != c.works || err != nil && (!errors.As(err, &unavailable) || unavailable.Revoked != c.revoked) {
			t.Errorf("%s: %v", c.what, err)
		}
		_, err = w.ring.Domain(t.Context(), 2) // never loaded before
		if errors.As(err, &unavailable); err == nil {
			t.Errorf("%s: keys of a cold tenant were found", c.what)
		}
		if _, err := w.ring.Domain(t.Context(), proto.SystemTenant); err != nil {
			t.Errorf("%s: system: %v", c.what, err)
		}
		w.set(time.Minute, nil, nil)
		if _, err := w.ring.Domain(t.Context(), 1); err != nil {
			t.Errorf("%s: after the outage: %v", c.what, err)
		}
	}
}

// A key that is denied at a refresh is cleared at once, also for those who hold the domain.
func TestKeyringDeniedClears(t *testing.T) {
	w := newWorld(t, 1, nil)
	d, err := w.ring.Domain(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	w.set(time.Second*3, ErrDenied, nil)
	if _, err := w.ring.Reload(t.Context(), 1); err == nil {
		t.Fatal("a denied key was given out")
	}
	if _, err := d.Seal(nil, Meta{}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("the domain still works: %v", err)
	}
}

// A tenant that is not active any more loses its keys, and the caller learns why.
func TestKeyringTenantState(t *testing.T) {
	w := newWorld(t, 1, nil)
	if _, err := w.ring.Domain(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	w.set(time.Hour, nil, &rpcerr.TenantStateError{TenantState: &vipkvpb.TenantState{State: "suspended"}})
	var state *rpcerr.TenantStateError
	if _, err := w.ring.Domain(t.Context(), 1); !errors.As(err, &state) {
		t.Fatalf("%v", err)
	}
}

// Failures are not asked for again before Retry is over.
func TestKeyringRetry(t *testing.T) {
	w := newWorld(t, 1, nil)
	w.set(0, ErrUnreachable, nil)
	for range 5 {
		if _, err := w.ring.Domain(t.Context(), 1); err == nil {
			t.Fatal("found")
		}
	}
	if n := w.loads.Load(); n != 1 {
		t.Fatalf("%d loads", n)
	}
	w.set(2*time.Second, nil, nil)
	if _, err := w.ring.Domain(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	w.set(2*time.Hour, ErrUnreachable, nil)
	for range 5 {
		if _, err := w.ring.Domain(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.loads.Load(); n != 3 {
		t.Fatalf("%d loads", n)
	}
}

// Another node's new data key is found by Reload; the domain is replaced without closing the one in use.
func TestKeyringReload(t *testing.T) {
	w := newWorld(t, 1, nil)
	before, err := w.ring.Domain(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	w.set(time.Minute, nil, nil)
	if same, err := w.ring.Reload(t.Context(), 1); err != nil || same != before {
		t.Fatalf("unchanged keys made a new domain: %v", err)
	}
	rotated, err := RotateDEK(t.Context(), w.Keyfile, w.records[1], time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	w.records[1] = rotated
	envelope := mustSeal(t, mustUnlock(t, w.Keyfile, rotated), Meta{}, []byte("v"))
	wantIntegrity(t, before, Meta{}, envelope, "new data key")
	loads := w.loads.Load()
	if _, err := w.ring.Reload(t.Context(), 1); err != nil || w.loads.Load() != loads {
		t.Fatalf("loaded again at once: %v", err)
	}
	w.set(3*time.Second, nil, nil)
	after, err := w.ring.Reload(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := after.Open(nil, Meta{}, envelope); err != nil || string(got) != "v" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := before.Seal(nil, Meta{}, nil); err != nil {
		t.Fatalf("the old domain: %v", err)
	}
}

func TestKeyringForgetAndClose(t *testing.T) {
	w := newWorld(t, 2, nil)
	a, err := w.ring.Domain(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.ring.Domain(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	w.ring.Forget(1)
	if _, err := a.Seal(nil, Meta{}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("forgotten: %v", err)
	}
	if _, err := b.Seal(nil, Meta{}, nil); err != nil {
		t.Errorf("the other: %v", err)
	}
	if again, err := w.ring.Domain(t.Context(), 1); err != nil || again == a {
		t.Errorf("loaded again: %v", err)
	}
	w.ring.Close()
	if _, err := w.ring.Domain(t.Context(), 1); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := b.Seal(nil, Meta{}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// The number of tenants in memory is bounded; a domain that is pushed out still works for who holds it.
func TestKeyringBounded(t *testing.T) {
	w := newWorld(t, 40, func(c *KeyringConfig) { c.TenantsMax = 8 })
	var held []*Domain
	for i := range 40 {
		d, err := w.ring.Domain(t.Context(), proto.TenantID(i+1))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, d)
		if n := len(w.ring.mu.entries); n > 8 {
			t.Fatalf("%d tenants", n)
		}
	}
	for i, d := range held {
		if _, err := d.Seal(nil, Meta{}, nil); err != nil {
			t.Fatalf("tenant %d: %v", i+1, err)
		}
	}
}

// Many callers cause one load, each ends with its own context, and no lock is held meanwhile (I6).
func TestKeyringSingleLoad(t *testing.T) {
	w := newWorld(t, 2, nil)
	if _, err := w.ring.Domain(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	w.gate = make(chan struct{})
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		w.gate = gate
		impatient, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var found, ended atomic.Int32
		for i := range 20 {
			ctx := t.Context()
			if i%2 == 0 {
				ctx = impatient
			}
			wg.Go(func() {
				switch _, err := w.ring.Domain(ctx, 1); {
				case err == nil:
					found.Add(1)
				case errors.Is(err, context.Canceled):
					ended.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		if _, err := w.ring.Domain(t.Context(), 2); err != nil {
			t.Errorf("another tenant: %v", err)
		}
		close(gate)
		wg.Wait()
		if found.Load() != 10 || ended.Load() != 10 || w.loads.Load() != 2 {
			t.Errorf("%d found, %d ended, %d loads", found.Load(), ended.Load(), w.loads.Load())
		}
	})
}

// A key service that hangs costs a bounded time.
func TestKeyringHang(t *testing.T) {
	w := newWorld(t, 1, nil)
	synctest.Test(t, func(t *testing.T) {
		w.gate = make(chan struct{})
		began := time.Now()
		_, err := w.ring.Domain(t.Context(), 1)
		var unavailable *rpcerr.KeyUnavailableError
		if took := time.Since(began); !errors.As(err, &unavailable) || took != 5*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// Run loads keys again before anybody has to wait.
func TestKeyringRun(t *testing.T) {
	w := newWorld(t, 1, nil)
	if _, err := w.ring.Domain(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w.ring.refresh = make(chan proto.TenantID, 1) // made inside the bubble
		done := make(chan error, 1)
		go func() { done <- w.ring.Run(ctx) }()
		for want := int32(2); want < 12; want++ {
			w.set(11*time.Minute, nil, nil)
			for range 3 {
				if _, err := w.ring.Domain(ctx, 1); err != nil {
					t.Error(err)
				}
			}
			synctest.Wait()
			if n := w.loads.Load(); n != want {
				t.Errorf("%d loads, want %d", n, want)
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}
