package proc_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/proc"
)

// One of three nodes alone serves no write and no read: it says within the caller's time that it can not, and goes on
// by itself when the others are back.
func TestAloneServesNothing(t *testing.T) {
	ctx := t.Context()
	c := newCluster(t, proc.Options{})
	key, err := c.NewTenant(ctx, "app")
	must(t, err)
	put := func(value string) (int, string, time.Duration) {
		began := time.Now()
		code, _, errs := vipkv(t, c, key, "kv", "put", "k", value, "--timeout", "4s")
		return code, errs, time.Since(began)
	}
	if code, errs, _ := put("before"); code != 0 {
		t.Fatalf("put ends with %d: %s", code, errs)
	}
	must(t, c.Kill(1))
	must(t, c.Kill(2))
	for range 2 {
		code, errs, took := put("alone")
		t.Logf("exit %d after %v: %s", code, took.Round(time.Millisecond), strings.TrimSpace(errs))
		if code != 6 && code != 7 || took > 8*time.Second {
			t.Errorf("put at a lone node ends with %d after %v: %s", code, took, errs)
		}
	}
	if code, out, errs := vipkv(t, c, key, "kv", "get", "k", "--timeout", "3s"); code != 6 {
		t.Errorf("get at a lone node ends with %d: %q %s", code, out, errs)
	}
	if !c.Running(3) {
		t.Fatal("the lone node has ended")
	}
	must(t, c.Start(2))
	must(t, proc.WaitFor(ctx, time.Minute, "two of three serve", func() (string, error) {
		if code, errs, _ := put("after"); code != 0 {
			return errs, nil
		}
		return "", nil
	}))
	if code, out, errs := vipkv(t, c, key, "kv", "get", "k"); code != 0 || strings.TrimSpace(out) != "after" {
		t.Errorf("get ends with %d: %q %s", code, out, errs)
	}
	must(t, c.Start(1))
	must(t, c.WaitHealthy(ctx, 3))
}

// A node that is to join and reaches nobody keeps on trying and says so; it joins when there is somebody. Asked to stop
// before, it stops.
func TestJoinWaitsForThePeer(t *testing.T) {
	p := newPlace(t)
	must(t, p.c.Kill(1))
	log := filepath.Join(p.scratch, "joiner.log")
	args := p.args(t, map[string]string{"data": filepath.Join(p.scratch, "joiner"), "join": p.c.Peer(1)})
	joiner, err := proc.Start{Binary: bin.release, Args: args, Log: log}.Process()
	must(t, err)
	t.Cleanup(func() { must(t, joiner.Kill()) })
	must(t, proc.WaitFor(t.Context(), 20*time.Second, "the node says that it can not join", func() (string, error) {
		says, err := proc.Tail(log, 64<<10)
		if !strings.Contains(says, "level=WARN") || !strings.Contains(says, "join") {
			return "it says: " + says, err
		}
		return "", err
	}))
	time.Sleep(2 * time.Second)
	if !joiner.Running() {
		says, _ := proc.Tail(log, 4<<10)
		t.Fatalf("it gave up: %s", says)
	}
	must(t, p.c.Start(1))
	must(t, proc.WaitFor(t.Context(), time.Minute, "the node joins", func() (string, error) {
		s, err := p.c.Status(t.Context())
		if err != nil {
			return err.Error(), nil
		}
		if len(s.Nodes) < 2 || !s.Live(2) {
			return "it is not live", nil
		}
		return "", nil
	}))
	p.kept(t)
}

// A node that waits to join stops at SIGTERM, with exit code 0 and nothing left behind that a later start refuses.
func TestStopWhileJoining(t *testing.T) {
	scratch := t.TempDir()
	addrs, err := proc.FreeAddresses(4)
	must(t, err)
	keyfile := filepath.Join(scratch, "keyfile")
	makeKeyfile(t, keyfile)
	args := []string{"start", "--data", filepath.Join(scratch, "data"), "--keyfile", keyfile, "--listen", addrs[0],
		"--listen-peer", addrs[1], "--listen-http", addrs[2], "--join", addrs[3]}
	for _, name := range []string{"first.log", "second.log"} {
		log := filepath.Join(scratch, name)
		p, err := proc.Start{Binary: bin.release, Args: args, Log: log}.Process()
		must(t, err)
		must(t, proc.WaitFor(t.Context(), 20*time.Second, "it tries to join", func() (string, error) {
			says, err := proc.Tail(log, 64<<10)
			if !strings.Contains(says, "join") {
				return "it says: " + says, err
			}
			return "", err
		}))
		must(t, p.Signal(terminate))
		code, err := p.Wait(20 * time.Second)
		if err != nil || code != 0 {
			must(t, p.Kill())
			says, _ := proc.Tail(log, 4<<10)
			t.Fatalf("exit code %d, %v: %s", code, err, says)
		}
	}
}
