package proc_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/chaos/proc"
	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/proto/fault/point"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

// retryStory is a cluster in which a node can be made to die between a commit and its answer.
type retryStory struct {
	c          *proc.Cluster
	cl         *client.Client
	credential string
	arm        func(n int) string // the file that arms a node
}

// The leader commits a write and dies before it answers. The same request, sent again through another node, gives the
// recorded answer, marked as a duplicate, and the write is there once.
func TestAcceptRetryOfAnUnansweredWrite(t *testing.T) {
	binary, err := bin.chaos()
	must(t, err)
	arms := t.TempDir()
	for _, at := range point.All() {
		t.Run(string(at), func(t *testing.T) {
			s := &retryStory{arm: func(n int) string { return filepath.Join(arms, fmt.Sprintf("%s-%d", at, n)) }}
			s.c = newCluster(t, proc.Options{Binary: binary, Env: func(n int) []string {
				return []string{fmt.Sprintf("VIPKV_FAULT_POINT=name=%s;arm=%s", at, s.arm(n))}
			}})
			s.credential, err = s.c.NewTenant(t.Context(), "retry")
			must(t, err)
			s.cl, err = client.Open(t.Context(), client.Options{Endpoints: s.c.Endpoints(), Credential: s.credential})
			must(t, err)
			defer s.cl.Close()
			write, verify := s.put, s.verifyPut
			if at == point.AnswerAppend {
				write, verify = s.append, s.verifyAppend
			}
			t.Run("asked at the leader", func(t *testing.T) { s.direct(t, "direct", write, verify) })
			t.Run("forwarded by another node", func(t *testing.T) { s.forwarded(t, "forwarded", write, verify) })
			t.Run("by the SDK alone", func(t *testing.T) { s.sdk(t, "sdk", at) })
		})
	}
}

// answer is what a write says of itself.
type answer struct {
	version, seq uint64
	duplicate    bool
}

type writer func(ctx context.Context, t *testing.T, node int, name string, id *vipkvpb.RequestId) (answer, error)

func (s *retryStory) put(ctx context.Context, t *testing.T, node int, name string, id *vipkvpb.RequestId) (answer, error) {
	r, err := vipkvpb.NewKVClient(dial(t, s.c.Endpoint(node))).Put(s.authorize(ctx),
		&vipkvpb.PutRequest{Key: []byte(name), Value: []byte("once"), IfAbsent: true, RequestId: id})
	return answer{version: r.GetVersion(), duplicate: r.GetDuplicate()}, err
}

func (s *retryStory) append(ctx context.Context, t *testing.T, node int, name string, id *vipkvpb.RequestId) (answer, error) {
	// Without a client id, so that nothing but the request id tells that it is the same.
	r, err := vipkvpb.NewStreamsClient(dial(t, s.c.Endpoint(node))).Append(s.authorize(ctx), &vipkvpb.AppendRequest{
		Stream: []byte(name), Records: []*vipkvpb.Record{{Body: []byte("once")}}, RequestId: id})
	return answer{version: r.GetVersion(), seq: r.GetFirstSeq(), duplicate: r.GetDuplicate()}, err
}

func (s *retryStory) authorize(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+s.credential)
}

// verifyPut: one version, the recorded one.
func (s *retryStory) verifyPut(t *testing.T, name string, a answer) {
	t.Helper()
	item, err := s.cl.Get(t.Context(), []byte(name))
	must(t, err)
	if item.Version != a.version || string(item.Value) != "once" {
		t.Errorf("key %s has version %d and value %q, the answer said %d", name, item.Version, item.Value, a.version)
	}
	if old, err := s.cl.GetAt(t.Context(), []byte(name), item.Version-1); err == nil {
		t.Errorf("key %s has an older version %d as well", name, old.Version)
	}
}

// verifyAppend: one record.
func (s *retryStory) verifyAppend(t *testing.T, name string, a answer) {
	t.Helper()
	page, err := s.cl.Read(t.Context(), name, client.ReadOptions{})
	must(t, err)
	if len(page.Records) != 1 || page.Head.LastSeq != 1 || a.seq != 1 || page.Records[0].Version != a.version {
		t.Errorf("stream %s has %d records, head %+v, the answer said %+v", name, len(page.Records), page.Head, a)
	}
}

// leader of the range that all of the tenant lies in.
func (s *retryStory) leader(t *testing.T, name string) int {
	t.Helper()
	leader := 0
	must(t, proc.WaitFor(t.Context(), time.Minute, "the tenant's range has a leader", func() (string, error) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+s.credential)
		r, err := vipkvpb.NewKVClient(dial(t, s.c.Endpoint(1))).Locate(ctx, &vipkvpb.LocateRequest{
			Start: append([]byte{'k'}, name...), Limit: 1})
		if err != nil {
			return err.Error(), nil
		}
		for n := 1; n <= s.c.Len(); n++ {
			if len(r.Ranges) > 0 && r.Ranges[0].LeaderEndpoint == s.c.Endpoint(n) {
				leader = n
				return "", nil
			}
		}
		return "it is not known", nil
	}))
	return leader
}

// trap arms the leader; the function returned checks that it died of it, and starts it again.
func (s *retryStory) trap(t *testing.T, name string) (leader int, spring func()) {
	t.Helper()
	leader = s.leader(t, name)
	must(t, os.WriteFile(s.arm(leader), nil, 0o600))
	return leader, func() {
		t.Helper()
		if code, err := s.c.Process(leader).Wait(10 * time.Second); err != nil || code != -1 {
			t.Fatalf("the leader did not die at the point: exit code %d, %v", code, err)
		}
		must(t, os.Remove(s.arm(leader)))
	}
}

func (s *retryStory) back(t *testing.T, n int) {
	t.Helper()
	must(t, s.c.Start(n))
	must(t, s.c.WaitHealthy(t.Context(), s.c.Len()))
}

func requestID() *vipkvpb.RequestId {
	id := client.NewRequestID()
	return &vipkvpb.RequestId{Id: id.ID[:], IssuedMs: id.Issued.UnixMilli()}
}

// direct: the client talks to the leader and sees the connection break.
func (s *retryStory) direct(t *testing.T, name string, write writer, verify func(*testing.T, string, answer)) {
	ctx, id := within(t, time.Minute), requestID()
	leader, spring := s.trap(t, name)
	if a, err := write(ctx, t, leader, name, id); err == nil {
		t.Fatalf("the leader answered %+v", a)
	}
	spring()
	other := leader%s.c.Len() + 1
	a, err := write(ctx, t, other, name, id)
	must(t, err)
	if !a.duplicate || a.version == 0 {
		t.Errorf("through node %d: %+v, want the recorded answer", other, a)
	}
	verify(t, name, a)
	s.back(t, leader)
	again, err := write(ctx, t, leader, name, id)
	must(t, err)
	if again != a {
		t.Errorf("the leader of before says %+v, the other node said %+v", again, a)
	}
	verify(t, name, a)
}

// forwarded: the client talks to a node that forwards to the leader. It may be given the recorded answer, or told that
// it is not known; never that the write failed.
func (s *retryStory) forwarded(t *testing.T, name string, write writer, verify func(*testing.T, string, answer)) {
	ctx, id := within(t, time.Minute), requestID()
	leader, spring := s.trap(t, name)
	first, second := leader%s.c.Len()+1, (leader+1)%s.c.Len()+1
	a, err := write(ctx, t, first, name, id)
	spring()
	t.Logf("through node %d: %+v, %v", first, a, status.Convert(err).Message())
	if err == nil && !a.duplicate {
		t.Errorf("through node %d: %+v, but the write was there before", first, a)
	}
	again, err := write(ctx, t, second, name, id)
	must(t, err)
	if !again.duplicate || a.version != 0 && again != a {
		t.Errorf("through node %d: %+v, before %+v", second, again, a)
	}
	verify(t, name, again)
	s.back(t, leader)
}

// sdk: the SDK sends again by itself, and its caller sees a success.
func (s *retryStory) sdk(t *testing.T, name string, at point.Name) {
	ctx := within(t, time.Minute)
	leader, spring := s.trap(t, name)
	var a answer
	if at == point.AnswerAppend {
		r, err := s.cl.Append(ctx, name, []client.Record{{Body: []byte("once")}}, client.AppendOptions{})
		must(t, err)
		a = answer{r.Version, r.FirstSeq, r.Duplicate}
		s.verifyAppend(t, name, a)
	} else {
		r, err := s.cl.Put(ctx, []byte(name), []byte("once"), client.PutOptions{IfAbsent: true})
		must(t, err)
		a = answer{version: r.Version, duplicate: r.Duplicate}
		s.verifyPut(t, name, a)
	}
	spring()
	if !a.duplicate {
		t.Errorf("the SDK says %+v, but the first attempt had been carried out", a)
	}
	s.back(t, leader)
}

// The release binary holds no fault: neither the points and mutants nor what arms them. The build with the tag has
// them, so the search would find them.
func TestReleaseHoldsNoFaults(t *testing.T) {
	chaos, err := bin.chaos()
	must(t, err)
	marks := [][]byte{[]byte("proto/fault.enabled"), []byte("proto/fault/point.Hit"), []byte("proto/fault/point.KillAt"),
		[]byte("proto/fault/point.traps"), []byte("main.parseFaultRule"), []byte("main.armPoint"),
		[]byte("engine.(*injector)")}
	with := symbols(t, chaos)
	for _, mark := range marks {
		if !bytes.Contains(with, mark) {
			t.Errorf("the build with faults has no symbol %s: the search is wrong", mark)
		}
	}
	without := symbols(t, bin.release)
	if !bytes.Contains(without, []byte("main.runNode")) {
		t.Fatal("the release binary has no symbols to look at")
	}
	for line := range bytes.Lines(without) {
		if bytes.Contains(line, []byte("vipkv/proto/fault")) {
			t.Errorf("the release binary holds %s", line)
		}
		for _, mark := range marks {
			if bytes.Contains(line, mark) {
				t.Errorf("the release binary holds %s", line)
			}
		}
	}
}
