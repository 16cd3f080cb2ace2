package proc_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/proc"
	"github.com/vipkv/vipkv/kv/client"
)

const (
	acceptRanges = 30
	importWithin = 10 * time.Minute
	repairWithin = 5 * time.Minute
)

// story is the state that the steps of the acceptance test hand on.
type story struct {
	c        *proc.Cluster
	messages *messages
	admin    string
	keys     string // file of the tenants' credentials
	clients  map[string]*client.Client
}

// One cluster from its first message to the loss of a node with its disk. Each step begins where the one before it
// ended, so the first that fails ends the story.
func TestAccept(t *testing.T) {
	s := &story{messages: loadMessages(t), clients: map[string]*client.Client{}}
	s.c = newCluster(t, proc.Options{Set: []string{"split-bytes=262144"}})
	var err error
	s.admin, err = s.c.AdminCredential()
	must(t, err)
	s.keys = filepath.Join(t.TempDir(), "credentials.json")
	t.Cleanup(func() {
		for _, cl := range s.clients {
			if err := cl.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"import while a leader is killed", s.importUnderFire},
		{"all killed at once", s.killAll},
		{"a fourth node", s.fourthNode},
		{"a node is lost", s.lostNode},
	} {
		if !t.Run(step.name, step.run) {
			t.Fatalf("the steps after %q were not run", step.name)
		}
	}
}

// imported is what vipkv import --json prints.
type imported struct {
	Tenants       int    `json:"tenants"`
	Conversations int    `json:"conversations"`
	Messages      uint64 `json:"messages"`
	Appended      uint64 `json:"appended"`
	Duplicates    uint64 `json:"duplicates"`
}

// runImport runs vipkv import and checks its count; appended is how many it must have added.
func (s *story) runImport(t *testing.T, appended int) error {
	t.Helper()
	code, out, errs := vipkv(t, s.c, s.admin, "import", "--json", "--file", s.messages.file, "--credentials", s.keys)
	if code != 0 {
		return fmt.Errorf("import ended with %d: %s", code, errs)
	}
	var got imported
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		return fmt.Errorf("import printed %q: %w", out, err)
	}
	all := s.messages.count
	want := imported{Tenants: len(s.messages.tenants), Conversations: s.messages.conversations(),
		Messages: uint64(all), Appended: uint64(appended), Duplicates: uint64(all - appended)}
	if got != want {
		return fmt.Errorf("import says %+v, the file has %+v", got, want)
	}
	return nil
}

// While messages are imported and ranges split, the node that leads most ranges is killed and comes back after 2 s. The
// import ends by itself, with every message once and in order.
func (s *story) importUnderFire(t *testing.T) {
	ctx, c := within(t, importWithin), s.c
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- s.runImport(t, s.messages.count) }()
	ranges := func() int {
		r, err := c.Ranges(ctx)
		if err != nil {
			return 0
		}
		return len(r)
	}
	ended := func() bool { return len(done) > 0 }
	first := ranges()
	for ranges() < first+3 && !ended() { // it has begun to split
		time.Sleep(50 * time.Millisecond)
	}
	atKill, victim := ranges(), leading(t, c)
	must(t, c.Kill(victim))
	if ended() {
		t.Fatal("the import was over before the fault")
	}
	time.Sleep(2 * time.Second)
	must(t, c.Start(victim))
	midway := ended()
	must(t, <-done)
	took := time.Since(began)
	must(t, c.WaitHealthy(ctx, 3))
	all, err := c.Ranges(ctx)
	must(t, err)
	t.Logf("%d messages in %v; %d ranges at the start, %d when node %d was killed, %d at the end; leaders %v",
		s.messages.count, took.Round(time.Second), first, atKill, victim, len(all), proc.Leaders(all))
	if len(all) < acceptRanges || len(all) <= atKill {
		t.Errorf("%d ranges at the end, %d at the kill; want at least %d, and splits after the kill", len(all), atKill,
			acceptRanges)
	}
	if midway {
		t.Error("the import ended while the node was dead: nothing of it ran with the node back")
	}
	must(t, c.WaitCaughtUp(t.Context()))
	must(t, proc.WaitFor(ctx, repairWithin, "leaders spread", func() (string, error) {
		r, err := c.Ranges(ctx)
		if err != nil {
			return err.Error(), nil
		}
		if l := proc.Leaders(r); len(l) < 3 {
			return fmt.Sprintf("leaders by node: %v", l), nil
		}
		return "", nil
	}))
	must(t, s.runImport(t, 0))
	s.verify(t)
}

// open returns a client of an imported tenant.
func (s *story) open(t *testing.T) func(string) *client.Client {
	return func(tenant string) *client.Client {
		if cl := s.clients[tenant]; cl != nil {
			return cl
		}
		cl, err := client.Open(t.Context(), client.Options{Endpoints: s.c.Endpoints(), Credential: s.key(t, tenant)})
		must(t, err)
		s.clients[tenant] = cl
		return cl
	}
}

func (s *story) verify(t *testing.T) {
	t.Helper()
	began := time.Now()
	s.messages.verify(t, s.open(t))
	t.Logf("%d conversations read back in %v", s.messages.conversations(), time.Since(began).Round(time.Millisecond))
}

// killAll: what was acknowledged before all nodes were killed at once is there when they are back.
func (s *story) killAll(t *testing.T) {
	ctx := t.Context()
	cl, err := s.c.Tenant(ctx, "rounds")
	must(t, err)
	var want []string
	for round := range *set.rounds {
		for i := range 20 {
			id := fmt.Sprintf("%d.%d", round, i)
			done, err := cl.Append(ctx, "rounds", []client.Record{{ClientID: id, Body: []byte(id)}}, client.AppendOptions{})
			must(t, err)
			want = append(want, id)
			if done.LastSeq != uint64(len(want)) {
				t.Fatalf("record %s has number %d, want %d", id, done.LastSeq, len(want))
			}
		}
		began := time.Now()
		must(t, s.c.KillAll())
		startAll(t, s.c)
		must(t, s.c.WaitHealthy(ctx, 3))
		t.Logf("round %d: healthy %v after the kill", round+1, time.Since(began).Round(time.Millisecond))
		var got []string
		for r, err := range cl.Records(ctx, "rounds", client.ReadOptions{Limit: 1000}) {
			must(t, err)
			got = append(got, r.ClientID)
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Fatalf("round %d: %d records are there, want %d: %v", round+1, len(got), len(want), got)
		}
	}
	s.verify(t)
}

// fourthNode: a node that joins gets replicas without a command.
func (s *story) fourthNode(t *testing.T) {
	ctx := t.Context()
	must(t, s.c.KillAll())
	s.c.Retune("split-bytes=262144", "lost-after=5s")
	startAll(t, s.c)
	must(t, s.c.WaitHealthy(ctx, 3))
	n, err := s.c.AddNode(ctx)
	must(t, err)
	must(t, proc.WaitFor(ctx, repairWithin, "the new node gets replicas", func() (string, error) {
		if have := s.replicas(t)[n]; have < 5 {
			return fmt.Sprintf("%d replicas", have), nil
		}
		return "", nil
	}))
	t.Logf("replicas by node: %v", s.replicas(t))
}

// replicas counts by node.
func (s *story) replicas(t *testing.T) map[int]int {
	t.Helper()
	ranges, err := s.c.Ranges(t.Context())
	must(t, err)
	out := map[int]int{}
	for _, r := range ranges {
		for _, p := range r.Replicas {
			out[int(p.StoreId)]++
		}
	}
	return out
}

// lostNode: a node dies with its disk. Its ranges get three live voters again without a command, and nothing is lost.
func (s *story) lostNode(t *testing.T) {
	ctx := t.Context()
	victim := leading(t, s.c)
	before := s.replicas(t)[victim]
	if before == 0 {
		t.Fatalf("node %d has no replicas to lose", victim)
	}
	must(t, s.c.Kill(victim))
	must(t, s.c.WipeData(victim))
	began := time.Now()
	must(t, s.c.WaitReplaced(t.Context(), victim, repairWithin))
	t.Logf("%d replicas replaced within %v of the loss; replicas by node: %v", before,
		time.Since(began).Round(100*time.Millisecond), s.replicas(t))
	must(t, s.c.WaitHealthy(ctx, 3))
	must(t, s.c.WaitCaughtUp(t.Context()))
	s.verify(t)
}

// key is an imported tenant's credential.
func (s *story) key(t *testing.T, tenant string) string {
	t.Helper()
	b, err := os.ReadFile(s.keys)
	must(t, err)
	var keys map[string]string
	must(t, json.Unmarshal(b, &keys))
	if keys[tenant] == "" {
		t.Fatalf("no credential for tenant %s in %s", tenant, s.keys)
	}
	return keys[tenant]
}
