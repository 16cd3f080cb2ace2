package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"pgregory.net/rapid"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/raftstore/engine"
)

func TestComparerPassesPebblesCheck(t *testing.T) {
	prefixes := [][]byte{
		keys.Store("ident"), keys.Local(1, keys.KindApplied), keys.LogEntry(1, 9), keys.LogEntry(1, 1<<40),
		keys.Data(nil), keys.Data([]byte("a")), keys.Data([]byte("a\x00")), keys.Data([]byte("a\x00\x09")),
		keys.Data([]byte{0xff, 0xff}), keys.Data(bytes.Repeat([]byte{9}, 12)), {0},
	}
	var suffixes [][]byte
	for _, ts := range []proto.Timestamp{1, 255, 256, 1 << 32, 1<<64 - 1} {
		suffixes = append(suffixes, keys.AppendSuffix(nil, ts))
	}
	if err := pebble.CheckComparer(engine.NewComparer(), prefixes, suffixes); err != nil {
		t.Fatal(err)
	}
}

// anyKey is a well-formed key; short bodies of few bytes make neighbours and equal prefixes likely.
func anyKey() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		body := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 9, 'a', 'b', 0xfe, 0xff}), 0, 10).Draw(t, "body")
		k := append(body, 0)
		if rapid.Bool().Draw(t, "versioned") {
			k = keys.AppendSuffix(k, proto.Timestamp(rapid.SampledFrom([]uint64{1, 2, 9 << 8, 1<<64 - 1}).Draw(t, "ts")))
		}
		return k
	})
}

func TestComparerProperties(t *testing.T) {
	c := engine.NewComparer()
	rapid.Check(t, func(t *rapid.T) {
		a, b, d := anyKey().Draw(t, "a"), anyKey().Draw(t, "b"), anyKey().Draw(t, "d")
		if c.Compare(a, b) > 0 {
			a, b = b, a
		}
		cmp := c.Compare(a, b)
		if back := c.Compare(b, a); back != -cmp || (cmp == 0) != c.Equal(a, b) {
			t.Fatalf("compare %d, back %d", cmp, back)
		}
		if c.Compare(b, d) <= 0 && c.Compare(a, d) > 0 {
			t.Fatalf("%x <= %x <= %x is not transitive", a, b, d)
		}
		if c.AbbreviatedKey(a) > c.AbbreviatedKey(b) {
			t.Fatal("abbreviated keys order otherwise")
		}
		if cmp < 0 {
			s := c.Separator([]byte("kept"), a, b)[4:]
			if c.Compare(a, s) > 0 || c.Compare(s, b) >= 0 || len(s) > len(a)+1 || c.ValidateKey(s) != nil {
				t.Fatalf("separator %x", s)
			}
		}
		if s := c.Successor([]byte("kept"), a)[4:]; c.Compare(a, s) > 0 || c.ValidateKey(s) != nil {
			t.Fatalf("successor %x", s)
		}
		p := a[:c.Split(a)]
		next := c.ImmediateSuccessor(nil, p)
		if c.Split(next) != len(next) || c.Compare(a, next) >= 0 {
			t.Fatalf("immediate successor %x", next)
		}
		if q := d[:c.Split(d)]; c.Compare(p, q) < 0 && c.Compare(q, next) < 0 {
			t.Fatalf("%x lies between %x and %x", q, p, next)
		}
	})
}

func TestMalformedKeysAreInvalid(t *testing.T) {
	c := engine.NewComparer()
	for _, k := range [][]byte{nil, {9}, []byte("abc"), []byte("0123456789012345\x09")} {
		if err := c.ValidateKey(k); !errors.Is(err, engine.ErrBadKey) {
			t.Errorf("%x: %v", k, err)
		}
		c.Separator(nil, append(k, 'x'), []byte("y")) // must not panic
		c.Successor(nil, k)
	}
}

// What Pebble prints of a key, in logs and errors, must not show what a user wrote.
func TestFormattedKeysHideUserBytes(t *testing.T) {
	k := keys.Version([]byte("\x00\x00\x00\x2ak-alice-secret"), 77)
	text := fmt.Sprint(engine.NewComparer().FormatKey(k))
	if bytes.Contains([]byte(text), []byte("alice")) || bytes.Contains([]byte(text), fmt.Appendf(nil, "%x", "alice")) {
		t.Errorf("key is printed as %s", text)
	}
	if want := "030000002a..(20 bytes)/ffffffffffffffb209"; text != want {
		t.Errorf("key is printed as %s, want %s", text, want)
	}
}
