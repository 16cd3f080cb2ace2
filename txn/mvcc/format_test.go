package mvcc_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
	"github.com/vipkv/vipkv/txn/mvcc"
)

// clearSealer shows the plaintext and what it is bound to.
type clearSealer struct{}

func (clearSealer) Seal(dst []byte, m mvcc.ValueMeta, plaintext []byte) ([]byte, error) {
	return fmt.Appendf(dst, "<%d %x %d %d|%x>", m.Tenant, m.Key, m.ExpiryMillis, m.Start, plaintext), nil
}

func (clearSealer) Open([]byte, mvcc.ValueMeta, []byte) ([]byte, error) {
	return nil, errors.New("not here")
}

// dump evaluates a command on an empty range and shows what it writes.
func dump(t *testing.T, req *internalpb.ExecuteRequest) string {
	t.Helper()
	c := newCluster()
	req.Tenant = 7
	res, err := mvcc.Evaluate(&mvcc.Env{
		Reader: c.store.NewView(), Sealer: clearSealer{}, Tenant: 7, Now: proto.MakeTimestamp(1000, 1),
		Draw: func(b []byte) { copy(b, bytes.Repeat([]byte{0xD0}, len(b))) },
	}, req)
	if err != nil {
		t.Fatal(err)
	}
	return showBatch(t, res)
}

func showBatch(t *testing.T, res *mvcc.Result) string {
	t.Helper()
	var out strings.Builder
	for ops := res.Batch.Ops(); ; {
		op, ok, err := ops.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return out.String()
		}
		value := op.Value
		if i := bytes.IndexByte(value, '<'); i >= 0 && bytes.HasSuffix(value, []byte{'>'}) {
			fmt.Fprintf(&out, "%x = %x %s\n", op.Key, value[:i], value[i:])
		} else {
			fmt.Fprintf(&out, "%x = %x\n", op.Key, value)
		}
	}
}

// TestFormat pins the bytes of every stored value. When it fails, stores that exist can not be read any more.
func TestFormat(t *testing.T) {
	id := &vipkvpb.RequestId{Id: []byte("0123456789abcdef"), IssuedMs: 1002}
	put := &vipkvpb.PutRequest{Key: []byte("k"), Value: []byte("v"), TtlMs: 5, RequestId: id}
	del := &vipkvpb.DeleteRequest{Key: []byte("k")}
	app := &vipkvpb.AppendRequest{Stream: []byte("s\x00"), RequestId: id, Records: []*vipkvpb.Record{record("c", "b")}}
	got := "put\n" + dump(t, &internalpb.ExecuteRequest{Request: &internalpb.ExecuteRequest_Put{Put: put}}) +
		"delete\n" + dump(t, &internalpb.ExecuteRequest{Request: &internalpb.ExecuteRequest_Delete{Delete: del}}) +
		"append\n" + dump(t, &internalpb.ExecuteRequest{Request: &internalpb.ExecuteRequest_Append{Append: app}})
	env := &mvcc.Env{Reader: newCluster().store.NewView(), Sealer: clearSealer{}, Tenant: 7, Now: 9}
	key := mvcc.PlainKey(7, []byte("k"))
	in := mvcc.Intent{Primary: []byte("P"), Start: 3, TTLMillis: 4, Expiry: 5}
	intent, err := mvcc.PrewriteIntent(env, key, in, []byte("v"))
	if err != nil {
		t.Fatal(err)
	}
	got += "intent\n" + showBatch(t, intent)
	aborted, err := mvcc.AbortIntent(env, key, 3)
	if err != nil {
		t.Fatal(err)
	}
	got += "rollback\n" + showBatch(t, aborted)
	want, err := os.ReadFile("testdata/format.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Fatalf("got\n%s", got)
	}
}

func FuzzStoredValues(f *testing.F) {
	zeros := strings.Repeat("00", 44)
	for _, seed := range []string{"01000000000000000000", "0107" + zeros, "1101" + zeros[:52]} {
		b, err := hex.DecodeString(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := mvcc.Reencode(b); err != nil {
			t.Fatal(err)
		}
	})
}
