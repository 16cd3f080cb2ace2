package mvcc_test

import (
	"bytes"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/txn/mvcc"
)

func TestAdjustSplitKey(t *testing.T) {
	prefix := mvcc.StreamPrefix(7, []byte("a\x00b"))
	if want := "\x00\x00\x00\x07sa\x00\xffb\x00\x01"; string(prefix) != want {
		t.Fatalf("prefix %q, want %q", prefix, want)
	}
	with := func(more string) []byte { return append(bytes.Clone(prefix), more...) }
	end := mvcc.StreamEnd(7, []byte("a\x00b"))
	for name, test := range map[string]struct{ key, want []byte }{
		"empty":                  {nil, nil},
		"system tenant":          {mvcc.PlainKey(0, []byte("x")), nil},
		"border of a tenant":     {mvcc.TenantPrefix(9), mvcc.TenantPrefix(9)},
		"plain key":              {mvcc.PlainKey(7, []byte("x\x00\x01z")), mvcc.PlainKey(7, []byte("x\x00\x01z"))},
		"border of a space":      {[]byte("\x00\x00\x00\x07s"), []byte("\x00\x00\x00\x07s")},
		"inside a name":          {prefix[:7], prefix[:7]},
		"inside a terminator":    {prefix[:len(prefix)-1], prefix[:len(prefix)-1]},
		"start of a stream":      {prefix, prefix},
		"before the records":     {with("a"), with("a")},
		"a record":               {with("m\x00\x00\x00\x00\x00\x00\x00\x09"), with("m\x00\x00\x00\x00\x00\x00\x00\x09")},
		"no record's key":        {with("m\x00\x00"), end},
		"after a record's key":   {with("m\x00\x00\x00\x00\x00\x00\x00\x09\x00"), end},
		"records and tail":       {with("n"), end},
		"start of the tail":      {mvcc.StreamTailKey(7, []byte("a\x00b")), end},
		"a row of the tail":      {with("zc\x00\x01m"), end},
		"behind all of the tail": {with("\xff"), end},
		"end of a stream":        {end, end},
	} {
		if got := mvcc.AdjustSplitKey(test.key); !bytes.Equal(got, test.want) {
			t.Errorf("%s: %q becomes %q, want %q", name, test.key, got, test.want)
		}
	}
}

// No split lies inside a tail block, whatever the candidate; and the keys of different streams do not mix.
func TestStreamsDoNotMix(t *testing.T) {
	names := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 'm', 'z', 0xFF}), 1, 5)
	rapid.Check(t, func(t *rapid.T) {
		a, b := names.Draw(t, "a"), names.Draw(t, "b")
		rest := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'c', 0xFF}), 0, 12).Draw(t, "rest")
		inTail := append(mvcc.StreamTailKey(7, a), rest...)
		end := mvcc.StreamEnd(7, a)
		if got := mvcc.AdjustSplitKey(inTail); !bytes.Equal(got, end) {
			t.Fatalf("%q becomes %q", inTail, got)
		}
		if bytes.Compare(inTail, end) >= 0 || bytes.Compare(mvcc.StreamRecordKey(7, a, math.MaxUint64), inTail) >= 0 {
			t.Fatalf("%q is not between the records and the end", inTail)
		}
		inside := bytes.Compare(mvcc.StreamPrefix(7, b), mvcc.StreamPrefix(7, a)) >= 0 &&
			bytes.Compare(mvcc.StreamPrefix(7, b), end) < 0
		if inside != bytes.Equal(a, b) {
			t.Fatalf("stream %q begins inside stream %q", b, a)
		}
		if cmp := bytes.Compare(mvcc.StreamPrefix(7, a), mvcc.StreamPrefix(7, b)); cmp != bytes.Compare(a, b) {
			t.Fatalf("streams %q and %q sort otherwise than their names", a, b)
		}
	})
}

func TestClipSpan(t *testing.T) {
	key := func(tenant proto.TenantID, k string) []byte { return mvcc.PlainKey(tenant, []byte(k)) }
	for name, test := range map[string]struct {
		tenant     proto.TenantID
		start, end []byte
		from, to   string
		ok         bool
	}{
		"all":            {7, nil, nil, "", "", true},
		"inside":         {7, key(7, "b"), key(7, "c"), "kb", "kc", true},
		"over the start": {7, key(3, "b"), key(7, "c"), "", "kc", true},
		"over the end":   {7, key(7, "b"), key(9, "c"), "kb", "", true},
		"around":         {7, key(3, "b"), key(9, "c"), "", "", true},
		"before":         {7, key(3, "b"), mvcc.TenantPrefix(7), "", "", false},
		"behind":         {7, mvcc.TenantPrefix(8), nil, "", "", false},
		"the last":       {math.MaxUint32, key(3, ""), nil, "", "", true},
	} {
		from, to, ok := mvcc.ClipSpan(test.tenant, test.start, test.end)
		if string(from) != test.from || string(to) != test.to || ok != test.ok {
			t.Errorf("%s: %q, %q, %v", name, from, to, ok)
		}
	}
}
