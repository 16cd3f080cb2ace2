package encryption

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// keyfileOf is the content of a keyfile with the keys of testKey, ids k1.. .
func keyfileOf(active string, seeds ...byte) string {
	var keys []string
	for i, seed := range seeds {
		key := base64.StdEncoding.EncodeToString(testKey(seed))
		keys = append(keys, fmt.Sprintf(`{"id":"k%d","key":%q}`, i+1, key))
	}
	return fmt.Sprintf(`{"version":1,"keys":[%s],"active":%q}`, strings.Join(keys, ","), active)
}

func writeFile(t testing.TB, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyfile.json")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func loadKeyfile(t testing.TB, content string) *Keyfile {
	t.Helper()
	k, err := LoadKeyfile(writeFile(t, content, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A keyfile that was made loads, is private, is never replaced, and differs from the next one.
func TestKeyfileCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.json")
	if err := CreateKeyfile(path); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode() != 0o600 {
		t.Fatalf("mode %v, %v", st.Mode(), err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := CreateKeyfile(path); !errors.Is(err, os.ErrExist) {
		t.Fatalf("a second time: %v", err)
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Fatalf("the file was touched: %v", err)
	}
	a, err := LoadKeyfile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "b.json")
	if err := CreateKeyfile(other); err != nil {
		t.Fatal(err)
	}
	b, err := LoadKeyfile(other)
	if err != nil {
		t.Fatal(err)
	}
	if a.Fingerprint() == b.Fingerprint() || len(a.Fingerprint()) != 16 {
		t.Fatalf("fingerprints %s, %s", a.Fingerprint(), b.Fingerprint())
	}
	if err := CreateKeyfile(filepath.Join(dir, "no/such/dir")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("no directory: %v", err)
	}
}

// Every bad keyfile is refused with words that say what to do, and without its keys.
func TestKeyfileRefuses(t *testing.T) {
	good := keyfileOf("k1", 1)
	key := base64.StdEncoding.EncodeToString(testKey(1))
	with := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for _, c := range []struct{ what, content, want string }{
		{"empty", "", "not a keyfile"},
		{"cut", good[:len(good)-1], "not a keyfile"},
		{"an array", "[]", "not a keyfile"},
		{"something after", good + "{}", "follows"},
		{"unknown field", with(`"version"`, `"owner":"me","version"`), "unknown field"},
		{"unknown field of a key", with(`"id"`, `"comment":"","id"`), "unknown field"},
		{"no version", with(`"version":1,`, ""), "version is 0"},
		{"newer version", with(`"version":1`, `"version":2`), "version is 2"},
		{"no keys", keyfileOf("k1"), "no keys"},
		{"no active", keyfileOf("", 1), "active"},
		{"unknown active", keyfileOf("k2", 1), "active"},
		{"empty id", with(`"id":"k1"`, `"id":""`), "the id"},
		{"bad id", with(`"id":"k1"`, `"id":"K 1"`), "the id"},
		{"bad id inside", with(`"id":"k1"`, `"id":"k/1"`), "the id"},
		{"long id", with(`"id":"k1"`, `"id":"`+strings.Repeat("k", 33)+`"`), "the id"},
		{"not base64", with(key, "!!!!"), "not base64"},
		{"base64 without padding", with(key, strings.TrimRight(key, "=")), "not base64"},
		{"short key", with(key, base64.StdEncoding.EncodeToString(testKey(1)[:16])), "16 bytes"},
		{"long key", with(key, base64.StdEncoding.EncodeToString(make([]byte, 64))), "64 bytes"},
		{"no key", with(key, ""), "0 bytes"},
		{"zero key", with(key, base64.StdEncoding.EncodeToString(make([]byte, 32))), "one byte repeated"},
		{"id twice", strings.Replace(keyfileOf("k1", 1, 2), `"k2"`, `"k1"`, 1), "twice"},
		{"key twice", keyfileOf("k1", 1, 1), "the same key"},
		{"too long", good + strings.Repeat(" ", keyfileBytesMax), "longer than"},
	} {
		_, err := LoadKeyfile(writeFile(t, c.content, 0o600))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "keyfile.json") {
			t.Errorf("%s: %v", c.what, err)
		}
		if err != nil && strings.Contains(err.Error(), key[:20]) {
			t.Errorf("%s: the error shows the key", c.what)
		}
	}
}

func TestKeyfilePlaceAndMode(t *testing.T) {
	good := keyfileOf("k1", 1)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o601, 0o644, 0o666} {
		path := writeFile(t, good, 0o600)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKeyfile(path); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	path := writeFile(t, good, 0o400)
	if _, err := LoadKeyfile(path); err != nil {
		t.Errorf("mode 400: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		link: "symbolic link", fifo: "not a regular file", t.TempDir(): "not a regular file",
		filepath.Join(t.TempDir(), "absent"): "no such file",
	} {
		if _, err := LoadKeyfile(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestCheckKeyfilePlace(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(filepath.Join(data, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(data, filepath.Join(dir, "alias")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file, data string
		ok         bool
	}{
		{"keyfile", "data", true},
		{"data/keyfile", "data", false},
		{"data/sub/deep/er/keyfile", "data", false},
		{"alias/keyfile", "data", false},
		{"data/keyfile", "alias", false},
		{"data/../keyfile", "data", true},
		{"datafile", "data", true},
		{"..data", "data", true},
		{"new/keyfile", "new", false},
		{"keyfile", "new/data", true},
	} {
		err := CheckKeyfilePlace(filepath.Join(dir, c.file), filepath.Join(dir, c.data))
		if (err == nil) != c.ok {
			t.Errorf("%s beside %s: %v", c.file, c.data, err)
		}
	}
}

// The derived secrets differ from each other and from the root, and stay the same when another key becomes active.
func TestKeyfileSecrets(t *testing.T) {
	one, two := loadKeyfile(t, keyfileOf("k1", 1)), loadKeyfile(t, keyfileOf("k2", 1, 2))
	if !bytes.Equal(one.Pepper(), two.Pepper()) || !bytes.Equal(one.PeerSecret(), two.PeerSecret()) ||
		one.Fingerprint() != two.Fingerprint() {
		t.Error("a rotation changed the derived secrets")
	}
	seen := map[string]string{string(testKey(1)): "root"}
	for name, secret := range map[string][]byte{
		"pepper": one.Pepper(), "peer": one.PeerSecret(), "system": one.derive(0, "vipkv/keyfile/system-dek/v1"),
	} {
		if len(secret) != KeyLength || seen[string(secret)] != "" {
			t.Errorf("%s: %d bytes, the same as %q", name, len(secret), seen[string(secret)])
		}
		seen[string(secret)] = name
	}
}

// FuzzKeyfile: whatever the bytes, an error or a keyfile that works.
func FuzzKeyfile(f *testing.F) {
	f.Add([]byte(keyfileOf("k1", 1)))
	f.Add([]byte(keyfileOf("k2", 1, 2)))
	f.Add([]byte(`{"version":1,"keys":null,"active":""}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		k, err := parseKeyfile(content)
		if err != nil {
			return
		}
		if !json.Valid(content) {
			t.Fatalf("%q was taken", content)
		}
		blob, version, err := k.Wrap(t.Context(), "", testKey(9), nil)
		if err != nil || version != k.active {
			t.Fatal(version, err)
		}
		got, err := k.Unwrap(t.Context(), "", Wrapped{version, blob}, nil)
		if err != nil || !bytes.Equal(got, testKey(9)) {
			t.Fatal(err)
		}
	})
}
