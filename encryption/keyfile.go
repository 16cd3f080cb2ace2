package encryption

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	keyfileVersion  = 1
	keyfileBytesMax = 64 << 10
	keyIDLengthMax  = 32
)

// Keyfile holds the cluster's root keys. It is the KeyService of small installations, and where the cluster's own
// secrets are derived from. Immutable; safe for concurrent use.
type Keyfile struct {
	roots  []rootKey // in the order of the file; the first one is what secrets are derived from
	active string
}

type rootKey struct {
	id  string
	key []byte
}

type keyfileJSON struct {
	Version int              `json:"version"`
	Keys    []keyfileKeyJSON `json:"keys"`
	Active  string           `json:"active"`
}

type keyfileKeyJSON struct {
	ID  string `json:"id"`
	Key string `json:"key"`
}

// CreateKeyfile makes a file with one new root key, readable by its owner alone, and makes it durable. It never
// replaces a file: the error is then os.ErrExist.
func CreateKeyfile(path string) (err error) {
	key := make([]byte, KeyLength)
	rand.Read(key)
	defer clear(key)
	content, err := json.MarshalIndent(keyfileJSON{
		Version: keyfileVersion,
		Keys:    []keyfileKeyJSON{{ID: "k1", Key: base64.StdEncoding.EncodeToString(key)}},
		Active:  "k1",
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("create keyfile: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("create keyfile %s: it is there already and was left as it is: %w",
			path, os.ErrExist)
	}
	if err != nil {
		return fmt.Errorf("create keyfile: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("create keyfile %s: %w", path, errors.Join(err, os.Remove(path)))
		}
	}()
	_, err = f.Write(append(content, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// LoadKeyfile reads and checks a keyfile. It must be a regular file (not a symbolic link) that nobody but its owner can
// read or write, and its owner must be this process's user or root. Every error says what to do.
func LoadKeyfile(path string) (*Keyfile, error) {
	content, err := readPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("keyfile %s: %w", path, err)
	}
	defer clear(content)
	k, err := parseKeyfile(content)
	if err != nil {
		return nil, fmt.Errorf("keyfile %s: %w", path, err)
	}
	return k, nil
}

// readPrivate checks the file that it has opened, not the path: nobody can change it in between. O_NONBLOCK keeps a
// named pipe from hanging the open.
func readPrivate(path string) (content []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, errors.New("there is no such file; make one with `vipkv keyfile create`, " +
			"or copy the one of the cluster's other nodes")
	case errors.Is(err, unix.ELOOP):
		return nil, errors.New("it is a symbolic link; give the path of the file itself")
	case err != nil:
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("stat: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("it is not a regular file")
	}
	if perm := st.Mode & 0o777; perm&0o077 != 0 {
		return nil, fmt.Errorf("others than its owner may use it (mode %04o); run: chmod 600 %s",
			perm, path)
	}
	if uid := os.Geteuid(); int(st.Uid) != uid && st.Uid != 0 {
		return nil, fmt.Errorf("it belongs to user %d; it must belong to user %d, who runs this "+
			"process, or to root", st.Uid, uid)
	}
	content, err = io.ReadAll(io.LimitReader(f, keyfileBytesMax+1))
	if err != nil {
		return nil, err
	}
	if len(content) > keyfileBytesMax {
		return nil, fmt.Errorf("it is longer than %d bytes; is it the right file?", keyfileBytesMax)
	}
	return content, nil
}

func parseKeyfile(content []byte) (*Keyfile, error) {
	var file keyfileJSON
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("it is not a keyfile: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object; remove it")
	}
	if file.Version != keyfileVersion {
		return nil, fmt.Errorf("version is %d; this program reads version %d",
			file.Version, keyfileVersion)
	}
	if len(file.Keys) == 0 {
		return nil, errors.New("it has no keys; restore it from its backup")
	}
	k := &Keyfile{active: file.Active}
	for i, entry := range file.Keys {
		if err := k.add(entry); err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
	}
	if file.Active == "" || k.root(file.Active) == nil {
		return nil, fmt.Errorf("active is %q; it must be the id of one of the keys", file.Active)
	}
	return k, nil
}

func (k *Keyfile) add(entry keyfileKeyJSON) error {
	if err := checkKeyID(entry.ID); err != nil {
		return err
	}
	key, err := base64.StdEncoding.Strict().DecodeString(entry.Key)
	if err != nil {
		return fmt.Errorf("the key of %q is not base64; restore it from its backup", entry.ID)
	}
	if len(key) != KeyLength {
		return fmt.Errorf("the key of %q has %d bytes; it must have %d", entry.ID, len(key), KeyLength)
	}
	if bytes.Count(key, key[:1]) == KeyLength {
		return fmt.Errorf("the key of %q is one byte repeated; use %d random bytes", entry.ID, KeyLength)
	}
	for _, other := range k.roots {
		if other.id == entry.ID {
			return fmt.Errorf("the id %q is there twice; remove the wrong one", entry.ID)
		}
		if bytes.Equal(other.key, key) {
			return fmt.Errorf("%q and %q are the same key; a new id needs new random bytes",
				other.id, entry.ID)
		}
	}
	k.roots = append(k.roots, rootKey{id: entry.ID, key: key})
	return nil
}

func checkKeyID(id string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789._-"
	if id == "" || len(id) > keyIDLengthMax || strings.Trim(id, allowed) != "" {
		return fmt.Errorf("the id %q must be 1 to %d of a-z 0-9 . _ -", id, keyIDLengthMax)
	}
	return nil
}

// root finds a root key; an empty id means the active one.
func (k *Keyfile) root(id string) *rootKey {
	if id == "" {
		id = k.active
	}
	for i := range k.roots {
		if k.roots[i].id == id {
			return &k.roots[i]
		}
	}
	return nil
}

// Pepper is the key under which secrets of API keys are stored. KeyLength bytes.
func (k *Keyfile) Pepper() []byte { return k.derive(0, "vipkv/keyfile/api-key-pepper/v1") }

// PeerSecret is what the nodes of one cluster know and nobody else: they authenticate to each other with it.
// KeyLength bytes.
func (k *Keyfile) PeerSecret() []byte { return k.derive(0, "vipkv/keyfile/peer-secret/v1") }

// Fingerprint tells keyfiles apart without saying anything about their keys: 16 hexadecimal digits. Nodes whose
// fingerprints are equal derive the same pepper and peer secret.
func (k *Keyfile) Fingerprint() string {
	return hex.EncodeToString(k.derive(0, "vipkv/keyfile/fingerprint/v1")[:8])
}

func (k *Keyfile) derive(root int, info string) []byte {
	key, err := hkdf.Key(sha256.New, k.roots[root].key, nil, info, KeyLength)
	if err != nil {
		panic(fmt.Sprintf("invariant: HKDF-SHA256 gives %d bytes: %v", KeyLength, err))
	}
	return key
}

// CheckKeyfilePlace refuses a keyfile that lies under the data directory: whoever takes a copy of the data would have
// the keys with it. Either may not be there yet.
func CheckKeyfilePlace(keyfile, dataDir string) error {
	file, err := realPath(keyfile)
	if err != nil {
		return fmt.Errorf("keyfile %s: %w", keyfile, err)
	}
	dir, err := realPath(dataDir)
	if err != nil {
		return fmt.Errorf("data directory %s: %w", dataDir, err)
	}
	rel, err := filepath.Rel(dir, file)
	if err != nil {
		return fmt.Errorf("keyfile %s: %w", keyfile, err)
	}
	if rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return fmt.Errorf("keyfile %s lies in the data directory %s; keep it elsewhere, so that a copy "+
			"of the data does not hold its keys", keyfile, dataDir)
	}
	return nil
}

// realPath resolves the symbolic links of the part of the path that is there.
func realPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for rest := ""; ; {
		resolved, err := filepath.EvalSymlinks(path)
		if err == nil {
			return filepath.Join(resolved, rest), nil
		}
		parent := filepath.Dir(path)
		if !errors.Is(err, os.ErrNotExist) || parent == path {
			return "", err
		}
		rest = filepath.Join(filepath.Base(path), rest)
		path = parent
	}
}
