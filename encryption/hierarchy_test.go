package encryption

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	pb "google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

func newTestTenantKeys(t testing.TB, ks KeyService) *internalpb.TenantKeys {
	t.Helper()
	tk, err := NewTenantKeys(context.Background(), ks, 7, time.UnixMilli(1234))
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

func mustUnlock(t testing.TB, ks KeyService, tk *internalpb.TenantKeys) *Domain {
	t.Helper()
	d, err := Unlock(context.Background(), ks, tk, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// What one node seals another one opens, from the stored record alone; another tenant's keys open nothing of it.
func TestTenantKeys(t *testing.T) {
	ks := loadKeyfile(t, keyfileOf("k1", 1))
	tk, other := newTestTenantKeys(t, ks), newTestTenantKeys(t, ks)
	if tk.DomainId == other.DomainId || tk.DomainId < 1<<63 || tk.Deks[0].CreatedMs != 1234 {
		t.Fatalf("%v, %v", tk, other)
	}
	if bytes.Equal(tk.Deks[0].Check, other.Deks[0].Check) {
		t.Fatal("two tenants share a data key")
	}
	m := Meta{Key: []byte("k")}
	envelope := mustSeal(t, mustUnlock(t, ks, tk), m, []byte("value"))
	if got, err := mustUnlock(t, ks, tk).Open(nil, m, envelope); err != nil || string(got) != "value" {
		t.Fatalf("%q, %v", got, err)
	}
	wantIntegrity(t, mustUnlock(t, ks, other), m, envelope, "another tenant")
	if _, err := NewTenantKeys(t.Context(), ks, 0, time.Time{}); err == nil {
		t.Error("keys were made for tenant 0")
	}
}

// A new root key is used for new tenants; the keys of the old ones still open, also when the version got lost.
func TestRootRotation(t *testing.T) {
	before, after := loadKeyfile(t, keyfileOf("k1", 1)), loadKeyfile(t, keyfileOf("k2", 1, 2))
	old := newTestTenantKeys(t, before)
	mustUnlock(t, after, old)
	fresh := newTestTenantKeys(t, after)
	if fresh.Keks[0].RootVersion != "k2" {
		t.Fatalf("wrapped by %s", fresh.Keks[0].RootVersion)
	}
	renamed := pb.CloneOf(old)
	renamed.Keks[0].RootVersion = "k9"
	mustUnlock(t, after, renamed)
	_, err := Unlock(t.Context(), before, fresh, Options{})
	if !errors.Is(err, ErrBadBlob) || !strings.Contains(err.Error(), `"k2", which is not in the keyfile`) {
		t.Fatalf("a node with the old keyfile: %v", err)
	}
}

func TestRotateDEK(t *testing.T) {
	ks := loadKeyfile(t, keyfileOf("k1", 1))
	tk := newTestTenantKeys(t, ks)
	m := Meta{Key: []byte("k")}
	old := mustSeal(t, mustUnlock(t, ks, tk), m, []byte("old"))
	for id := uint32(2); id < 5; id++ {
		rotated, err := RotateDEK(t.Context(), ks, tk, time.UnixMilli(9))
		if err != nil {
			t.Fatal(err)
		}
		if len(tk.Deks) != int(id)-1 || tk.Deks[id-2].State != stateActive {
			t.Fatal("the record that was given is changed")
		}
		tk = rotated
		d := mustUnlock(t, ks, tk)
		if d.ActiveDEK() != id {
			t.Fatalf("data key %d seals", d.ActiveDEK())
		}
		if got, err := d.Open(nil, m, old); err != nil || string(got) != "old" {
			t.Fatalf("%q, %v", got, err)
		}
		if got, err := d.Open(nil, m, mustSeal(t, d, m, []byte("new"))); err != nil || string(got) != "new" {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

// Records that were changed, or put together from others, do not unlock, and the error is of the class bad blob.
func TestUnlockRefuses(t *testing.T) {
	ks := loadKeyfile(t, keyfileOf("k1", 1))
	tk, other := newTestTenantKeys(t, ks), newTestTenantKeys(t, ks)
	two, err := RotateDEK(t.Context(), ks, tk, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(tk *internalpb.TenantKeys){
		"no keys":                     func(tk *internalpb.TenantKeys) { pb.Reset(tk) },
		"domain 0":                    func(tk *internalpb.TenantKeys) { tk.DomainId = 0 },
		"the system's domain":         func(tk *internalpb.TenantKeys) { tk.DomainId = systemDomainID },
		"another domain":              func(tk *internalpb.TenantKeys) { tk.DomainId = other.DomainId },
		"KEK of another":              func(tk *internalpb.TenantKeys) { tk.Keks = other.Keks },
		"DEKs of another":             func(tk *internalpb.TenantKeys) { tk.Deks = other.Deks },
		"KEK and DEKs of another":     func(tk *internalpb.TenantKeys) { tk.Keks, tk.Deks = other.Keks, other.Deks },
		"no KEK":                      func(tk *internalpb.TenantKeys) { tk.Keks = nil },
		"no DEK":                      func(tk *internalpb.TenantKeys) { tk.Deks = nil },
		"other KEK id":                func(tk *internalpb.TenantKeys) { tk.Keks[0].Id = 2; tk.Deks[0].KekId = 2 },
		"other service":               func(tk *internalpb.TenantKeys) { tk.Keks[0].Service = "vault" },
		"other DEK id":                func(tk *internalpb.TenantKeys) { tk.Deks[0].Id = 3 },
		"the ids of two DEKs swapped": func(tk *internalpb.TenantKeys) { tk.Deks[0].Id, tk.Deks[1].Id = 2, 1 },
		"other suite":                 func(tk *internalpb.TenantKeys) { tk.Deks[0].Suite = 2 },
		"unknown state":               func(tk *internalpb.TenantKeys) { tk.Deks[0].State = "destroyed" },
		"none active":                 func(tk *internalpb.TenantKeys) { tk.Deks[1].State = stateDecryptOnly },
		"check value of another":      func(tk *internalpb.TenantKeys) { tk.Deks[0].Check = tk.Deks[1].Check },
		"no check value":              func(tk *internalpb.TenantKeys) { tk.Deks[0].Check = nil },
		"a bit of the KEK":            func(tk *internalpb.TenantKeys) { tk.Keks[0].Wrapped[20] ^= 1 },
		"a bit of the DEK":            func(tk *internalpb.TenantKeys) { tk.Deks[0].Wrapped[20] ^= 1 },
		"empty KEK":                   func(tk *internalpb.TenantKeys) { tk.Keks[0].Wrapped = nil },
		"empty DEK":                   func(tk *internalpb.TenantKeys) { tk.Deks[0].Wrapped = nil },
	} {
		changed := pb.CloneOf(two)
		change(changed)
		if _, err := Unlock(t.Context(), ks, changed, Options{}); !errors.Is(err, ErrBadBlob) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Unlock(t.Context(), ks, nil, Options{}); !errors.Is(err, ErrBadBlob) {
		t.Errorf("nil: %v", err)
	}
}

// What is wrapped under one encryption context does not open under any other; the pairs can not be shifted.
func TestWrapBindsContext(t *testing.T) {
	ks := loadKeyfile(t, keyfileOf("k1", 1))
	pairs := rapid.MapOf(rapid.StringN(0, 3, -1), rapid.StringN(0, 3, -1))
	rapid.Check(t, func(rt *rapid.T) {
		a, b := pairs.Draw(rt, "a"), pairs.Draw(rt, "b")
		blob, version, err := ks.Wrap(t.Context(), "", []byte("secret"), a)
		if err != nil {
			rt.Fatal(err)
		}
		same := len(a) == len(b)
		for k, v := range a {
			w, ok := b[k]
			same = same && ok && v == w
		}
		got, err := ks.Unwrap(t.Context(), "", Wrapped{version, blob}, b)
		if (err == nil) != same || err == nil && string(got) != "secret" {
			rt.Fatalf("same context: %v; %q, %v", same, got, err)
		}
	})
}

func TestKeyfileStatus(t *testing.T) {
	ks := loadKeyfile(t, keyfileOf("k2", 1, 2))
	for ref, want := range map[string]struct {
		state   KeyState
		version string
	}{"": {KeyOK, "k2"}, "k1": {KeyOK, "k1"}, "k3": {KeyMissing, ""}} {
		state, version, err := ks.Status(t.Context(), ref)
		if err != nil || state != want.state || version != want.version {
			t.Errorf("%q: %v %q, %v", ref, state, version, err)
		}
	}
	if _, _, err := ks.Wrap(t.Context(), "k3", nil, nil); !errors.Is(err, ErrDenied) {
		t.Errorf("wrap with a key that is not there: %v", err)
	}
}

// The system's values open on every node with the keyfile, before and after another root key was made active.
func TestSystemDomain(t *testing.T) {
	system := func(content string) *Domain {
		d, err := SystemDomain(loadKeyfile(t, content), Options{})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	one, two := system(keyfileOf("k1", 1)), system(keyfileOf("k2", 1, 2))
	m := Meta{Key: []byte("ktenant/name/a")}
	old, fresh := mustSeal(t, one, m, []byte("v")), mustSeal(t, two, m, []byte("v"))
	if one.ActiveDEK() != 1 || two.ActiveDEK() != 2 {
		t.Fatalf("data keys %d, %d", one.ActiveDEK(), two.ActiveDEK())
	}
	for i, envelope := range [][]byte{old, fresh} {
		if got, err := two.Open(nil, m, envelope); err != nil || string(got) != "v" {
			t.Fatalf("%d: %q, %v", i, got, err)
		}
	}
	wantIntegrity(t, one, m, fresh, "without the new root key")
}
