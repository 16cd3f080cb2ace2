package proc_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/proto/rpcerr"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// Bad credentials and bad arguments of the command line: what a user sees.
func TestClientRefused(t *testing.T) {
	p := newPlace(t)
	admin, err := p.c.AdminCredential()
	must(t, err)
	other, err := p.c.NewTenant(t.Context(), "other")
	must(t, err)
	long := strings.Repeat("k", 4097)
	for _, row := range []struct {
		name, credential string
		args             []string
		code             int
		says             string // in what it prints on stderr
	}{
		{"no credential", "", []string{"kv", "get", "k"}, 2, "--credential"},
		{"no credential that could be", "colour", []string{"kv", "get", "k"}, 5, "credential"},
		{"credential with a typing error", p.key[:len(p.key)-4] + "0000", []string{"kv", "get", "k"}, 5, "typing error"},
		{"another cluster's credential", newPlace(t).key, []string{"kv", "get", "k"}, 5, "credential"},
		{"tenant asks for administration", p.key, []string{"tenant", "list"}, 5, "admin credential"},
		{"administrator asks for data", admin, []string{"kv", "get", "k"}, 5, "tenant's credential"},
		{"another tenant's key", other, []string{"kv", "get", "k"}, 3, "not found"},
		{"no such key", p.key, []string{"kv", "get", "nothing"}, 3, "not found"},
		{"condition that does not hold", p.key, []string{"kv", "put", "k", "v", "--if-absent"}, 4, "k"},
		{"empty key", p.key, []string{"kv", "put", "", "v"}, 2, "key"},
		{"key of 4097 bytes", p.key, []string{"kv", "put", long, "v"}, 2, "4096"},
		{"no such command", p.key, []string{"kv", "gte", "k"}, 2, "did you mean"},
		{"too few arguments", p.key, []string{"kv", "put", "k"}, 2, "usage"},
		{"nobody at the address", p.key, []string{"kv", "get", "k", "--endpoints", "127.0.0.1:1", "--timeout", "1s"}, 6,
			"--endpoints"},
	} {
		t.Run(row.name, func(t *testing.T) {
			code, out, errs := vipkv(t, p.c, row.credential, row.args...)
			t.Logf("exit %d: %s", code, strings.TrimSpace(errs))
			if code != row.code || !strings.Contains(errs, row.says) || out != "" {
				t.Errorf("exit code %d, want %d; %q, want %q in it; on stdout %q", code, row.code, errs, row.says, out)
			}
			if strings.Contains(errs, "kept") {
				t.Errorf("it tells the value: %q", errs)
			}
		})
	}
	if code, out, errs := vipkv(t, p.c, other, "kv", "scan"); code != 0 || strings.Contains(out, "kept") {
		t.Errorf("another tenant's scan: exit code %d: %q %q", code, out, errs)
	}
	p.kept(t)
}

// rawCodec sends the bytes that it is given, whatever they are.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (rawCodec) Unmarshal([]byte, any) error   { return nil }
func (rawCodec) Name() string                  { return "proto" }

// Malformed, oversized and forbidden requests by gRPC are refused with a code, and the node goes on.
func TestRawRequestsRefused(t *testing.T) {
	p := newPlace(t)
	conn, peer := dial(t, p.c.Endpoint(1)), dial(t, p.c.Peer(1))
	ctx := metadata.AppendToOutgoingContext(within(t, time.Minute), "authorization", "Bearer "+p.key)
	put := "/vipkv.v1.KV/Put"
	mib := bytes.Repeat([]byte("x"), 1<<20)
	big := &vipkvpb.CommitRequest{RequestId: requestID()}
	for _, k := range []string{"a", "b", "c", "d", "e"} {
		big.Mutations = append(big.Mutations, &vipkvpb.Mutation{Key: []byte(k), Value: mib})
	}
	encode := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		must(t, err)
		return b
	}
	for _, row := range []struct {
		name    string
		ctx     context.Context
		conn    *grpc.ClientConn
		method  string
		request []byte
		want    codes.Code
	}{
		{"unknown method", ctx, conn, "/vipkv.v1.KV/Explode", nil, codes.Unimplemented},
		{"unknown service", ctx, conn, "/vipkv.v9.KV/Put", nil, codes.Unimplemented},
		{"bytes that are no message", ctx, conn, put, []byte{0xff, 0xff, 0xff}, codes.Internal},
		{"empty request", ctx, conn, put, nil, codes.InvalidArgument},
		{"value too large", ctx, conn, put, encode(&vipkvpb.PutRequest{Key: []byte("k"), Value: append(mib, 'x'),
			RequestId: requestID()}), codes.InvalidArgument},
		{"request too large", ctx, conn, "/vipkv.v1.KV/Commit", encode(big), codes.InvalidArgument},
		{"request far too large", ctx, conn, put, bytes.Repeat(mib, 32), codes.ResourceExhausted},
		{"request id of another length", ctx, conn, put, encode(&vipkvpb.PutRequest{Key: []byte("k"), Value: []byte("v"),
			RequestId: &vipkvpb.RequestId{Id: []byte("short"), IssuedMs: time.Now().UnixMilli()}}), codes.InvalidArgument},
		{"request id of an hour ago", ctx, conn, put, encode(&vipkvpb.PutRequest{Key: []byte("k"), Value: []byte("v"),
			RequestId: &vipkvpb.RequestId{Id: requestID().Id, IssuedMs: time.Now().Add(-time.Hour).UnixMilli()}}),
			codes.FailedPrecondition},
		{"no credential", within(t, time.Minute), conn, put, nil, codes.Unauthenticated},
		{"the nodes' service on the clients' port", ctx, conn, "/vipkv.node.v1.Ranges/Execute", nil, codes.Unimplemented},
		{"a client on the nodes' port", ctx, peer, internalpb.Ranges_Execute_FullMethodName,
			encode(&internalpb.ExecuteRequest{}), codes.Unauthenticated},
	} {
		t.Run(row.name, func(t *testing.T) {
			var ignored []byte
			err := row.conn.Invoke(row.ctx, row.method, row.request, &ignored, grpc.ForceCodec(rawCodec{}))
			t.Log(err)
			if status.Code(err) != row.want {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
	for _, addr := range []string{p.c.Endpoint(1), p.c.Peer(1)} {
		garbage(t, addr)
	}
	p.kept(t)
	if !p.c.Running(1) {
		t.Error("the node has ended")
	}
}

// garbage sends what is not even HTTP/2; the connection is closed.
func garbage(t *testing.T, addr string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(15*time.Second)))
	_, err = c.Write(bytes.Repeat([]byte("colour? \r\n\x00\xff"), 1000))
	for b := make([]byte, 4096); err == nil; {
		_, err = c.Read(b)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("%s keeps a connection that sends garbage open", addr)
	}
}

// The SDK's caller sees typed errors for what is too large, and nothing is written.
func TestTooLargeIsTyped(t *testing.T) {
	p := newPlace(t)
	cl, err := client.Open(t.Context(), client.Options{Endpoints: p.c.Endpoints(), Credential: p.key})
	must(t, err)
	defer cl.Close()
	_, err = cl.Put(t.Context(), []byte("large"), make([]byte, 1<<20+1), client.PutOptions{})
	var large *rpcerr.TooLargeError
	if !errors.As(err, &large) {
		t.Errorf("got %v, want a TooLargeError", err)
	}
	if _, err := cl.Get(t.Context(), []byte("large")); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("get gives %v", err)
	}
	if _, err := cl.Put(t.Context(), []byte("large"), make([]byte, 1<<20), client.PutOptions{}); err != nil {
		t.Errorf("a value of 1 MiB: %v", err)
	}
	p.kept(t)
}
