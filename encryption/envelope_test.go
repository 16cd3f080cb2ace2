package encryption

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/vipkv/vipkv/proto/rpcerr"
)

const testDomain = 0x8000000000000007

func testKey(seed byte) []byte {
	sum := sha256.Sum256([]byte{seed})
	return sum[:]
}

func newTestDomain(t testing.TB, id uint64, o Options, deks ...DEK) *Domain {
	t.Helper()
	if len(deks) == 0 {
		deks = []DEK{{ID: 1, Key: testKey(1), Active: true}}
	}
	d, err := NewDomain(id, deks, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustSeal(t testing.TB, d *Domain, m Meta, plaintext []byte) []byte {
	t.Helper()
	envelope, err := d.Seal(nil, m, plaintext)
	if err != nil {
		t.Fatal(err)
	}
	return envelope
}

// text is compressible, noise is not.
func text(n int) []byte { return bytes.Repeat([]byte("conversation 17, "), n/17+1)[:n] }

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// What was sealed opens, for all sizes around the limits, behind whatever dst already holds.
func TestSealOpen(t *testing.T) {
	d := newTestDomain(t, testDomain, Options{})
	m := Meta{Key: []byte("k/user/1"), ExpiryMillis: 12345, Start: 77}
	for _, n := range []int{0, 1, compressMin - 1, compressMin, 1000, 64 << 10, 1 << 20, MaxInflated, MaxInflated + 1} {
		for name, plaintext := range map[string][]byte{"text": text(n), "noise": noise(n)} {
			envelope, err := d.Seal([]byte("before"), m, plaintext)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(envelope, []byte("before")) {
				t.Fatalf("%s %d: dst was not kept", name, n)
			}
			envelope = envelope[len("before"):]
			if len(envelope) > n+Overhead {
				t.Errorf("%s %d: the envelope has %d bytes", name, n, len(envelope))
			}
			compressed := envelope[2]&flagZstd != 0
			if want := name == "text" && n >= 1000 && n <= MaxInflated; compressed != want && n != compressMin {
				t.Errorf("%s %d: compressed is %v", name, n, compressed)
			}
			got, err := d.Open([]byte("pre"), m, envelope)
			if err != nil || !bytes.Equal(got, append([]byte("pre"), plaintext...)) {
				t.Fatalf("%s %d: opened to %d bytes, %v", name, n, len(got), err)
			}
		}
	}
}

// The layout is what doc.go says: opened here by hand, with nothing of the package.
func TestLayout(t *testing.T) {
	if NullCipher {
		return // the null cipher's layout is in TestNullCipherShowsPlaintext
	}
	d := newTestDomain(t, testDomain, Options{})
	envelope := mustSeal(t, d, Meta{Key: []byte("kx"), ExpiryMillis: 5, Start: 6}, []byte("hello"))
	if len(envelope) != 48+5 || !bytes.Equal(envelope[:8], []byte{0xE1, 1, 0x08, 1, 0, 0, 0, 1}) {
		t.Fatalf("header %x, length %d", envelope[:8], len(envelope))
	}
	info := append([]byte("vipkv/envelope/v1\x01"), 0x80, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1)
	key, err := hkdf.Key(sha256.New, testKey(1), envelope[8:20], string(info), 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	var aad []byte
	for _, field := range [][]byte{
		[]byte("VIPKVENC1"), {0x80, 0, 0, 0, 0, 0, 0, 7}, []byte("kx"), {0, 0, 0, 0, 0, 0, 0, 6},
		{0, 0, 0, 0, 0, 0, 0, 5}, envelope[:20],
	} {
		aad = append(binary.BigEndian.AppendUint32(aad, uint32(len(field))), field...)
	}
	plaintext, err := gcm.Open(nil, envelope[20:32], envelope[32:], aad)
	if err != nil || string(plaintext) != "hello" {
		t.Fatalf("%q, %v", plaintext, err)
	}
}

func wantIntegrity(t testing.TB, d *Domain, m Meta, envelope []byte, what string) {
	t.Helper()
	got, err := d.Open(nil, m, envelope)
	var typed *IntegrityError
	if !errors.Is(err, ErrIntegrity) || !errors.As(err, &typed) || got != nil {
		t.Errorf("%s: opened to %d bytes, %v", what, len(got), err)
	}
}

// Every change of a bit, every cut and every addition is an integrity error.
func TestTamper(t *testing.T) {
	d := newTestDomain(t, testDomain, Options{})
	m := Meta{Key: []byte("k/user/1"), ExpiryMillis: 12345, Start: 77}
	for _, plaintext := range [][]byte{nil, []byte("a"), text(300)} {
		envelope := mustSeal(t, d, m, plaintext)
		for i := range envelope {
			for bit := range 8 {
				changed := bytes.Clone(envelope)
				changed[i] ^= 1 << bit
				wantIntegrity(t, d, m, changed, fmt.Sprintf("byte %d bit %d", i, bit))
			}
			wantIntegrity(t, d, m, envelope[:i], fmt.Sprintf("cut at %d", i))
		}
		wantIntegrity(t, d, m, append(bytes.Clone(envelope), 0), "one byte more")
		if _, err := d.Open(nil, m, envelope); err != nil {
			t.Fatalf("the original: %v", err)
		}
	}
}

// An envelope opens nowhere but where it was sealed.
func TestSwap(t *testing.T) {
	d := newTestDomain(t, testDomain, Options{})
	m := Meta{Key: []byte("k/user/1"), ExpiryMillis: 12345, Start: 77}
	envelope := mustSeal(t, d, m, []byte("value"))
	for what, other := range map[string]Meta{
		"key":        {Key: []byte("k/user/2"), ExpiryMillis: 12345, Start: 77},
		"longer key": {Key: []byte("k/user/1\x00"), ExpiryMillis: 12345, Start: 77},
		"expiry":     {Key: m.Key, ExpiryMillis: 12346, Start: 77},
		"no expiry":  {Key: m.Key, Start: 77},
		"start":      {Key: m.Key, ExpiryMillis: 12345, Start: 78},
		"both":       {Key: m.Key, ExpiryMillis: 77, Start: 12345},
	} {
		wantIntegrity(t, d, other, envelope, what)
	}
	wantIntegrity(t, newTestDomain(t, testDomain+1, Options{}), m, envelope, "same keys, other domain")
	if !NullCipher {
		other := newTestDomain(t, testDomain, Options{}, DEK{ID: 1, Key: testKey(2), Active: true})
		wantIntegrity(t, other, m, envelope, "same domain, other key")
	}
	same := newTestDomain(t, testDomain, Options{})
	if got, err := same.Open(nil, m, envelope); err != nil || string(got) != "value" {
		t.Fatalf("another process with the same keys: %q, %v", got, err)
	}
}

// A data key that the domain does not know is told apart, because another node may have made it.
func TestUnknownDEK(t *testing.T) {
	newer := newTestDomain(t, testDomain, Options{},
		DEK{ID: 1, Key: testKey(1)}, DEK{ID: 2, Key: testKey(2), Active: true})
	older := newTestDomain(t, testDomain, Options{})
	m := Meta{Key: []byte("k")}
	_, err := older.Open(nil, m, mustSeal(t, newer, m, []byte("v")))
	var typed *IntegrityError
	if !errors.As(err, &typed) || !typed.UnknownDEK || typed.DEK != 2 {
		t.Fatalf("%v", err)
	}
	if got, err := newer.Open(nil, m, mustSeal(t, older, m, []byte("v"))); err != nil || string(got) != "v" {
		t.Fatalf("the older data key: %q, %v", got, err)
	}
}

// An integrity error reaches the wire as one, and names no byte of the value.
func TestIntegrityErrorOnTheWire(t *testing.T) {
	d := newTestDomain(t, testDomain, Options{})
	_, err := d.Open(nil, Meta{}, []byte("short"))
	var wire *rpcerr.IntegrityError
	if !errors.As(err, &wire) {
		t.Fatalf("%v is no rpcerr.IntegrityError", err)
	}
	if c := status.Code(rpcerr.Encode(err)); c != codes.DataLoss {
		t.Fatalf("code %v", c)
	}
}

// A subkey seals no more than its share, and no longer than its time; what it sealed opens for ever.
func TestSubkeyRotation(t *testing.T) {
	now := time.Unix(1000, 0)
	d := newTestDomain(t, testDomain, Options{
		Now: func() time.Time { return now }, SealsPerSubkey: 10, SubkeyAge: time.Minute, OpenSubkeys: 3,
	})
	m := Meta{Key: []byte("k")}
	var envelopes [][]byte
	perPrefix := make(map[string]int)
	seal := func() string {
		e := mustSeal(t, d, m, []byte{byte(len(envelopes))})
		envelopes = append(envelopes, e)
		perPrefix[string(e[8:20])]++
		return string(e[8:20])
	}
	for range 95 {
		seal()
	}
	if len(perPrefix) != 10 {
		t.Fatalf("95 values under %d prefixes", len(perPrefix))
	}
	last := seal()
	now = now.Add(time.Minute)
	if seal() == last {
		t.Error("the prefix outlived its time")
	}
	for prefix, n := range perPrefix {
		if n > 10 {
			t.Errorf("%d values under prefix %x", n, prefix)
		}
	}
	for i, e := range envelopes {
		if got, err := d.Open(nil, m, e); err != nil || got[0] != byte(i) {
			t.Fatalf("value %d: %v, %v", i, got, err)
		}
	}
	if n := len(d.mu.open); n > 3 {
		t.Errorf("%d subkeys are kept", n)
	}
}

// The limit of a subkey holds with many sealers, and no nonce comes twice.
func TestConcurrentSeals(t *testing.T) {
	const workers, each, limit = 8, 400, 64
	d := newTestDomain(t, testDomain, Options{SealsPerSubkey: limit})
	var mu sync.Mutex
	perPrefix, nonces := make(map[string]int), make(map[string]bool)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				e := mustSeal(t, d, Meta{}, []byte("value"))
				if _, err := d.Open(nil, Meta{}, e); err != nil {
					t.Error(err)
				}
				mu.Lock()
				perPrefix[string(e[8:20])]++
				nonces[string(e[8:32])] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for prefix, n := range perPrefix {
		if n > limit {
			t.Errorf("%d values under prefix %x", n, prefix)
		}
	}
	if !NullCipher && len(nonces) != workers*each {
		t.Errorf("%d different nonces for %d values", len(nonces), workers*each)
	}
}

// Close clears the bytes of the keys and ends the domain.
func TestClose(t *testing.T) {
	d := newTestDomain(t, testDomain, Options{})
	envelope := mustSeal(t, d, Meta{}, []byte("v"))
	d.Close()
	for id, key := range d.mu.keys.keys {
		if *key != [KeyLength]byte{} {
			t.Errorf("data key %d is still there", id)
		}
	}
	_, sealErr := d.Seal(nil, Meta{}, nil)
	_, openErr := d.Open(nil, Meta{}, envelope)
	for _, err := range []error{sealErr, openErr} {
		var unavailable *rpcerr.KeyUnavailableError
		if !errors.Is(err, ErrClosed) || !errors.As(err, &unavailable) {
			t.Errorf("%v", err)
		}
	}
}

func TestNewDomainRefuses(t *testing.T) {
	good := DEK{ID: 1, Key: testKey(1), Active: true}
	for what, c := range map[string]struct {
		id   uint64
		deks []DEK
	}{
		"domain 0":      {0, []DEK{good}},
		"no key":        {1, nil},
		"no active key": {1, []DEK{{ID: 1, Key: testKey(1)}}},
		"key id 0":      {1, []DEK{{ID: 0, Key: testKey(1), Active: true}}},
		"short key":     {1, []DEK{{ID: 1, Key: testKey(1)[:31], Active: true}}},
		"key twice":     {1, []DEK{good, good}},
	} {
		if _, err := NewDomain(c.id, c.deks, Options{}); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
}

// sealRaw seals content as if the codec had made it.
func sealRaw(t *testing.T, d *Domain, m Meta, content []byte) []byte {
	t.Helper()
	key, err := d.sealingKey()
	if err != nil {
		t.Fatal(err)
	}
	var b [headerLength]byte
	h := header{suite: sealSuite, flags: flagStart | flagZstd, dek: key.id.dek, prefix: key.id.prefix}
	h.encode(&b)
	return key.aead.Seal(b[:], nil, content, appendAAD(nil, d.id, m, b[:]))
}

// An authentic envelope that inflates without end, or is no zstd at all, is refused without taking the memory.
func TestZstdBomb(t *testing.T) {
	d := newTestDomain(t, testDomain, Options{})
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := encoder.EncodeAll(make([]byte, 64<<20), nil)
	half := encoder.EncodeAll(make([]byte, MaxInflated/2+1), nil)
	var streamed bytes.Buffer // a frame that does not say how long it is
	w, err := zstd.NewWriter(&streamed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, MaxInflated+1)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for what, content := range map[string][]byte{
		"64 MiB of zeros": bomb, "two frames": append(bytes.Clone(half), half...),
		"unknown size": streamed.Bytes(), "no zstd": []byte("garbage"), "cut": half[:len(half)-1],
	} {
		wantIntegrity(t, d, Meta{}, sealRaw(t, d, Meta{}, content), what)
	}
	fits := encoder.EncodeAll(make([]byte, MaxInflated), nil)
	if got, err := d.Open(nil, Meta{}, sealRaw(t, d, Meta{}, fits)); err != nil || len(got) != MaxInflated {
		t.Errorf("the largest: %d bytes, %v", len(got), err)
	}
}

type golden struct {
	Comment   string `json:"comment"`
	Domain    uint64 `json:"domain"`
	DEK       uint32 `json:"dek"`
	DEKHex    string `json:"dek_hex"`
	KeyHex    string `json:"key_hex"`
	Expiry    int64  `json:"expiry_ms"`
	Start     uint64 `json:"start"`
	Plaintext string `json:"plaintext_base64"`
	Envelope  string `json:"envelope_base64"`
}

// Envelopes that were made by the first version open for ever. Files are added to testdata/golden, never changed.
func TestGoldenEnvelopesOpen(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var rows []golden
		if err := json.Unmarshal(content, &rows); err != nil || len(rows) == 0 {
			t.Fatalf("%s: %d rows, %v", file, len(rows), err)
		}
		for _, g := range rows {
			d := newTestDomain(t, g.Domain, Options{}, DEK{ID: g.DEK, Key: unhex(t, g.DEKHex), Active: true})
			m := Meta{Key: unhex(t, g.KeyHex), ExpiryMillis: g.Expiry, Start: g.Start}
			got, err := d.Open(nil, m, unbase64(t, g.Envelope))
			if err != nil || !bytes.Equal(got, unbase64(t, g.Plaintext)) {
				t.Errorf("%s: %s: %v", file, g.Comment, err)
			}
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Two different places never have equal associated data, whatever their keys hold.
func FuzzAADInjective(f *testing.F) {
	header := make([]byte, headerLength)
	f.Add(uint64(1), []byte("ab"), int64(0), uint64(0), uint64(1), []byte("a"), int64(0), uint64(0))
	f.Add(uint64(1), []byte("a\x00\x00\x00\x08"), int64(8), uint64(1), uint64(1), []byte("a"), int64(1), uint64(8))
	f.Fuzz(func(t *testing.T, d1 uint64, k1 []byte, e1 int64, s1 uint64, d2 uint64, k2 []byte, e2 int64, s2 uint64) {
		a := appendAAD(nil, d1, Meta{Key: k1, ExpiryMillis: e1, Start: s1}, header)
		b := appendAAD(nil, d2, Meta{Key: k2, ExpiryMillis: e2, Start: s2}, header)
		same := d1 == d2 && bytes.Equal(k1, k2) && e1 == e2 && s1 == s2
		if bytes.Equal(a, b) != same {
			t.Errorf("same place: %v, same associated data: %v", same, !same)
		}
	})
}

// The fields can be read back from the associated data, so it is injective: the proof behind FuzzAADInjective.
func TestAADParsesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		domain := rapid.Uint64().Draw(t, "domain")
		m := Meta{
			Key:          rapid.SliceOf(rapid.Byte()).Draw(t, "key"),
			ExpiryMillis: rapid.Int64().Draw(t, "expiry"),
			Start:        rapid.Uint64().Draw(t, "start"),
		}
		header := rapid.SliceOfN(rapid.Byte(), headerLength, headerLength).Draw(t, "header")
		var fields [][]byte
		for rest := appendAAD(nil, domain, m, header); len(rest) > 0; {
			n := binary.BigEndian.Uint32(rest)
			fields = append(fields, rest[4:4+n])
			rest = rest[4+n:]
		}
		if len(fields) != 6 || string(fields[0]) != "VIPKVENC1" ||
			binary.BigEndian.Uint64(fields[1]) != domain || !bytes.Equal(fields[2], m.Key) ||
			binary.BigEndian.Uint64(fields[3]) != m.Start ||
			int64(binary.BigEndian.Uint64(fields[4])) != m.ExpiryMillis || !bytes.Equal(fields[5], header) {
			t.Fatalf("%x", fields)
		}
	})
}

// Whatever lies on the disk: an integrity error, or exactly what was sealed. Never a panic, never other bytes.
func FuzzEnvelopeOpen(f *testing.F) {
	d := newTestDomain(f, testDomain, Options{})
	m := Meta{Key: []byte("k"), ExpiryMillis: 1, Start: 2}
	sealed := mustSeal(f, d, m, text(200))
	f.Add(sealed)
	f.Add(mustSeal(f, d, m, nil))
	f.Add([]byte{})
	f.Add(make([]byte, Overhead))
	f.Fuzz(func(t *testing.T, envelope []byte) {
		got, err := d.Open(nil, m, envelope)
		if err != nil {
			if !errors.Is(err, ErrIntegrity) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(got, text(200)) && len(got) != 0 {
			t.Fatalf("opened to %x", got)
		}
	})
}

// The package works with the FIPS 140-3 module on, and where it is the only one allowed.
func TestFIPS(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const run = "^(TestSealOpen|TestTamper|TestGoldenEnvelopesOpen|TestTenantKeys|TestSystemDomain|TestKeyfileCreate)$"
	for _, mode := range []string{"on", "only"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, self, "-test.run", run, "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG=fips140="+mode)
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Count(string(out), "--- PASS") < 6 {
			t.Errorf("fips140=%s: %v\n%s", mode, err, out)
		}
	}
}

func BenchmarkSeal(b *testing.B) { benchmark(b, true) }

func BenchmarkOpen(b *testing.B) { benchmark(b, false) }

func benchmark(b *testing.B, seal bool) {
	for _, n := range []int{64, 256, 1 << 10, 4 << 10, 64 << 10} {
		for name, plaintext := range map[string][]byte{"noise": noise(n), "text": text(n)} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				d := newTestDomain(b, testDomain, Options{})
				m := Meta{Key: []byte("k/conversation/1234567890"), Start: 77}
				envelope := mustSeal(b, d, m, plaintext)
				buf := make([]byte, 0, n+Overhead+64)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					var err error
					if seal {
						_, err = d.Seal(buf, m, plaintext)
					} else {
						_, err = d.Open(buf, m, envelope)
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
