package tenant_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	pb "google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/vipkv/vipkv/encryption"
	"github.com/vipkv/vipkv/kv/tenant"
	"github.com/vipkv/vipkv/kv/tenant/tenanttest"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/authz"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

func TestFakeSystemKV(t *testing.T) {
	tenanttest.RunSystemKV(t, func(*testing.T) tenant.SystemKV { return tenanttest.New() })
}

// fixture is a registry and an authenticator on one store, with a clock that the test moves.
type fixture struct {
	kv       *tenanttest.KV
	keys     *encryption.Keyfile
	registry *tenant.Registry
	auth     *tenant.Authenticator

	mu  sync.Mutex
	now time.Time
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func newFixture(t testing.TB, change func(*tenant.AuthConfig)) *fixture {
	t.Helper()
	path := t.TempDir() + "/keyfile"
	if err := encryption.CreateKeyfile(path); err != nil {
		t.Fatal(err)
	}
	keys, err := encryption.LoadKeyfile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{kv: tenanttest.New(), keys: keys, now: time.Unix(1e9, 0)}
	f.registry, err = tenant.NewRegistry(tenant.RegistryConfig{
		KV: f.kv, Service: keys, Pepper: keys.Pepper(), Now: f.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := tenant.AuthConfig{KV: f.kv, Pepper: keys.Pepper(), Now: f.clock}
	if change != nil {
		change(&cfg)
	}
	if f.auth, err = tenant.NewAuthenticator(cfg); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) create(t testing.TB, name string) (*internalpb.TenantRecord, tenant.Credential) {
	t.Helper()
	record, credential, err := f.registry.Create(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return record, credential
}

// A tenant that was made is found in every way, its credential opens, and its keys unlock.
func TestCreate(t *testing.T) {
	f := newFixture(t, nil)
	record, credential := f.create(t, "acme")
	if record.Id != 1 || record.Name != "acme" || record.State != "active" || record.CreatedMs != 1e12 {
		t.Fatalf("%v", record)
	}
	byName, err := f.registry.Get(t.Context(), "acme")
	if err != nil || !pb.Equal(byName, record) {
		t.Fatalf("by name: %v, %v", byName, err)
	}
	keys, err := f.registry.KeysOf(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := encryption.Unlock(t.Context(), f.keys, keys, encryption.Options{}); err != nil {
		t.Fatal(err)
	}
	p, err := f.auth.Authenticate(t.Context(), credential.Reveal())
	if err != nil || p.Tenant() != 1 || p.Role() != authz.RoleTenant {
		t.Fatalf("%v, %v", p, err)
	}
	second, _ := f.create(t, "b")
	if list, err := f.registry.List(t.Context()); err != nil || len(list) != 2 || !pb.Equal(list[1], second) {
		t.Fatalf("%v, %v", list, err)
	}
	if second.Id != 2 || second.Keys.DomainId == record.Keys.DomainId {
		t.Fatalf("%v", second)
	}
}

func TestCreateRefuses(t *testing.T) {
	f := newFixture(t, nil)
	f.create(t, "acme")
	var exists *tenant.AlreadyExistsError
	if _, _, err := f.registry.Create(t.Context(), "acme"); !errors.As(err, &exists) ||
		status.Code(rpcerr.Encode(err)) != codes.AlreadyExists {
		t.Errorf("the same name: %v", err)
	}
	var invalid *rpcerr.InvalidArgumentError
	for _, name := range []string{
		"", "A", "acmE", "-a", ".a", "_a", "a b", "a/b", "ä", "a\x00", strings.Repeat("a", 64),
	} {
		if _, _, err := f.registry.Create(t.Context(), name); !errors.As(err, &invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"a", "0", "a.b_c-d", "9-", strings.Repeat("a", 63)} {
		f.create(t, name)
	}
	var gone *tenant.NotFoundError
	if _, err := f.registry.Get(t.Context(), "nobody"); !errors.As(err, &gone) {
		t.Errorf("not there: %v", err)
	}
	if _, err := f.registry.KeysOf(t.Context(), 99); !errors.As(err, &gone) {
		t.Errorf("not there: %v", err)
	}
	if _, err := f.registry.CreateCredential(t.Context(), "nobody"); !errors.As(err, &gone) {
		t.Errorf("not there: %v", err)
	}
}

// Creators that race share out names and ids (I1).
func TestCreateRaces(t *testing.T) {
	f := newFixture(t, nil)
	var mu sync.Mutex
	made := make(map[uint32]string)
	refused := 0
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for _, name := range []string{"same", fmt.Sprintf("own%d", i)} {
				record, _, err := f.registry.Create(t.Context(), name)
				for busy := new(rpcerr.ThrottledError); errors.As(err, &busy); {
					record, _, err = f.registry.Create(t.Context(), name)
				}
				var exists *tenant.AlreadyExistsError
				mu.Lock()
				switch {
				case errors.As(err, &exists) && name == "same":
					refused++
				case err != nil:
					t.Error(err)
				case made[record.Id] != "":
					t.Errorf("id %d for %s and %s", record.Id, made[record.Id], name)
				default:
					made[record.Id] = name
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(made) != 9 || refused != 7 {
		t.Errorf("%d made, %d refused", len(made), refused)
	}
	for id := range uint32(9) {
		if made[id+1] == "" {
			t.Errorf("id %d was skipped", id+1)
		}
	}
}

// A Create whose outcome is not known answers what became of it when that can be read, and else that nobody knows.
func TestCreateAmbiguous(t *testing.T) {
	f := newFixture(t, nil)
	f.kv.After = func() error { return rpcerr.Ambiguous("lost the leader") }
	_, credential := f.create(t, "took-effect")
	if _, err := f.auth.Authenticate(t.Context(), credential.Reveal()); err != nil {
		t.Error(err)
	}
	f.kv.After = nil
	f.kv.Before = func(_ context.Context, method, _ string) error {
		if method == "Commit" {
			return rpcerr.Ambiguous("lost the leader")
		}
		return nil
	}
	var ambiguous *rpcerr.AmbiguousError
	if _, _, err := f.registry.Create(t.Context(), "had-none"); !errors.As(err, &ambiguous) {
		t.Errorf("%v", err)
	}
	f.kv.Before = nil
	f.create(t, "had-none")
}

func TestCredentials(t *testing.T) {
	f := newFixture(t, nil)
	_, first := f.create(t, "acme")
	f.create(t, "other")
	second, err := f.registry.CreateCredential(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	if has, err := f.registry.HasAdmin(t.Context()); err != nil || has {
		t.Errorf("admin: %v, %v", has, err)
	}
	admin, err := f.registry.BootstrapAdmin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if has, err := f.registry.HasAdmin(t.Context()); err != nil || !has {
		t.Errorf("admin: %v, %v", has, err)
	}
	for credential, want := range map[tenant.Credential]authz.Principal{
		first: principal(t, 1, authz.RoleTenant), second: principal(t, 1, authz.RoleTenant),
		admin: principal(t, 0, authz.RoleAdmin),
	} {
		if p, err := f.auth.Authenticate(t.Context(), "Bearer "+credential.Reveal()); err != nil || p != want {
			t.Errorf("%v: %v, %v", credential, p, err)
		}
	}
	counts, err := f.registry.CredentialCounts(t.Context())
	if err != nil || fmt.Sprint(counts) != fmt.Sprint(map[proto.TenantID]int{0: 1, 1: 2, 2: 1}) {
		t.Errorf("%v, %v", counts, err)
	}
	ids, err := f.registry.Credentials(t.Context(), 1)
	if err != nil || len(ids) != 2 || !strings.Contains(strings.Join(ids, " "), second.KeyID()) {
		t.Errorf("%v, %v", ids, err)
	}
	// Nothing that is stored holds a secret (I2).
	items, err := f.kv.Scan(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, credential := range []tenant.Credential{first, second, admin} {
		secret := strings.Split(credential.Reveal(), "_")[2]
		for _, item := range items {
			if strings.Contains(item.Key, secret) || bytes.Contains(item.Value, []byte(secret)) {
				t.Errorf("%s holds the secret", item.Key)
			}
		}
		for _, format := range []string{"%v", "%s", "%+v", "%#v", "%q"} {
			if strings.Contains(fmt.Sprintf(format, credential), secret) {
				t.Errorf("%s prints the secret", format)
			}
		}
	}
}

func principal(t testing.TB, id proto.TenantID, role authz.Role) authz.Principal {
	t.Helper()
	p, err := authz.NewPrincipal(id, role)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A revoked credential is refused everywhere within PositiveTTL, and not before it is asked for again.
func TestRevocation(t *testing.T) {
	f := newFixture(t, nil)
	_, credential := f.create(t, "acme")
	authenticate := func() error {
		_, err := f.auth.Authenticate(t.Context(), credential.Reveal())
		return err
	}
	if err := authenticate(); err != nil {
		t.Fatal(err)
	}
	if err := f.registry.RevokeCredential(t.Context(), credential.KeyID()); err != nil {
		t.Fatal(err)
	}
	f.advance(5*time.Second - 1)
	if err := authenticate(); err != nil {
		t.Errorf("asked for again within the time: %v", err)
	}
	f.advance(1)
	if err := authenticate(); status.Code(err) != codes.Unauthenticated {
		t.Errorf("after 5 seconds: %v", err)
	}
	var gone *tenant.NotFoundError
	if err := f.registry.RevokeCredential(t.Context(), credential.KeyID()); !errors.As(err, &gone) {
		t.Errorf("twice: %v", err)
	}
	if ids, err := f.registry.Credentials(t.Context(), 1); err != nil || len(ids) != 0 {
		t.Errorf("%v, %v", ids, err)
	}
}

// What is not a good credential is refused with words that say what to do, never with the secret.
func TestUnauthenticated(t *testing.T) {
	f := newFixture(t, nil)
	_, credential := f.create(t, "acme")
	good := credential.Reveal()
	parts := strings.Split(good, "_")
	with := func(i int, part string) string {
		changed := append([]string(nil), parts...)
		changed[i] = part
		return strings.Join(changed, "_")
	}
	summed := func(text string) string {
		body := text[:strings.LastIndex(text, "_")]
		return fmt.Sprintf("%s_%08x", body, crc32.ChecksumIEEE([]byte(body)))
	}
	otherSecret, otherID := strings.Repeat("A", 43), strings.Repeat("A", 12)
	for _, c := range []struct{ what, bearer, want string }{
		{"none", "", "no credential was given"},
		{"blank", "  ", "no credential was given"},
		{"scheme alone", "Bearer ", "does not start with"},
		{"a password", "hunter2", "does not start with"},
		{"other scheme", with(0, "vipkv2"), "does not start with"},
		{"cut", good[:len(good)-1], "characters"},
		{"longer", good + "0", "characters"},
		{"typing error", with(2, otherSecret), "typing error"},
		{"checksum in capitals", with(3, "ABCDEF12"), "typing error"},
		{"bad character", summed(with(1, "AAAAAAAAAAA-")), "not well formed"},
		{"parts missing", summed("vipkv1_" + strings.Repeat("A", 56) + "_00000000"), "not well formed"},
		{"wrong secret", summed(with(2, otherSecret)), "not known here or was revoked"},
		{"unknown id", summed(with(1, otherID)), "not known here or was revoked"},
	} {
		p, err := f.auth.Authenticate(t.Context(), c.bearer)
		if status.Code(err) != codes.Unauthenticated || p != (authz.Principal{}) {
			t.Errorf("%s: %v, %v", c.what, p, err)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "VIPKV_CREDENTIAL") ||
			!strings.Contains(err.Error(), "--credential") {
			t.Errorf("%s: %v", c.what, err)
		}
		if strings.Contains(err.Error(), parts[2]) || strings.Contains(err.Error(), otherSecret) {
			t.Errorf("%s: the error holds a secret", c.what)
		}
	}
	_, wrongSecret := f.auth.Authenticate(t.Context(), summed(with(2, otherSecret)))
	_, unknownID := f.auth.Authenticate(t.Context(), summed(with(1, otherID)))
	if wrongSecret.Error() != unknownID.Error() {
		t.Errorf("told apart: %v; %v", wrongSecret, unknownID)
	}
	for _, bearer := range []string{good, "Bearer " + good, "bearer  " + good, " " + good + "\n"} {
		if _, err := f.auth.Authenticate(t.Context(), bearer); err != nil {
			t.Errorf("a good one: %v", err)
		}
	}
}

// Another cluster's credentials, with another pepper, open nothing.
func TestPepper(t *testing.T) {
	f, other := newFixture(t, nil), newFixture(t, nil)
	_, credential := f.create(t, "acme")
	items, err := f.kv.Scan(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var copied []tenant.Mutation
	for _, item := range items {
		copied = append(copied, tenant.Mutation{Key: item.Key, Value: item.Value})
	}
	if err := other.kv.Commit(t.Context(), nil, copied); err != nil {
		t.Fatal(err)
	}
	if _, err := other.auth.Authenticate(t.Context(), credential.Reveal()); status.Code(err) != codes.Unauthenticated {
		t.Errorf("%v", err)
	}
}

// While the system range can not be read, credentials that were good go on for the grace; others get a retryable error.
func TestSystemRangeAway(t *testing.T) {
	f := newFixture(t, nil)
	_, known := f.create(t, "acme")
	_, cold := f.create(t, "other")
	bad := strings.Replace(known.Reveal(), known.KeyID(), strings.Repeat("A", 12), 1)
	bad = bad[:len(bad)-8] + fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(bad[:len(bad)-9])))
	authenticate := func(bearer string) error {
		_, err := f.auth.Authenticate(t.Context(), bearer)
		return err
	}
	if err := authenticate(known.Reveal()); err != nil {
		t.Fatal(err)
	}
	if err := authenticate(bad); status.Code(err) != codes.Unauthenticated {
		t.Fatal(err)
	}
	asked := 0
	f.kv.Before = func(context.Context, string, string) error {
		asked++
		return &rpcerr.NotLeaderError{}
	}
	f.advance(6 * time.Second)
	for range 10 {
		if err := authenticate(known.Reveal()); err != nil {
			t.Fatalf("in its grace: %v", err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	var throttled *rpcerr.ThrottledError
	var notLeader *rpcerr.NotLeaderError
	for what, bearer := range map[string]string{"cold": cold.Reveal(), "bad": bad} {
		if err := authenticate(bearer); !errors.As(err, &throttled) || errors.As(err, &notLeader) {
			t.Errorf("%s: %v", what, err)
		}
	}
	f.advance(24 * time.Second)
	if err := authenticate(known.Reveal()); !errors.As(err, &throttled) {
		t.Errorf("after its grace: %v", err)
	}
	f.kv.Before = nil
	if err := authenticate(known.Reveal()); err != nil {
		t.Errorf("the system range is back: %v", err)
	}
}

// A system range that hangs costs a caller in its grace little, others a bounded time, nobody more than its own ctx.
func TestSystemRangeHangs(t *testing.T) {
	f := newFixture(t, nil)
	_, known := f.create(t, "acme")
	_, cold := f.create(t, "other")
	if _, err := f.auth.Authenticate(t.Context(), known.Reveal()); err != nil {
		t.Fatal(err)
	}
	f.advance(6 * time.Second)
	f.kv.Before = func(ctx context.Context, _, _ string) error {
		<-ctx.Done()
		return ctx.Err()
	}
	synctest.Test(t, func(t *testing.T) {
		ended, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var throttled *rpcerr.ThrottledError
		for _, c := range []struct {
			what       string
			ctx        context.Context
			credential tenant.Credential
			took       time.Duration
			good       func(error) bool
		}{
			{"grace", t.Context(), known, 300 * time.Millisecond, func(err error) bool { return err == nil }},
			{"own ctx", ended, cold, 700 * time.Millisecond, func(err error) bool {
				return errors.Is(err, context.DeadlineExceeded)
			}},
			{"cold", t.Context(), cold, 2300 * time.Millisecond, func(err error) bool { return errors.As(err, &throttled) }},
		} {
			began := time.Now()
			_, err := f.auth.Authenticate(c.ctx, c.credential.Reveal())
			if took := time.Since(began); !c.good(err) || took != c.took {
				t.Errorf("%s: %v after %v", c.what, err, took)
			}
		}
	})
}

// A tenant that is not active is refused by name of its state, at the door and by the loader of its keys.
func TestTenantState(t *testing.T) {
	f := newFixture(t, nil)
	record, credential := f.create(t, "acme")
	record.State = "suspended"
	value, err := pb.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	suspended := []tenant.Mutation{{Key: "tenant/id/0000000001", Value: value}}
	if err := f.kv.Commit(t.Context(), nil, suspended); err != nil {
		t.Fatal(err)
	}
	var state *rpcerr.TenantStateError
	if _, err := f.auth.Authenticate(t.Context(), credential.Reveal()); !errors.As(err, &state) {
		t.Errorf("%v", err)
	}
	if _, err := f.registry.KeysOf(t.Context(), 1); !errors.As(err, &state) || state.State != "suspended" {
		t.Errorf("%v", err)
	}
}

// The cache saves lookups, is bounded, and a flood of wrong credentials does not push the good one out.
func TestCache(t *testing.T) {
	f := newFixture(t, func(c *tenant.AuthConfig) { c.EntriesMax = 10 })
	_, credential := f.create(t, "acme")
	var mu sync.Mutex
	asked := 0
	f.kv.Before = func(_ context.Context, _, key string) error {
		mu.Lock()
		defer mu.Unlock()
		if key == "apikey/"+credential.KeyID() {
			asked++
		}
		return nil
	}
	for i := range 300 {
		if _, err := f.auth.Authenticate(t.Context(), credential.Reveal()); err != nil {
			t.Fatal(err)
		}
		body := fmt.Sprintf("vipkv1_%012d_%s", i, strings.Repeat("A", 43))
		wrong := fmt.Sprintf("%s_%08x", body, crc32.ChecksumIEEE([]byte(body)))
		if _, err := f.auth.Authenticate(t.Context(), wrong); status.Code(err) != codes.Unauthenticated {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("the good credential was looked up %d times", asked)
	}
	if n := f.auth.CachedForTest(); n > 10 {
		t.Errorf("%d entries", n)
	}
}

// Credentials survive Reveal and ParseCredential; no single change of a character does.
func TestCredentialRoundTrip(t *testing.T) {
	f := newFixture(t, nil)
	rapid.Check(t, func(rt *rapid.T) {
		credential, err := f.registry.BootstrapAdmin(t.Context())
		if err != nil {
			rt.Fatal(err)
		}
		text := credential.Reveal()
		if back, err := tenant.ParseCredential(text); err != nil || back != credential || len(text) != 72 {
			rt.Fatalf("%v, %v, %d characters", back, err, len(text))
		}
		changed := []byte(text)
		i := rapid.IntRange(0, len(changed)-1).Draw(rt, "at")
		changed[i] = rapid.Byte().Filter(func(b byte) bool { return b != changed[i] }).Draw(rt, "to")
		if _, err := tenant.ParseCredential(string(changed)); err == nil {
			rt.Fatalf("a change at %d was taken", i)
		}
	})
}

// FuzzParseCredential: whatever comes in a header, a refusal or exactly what Reveal writes.
func FuzzParseCredential(f *testing.F) {
	body := "vipkv1_" + strings.Repeat("a", 12) + "_" + strings.Repeat("b", 43)
	f.Add(fmt.Sprintf("%s_%08x", body, crc32.ChecksumIEEE([]byte(body))))
	f.Add("")
	f.Add("vipkv1___")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := tenant.ParseCredential(text); err == nil && c.Reveal() != text {
			t.Errorf("%q was read as %q", text, c.Reveal())
		}
	})
}
