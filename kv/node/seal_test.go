package node_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/vipkv/vipkv/encryption"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/proto"
	"github.com/vipkv/vipkv/proto/keys"
	"github.com/vipkv/vipkv/proto/rpcerr"
	"github.com/vipkv/vipkv/proto/storage"
	"github.com/vipkv/vipkv/raftstore/engine"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// canary is 64 random bytes: no compressor shortens them, so they stand in a file as they are or
// not at all.
func canary() []byte {
	b := make([]byte, 64)
	_, _ = rand.Read(b)
	return b
}

// No byte of a value is on any disk in clear: not in the log, not in tables, not in what a range
// snapshot brought to stores that joined later. In a build with the null cipher the same search
// finds them, so the search works.
func TestCanariesAreNowhereOnDisk(t *testing.T) {
	c := newCluster(t, 1)
	ctx := context.Background()
	tenant := c.tenant("acme")
	var canaries [][]byte
	put := func(from, to int) {
		for i := from; i < to; i++ {
			v := canary()
			canaries = append(canaries, v)
			if _, err := tenant.Put(ctx, []byte{byte(i)}, v, client.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			r := canary()
			canaries = append(canaries, r)
			if _, err := tenant.Append(ctx, "talk", []client.Record{{ClientID: string(rune('a' + i)), Body: r}},
				client.AppendOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(0, 8)
	c.start(2)
	c.start(3)
	c.waitReplicated()
	put(8, 16)
	c.stopAll()

	found := 0
	for _, n := range canaries {
		found += searchFiles(t, c.dir, n) + c.searchEngines(n)
	}
	if encryption.NullCipher && found < len(canaries) {
		t.Fatalf("the search found %d canaries of %d in a build without encryption: it searches badly", found, len(canaries))
	}
	if !encryption.NullCipher && found > 0 {
		t.Fatalf("%d canaries lie on disk in clear", found)
	}
}

func searchFiles(t *testing.T, dir string, needle []byte) (found int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, needle) {
			found++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// searchEngines looks at everything the engines hold, log included, uncompressed.
func (c *cluster) searchEngines(needle []byte) (found int) {
	for i := range c.nodes {
		c.withEngine(i, func(e engine.Engine) {
			it, err := e.NewIter(storage.IterOptions{})
			if err != nil {
				c.t.Fatal(err)
			}
			for ok := it.SeekGE([]byte{0, 0}); ok; ok = it.Next() {
				if _, v := it.Item(); bytes.Contains(v, needle) {
					found++
				}
			}
			if err := it.Close(); err != nil {
				c.t.Fatal(err)
			}
		})
	}
	return found
}

func (c *cluster) withEngine(i int, f func(engine.Engine)) {
	c.t.Helper()
	e, err := engine.OpenPebble(c.data(i), engine.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	f(e)
	if err := e.Close(); err != nil {
		c.t.Fatal(err)
	}
}

// newest finds the newest version of a plain key in an engine.
func newest(t *testing.T, e engine.Engine, tenant uint32, key string) (k, v []byte) {
	t.Helper()
	data := keys.Data(mvcc.PlainKey(proto.TenantID(tenant), []byte(key)))
	it, err := e.NewIter(storage.IterOptions{Lower: data})
	if err != nil {
		t.Fatal(err)
	}
	if !it.SeekGE(data) {
		t.Fatalf("no version of %q", key)
	}
	k, v = it.Item()
	k, v = bytes.Clone(k), bytes.Clone(v)
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return k, v
}

// A bit that was flipped in a stored value, and an envelope that was moved to another key, another
// version or another tenant, give an integrity error, never data.
func TestTamperedValuesAreRefused(t *testing.T) {
	if encryption.NullCipher {
		t.Log("the null cipher authenticates nothing")
		return
	}
	c := newCluster(t, 1)
	ctx := context.Background()
	a, b := c.tenant("alice"), c.tenant("bob")
	for _, k := range []string{"flipped", "source", "target", "good"} {
		if _, err := a.Put(ctx, []byte(k), []byte("value of "+k), client.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Put(ctx, []byte("target"), []byte("bob's"), client.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	aliceID, bobID := c.tenantID("alice"), c.tenantID("bob")
	c.stopAll()
	c.withEngine(0, func(e engine.Engine) {
		var batch storage.Batch
		k, v := newest(t, e, aliceID, "flipped")
		v[len(v)-1] ^= 1
		batch.Set(k, v)
		_, source := newest(t, e, aliceID, "source")
		k, _ = newest(t, e, aliceID, "target")
		batch.Set(k, source)
		k, _ = newest(t, e, bobID, "target")
		batch.Set(k, source)
		if err := e.Commit(&batch, true); err != nil {
			t.Fatal(err)
		}
	})
	c.start(1)
	var integrity *rpcerr.IntegrityError
	for _, at := range []struct {
		who *client.Client
		key string
	}{{a, "flipped"}, {a, "target"}, {b, "target"}} {
		if got, err := at.who.Get(ctx, []byte(at.key)); !errors.As(err, &integrity) {
			t.Errorf("get %s: %v, %v", at.key, got, err)
		}
	}
	if got, err := a.Get(ctx, []byte("good")); err != nil || string(got.Value) != "value of good" {
		t.Errorf("get good: %v, %v", got, err)
	}
}
