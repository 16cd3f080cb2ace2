package proc_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/proc"
	"github.com/vipkv/vipkv/kv/client"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

const (
	failWithin   = 30 * time.Second // from the first failing operation to the end of the process
	ledgerStream = "ledger"
)

// ledger appends records to one stream and knows which were acknowledged.
type ledger struct {
	cl    *client.Client
	acked []string
}

func newLedger(t *testing.T, c *proc.Cluster) *ledger {
	t.Helper()
	cl, err := c.Tenant(t.Context(), "ledger")
	must(t, err)
	return &ledger{cl: cl}
}

// add appends n records of 4 KiB; all must be acknowledged.
func (l *ledger) add(t *testing.T, n int) {
	t.Helper()
	for range n {
		id := strconv.Itoa(len(l.acked) + 1)
		body := fmt.Sprintf("%-4096s", id)
		done, err := l.cl.Append(t.Context(), ledgerStream, []client.Record{{ClientID: id, Body: []byte(body)}},
			client.AppendOptions{})
		must(t, err)
		l.acked = append(l.acked, id)
		if done.LastSeq != uint64(len(l.acked)) {
			t.Fatalf("record %s was given number %d", id, done.LastSeq)
		}
	}
}

// verify reads all back: what was acknowledged is there, once and in order, and nothing else.
func (l *ledger) verify(t *testing.T) {
	t.Helper()
	var got []string
	for r, err := range l.cl.Records(t.Context(), ledgerStream, client.ReadOptions{Limit: 1000}) {
		must(t, err)
		if strings.TrimSpace(string(r.Body)) != r.ClientID || len(r.Body) != 4096 {
			t.Fatalf("record %d has another body", r.Seq)
		}
		got = append(got, r.ClientID)
	}
	if !slices.Equal(got, l.acked) {
		t.Fatalf("%d records are there, %d were acknowledged: %v", len(got), len(l.acked), got)
	}
}

// A store whose disk is full or fails ends its process with a code and a text that say so. The others go on, and when
// the disk is good again the node comes back with all that was acknowledged.
func TestDiskFails(t *testing.T) {
	binary, err := bin.chaos()
	must(t, err)
	rows := []struct {
		name, rule string
		code       int
		says       []string
	}{
		{"disk full", "ops=write,sync,create;err=ENOSPC", 10, []string{"no space left", "free space, then start again"}},
		{"log can not be synced", "ops=sync;path=.log;err=EIO", 1, []string{"input/output error", "start with an empty directory"}},
		{"log can not be written", "ops=write;path=.log;err=EIO", 1, []string{"input/output error", "start with an empty directory"}},
	}
	arms, rule := t.TempDir(), rows[0].rule
	arm := func(n int) string { return filepath.Join(arms, strconv.Itoa(n)) }
	c := newCluster(t, proc.Options{Binary: binary, Env: func(n int) []string {
		return []string{"VIPKV_FAULT_FS=" + rule + ";arm=" + arm(n)}
	}})
	l := newLedger(t, c)
	l.add(t, 20)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			rule = row.rule
			must(t, c.KillAll()) // to come back with this row's rule
			startAll(t, c)
			must(t, c.WaitHealthy(t.Context(), 3))
			must(t, c.WaitCaughtUp(t.Context()))
			victim := leadingLargest(t, c)
			offset := logSize(t, c.Log(victim))
			must(t, os.WriteFile(arm(victim), nil, 0o600))
			l.add(t, 20) // the others carry on
			code, err := c.Process(victim).Wait(failWithin)
			must(t, err)
			says := saidSince(t, c.Log(victim), offset)
			t.Logf("exit %d: %s", code, lastLines(says, 3))
			if code != row.code {
				t.Errorf("exit code %d, want %d", code, row.code)
			}
			for _, want := range row.says {
				if !strings.Contains(says, want) {
					t.Errorf("it does not say %q", want)
				}
			}
			if strings.Contains(says, "goroutine ") {
				t.Error("it panicked")
			}
			l.add(t, 20)
			l.verify(t)
			// A start while the disk is still bad ends in the same way, and harms nothing.
			must(t, c.Start(victim))
			if code, err := c.Process(victim).Wait(failWithin); err != nil || code != row.code {
				t.Errorf("started on the bad disk: exit code %d, %v, want %d", code, err, row.code)
			}
			must(t, os.Remove(arm(victim)))
			must(t, c.Start(victim))
			must(t, c.WaitHealthy(t.Context(), 3))
			must(t, c.WaitCaughtUp(t.Context()))
			l.verify(t)
		})
	}
}

// leadingLargest is the node that leads the range with most bytes, which is where the ledger is.
func leadingLargest(t *testing.T, c *proc.Cluster) int {
	t.Helper()
	ranges, err := c.Ranges(t.Context())
	must(t, err)
	largest := slices.MaxFunc(ranges, func(a, b *vipkvpb.RangeInfo) int { return cmp.Compare(a.Bytes, b.Bytes) })
	if largest.LeaderStore == 0 {
		t.Fatalf("range %d has no leader", largest.Id)
	}
	return int(largest.LeaderStore)
}

func logSize(t *testing.T, file string) int64 {
	t.Helper()
	s, err := os.Stat(file)
	must(t, err)
	return s.Size()
}

func saidSince(t *testing.T, file string, offset int64) string {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	return string(b[offset:])
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// The end of a killed node's log is damaged. Either the store opens, and with it as one of two nodes all that was
// acknowledged is there; or it ends with exit code 9 and says so, and an empty directory takes its place. It is never
// silently wrong.
func TestDamagedLogTail(t *testing.T) {
	c := newCluster(t, proc.Options{Set: []string{"lost-after=4s"}})
	l := newLedger(t, c)
	l.add(t, 20)
	victim := 3
	for _, row := range []struct {
		name   string
		damage func([]byte) []byte
	}{
		{"cut by 100 bytes", func(b []byte) []byte { return b[:len(b)-100] }},
		{"last byte but 50 flipped", func(b []byte) []byte { b[len(b)-50] ^= 0x10; return b }},
		{"last 300 bytes zero", func(b []byte) []byte { clear(b[len(b)-300:]); return b }},
		{"rubbish after the end", func(b []byte) []byte { return append(b, "this is not a log"...) }},
		{"middle byte flipped", func(b []byte) []byte { b[len(b)/2] ^= 0x10; return b }},
	} {
		t.Run(row.name, func(t *testing.T) {
			ctx := t.Context()
			l.add(t, 10)
			must(t, c.WaitCaughtUp(t.Context()))
			must(t, c.Kill(victim))
			damageLog(t, c.DataDir(victim), row.damage)
			offset := logSize(t, c.Log(victim))
			must(t, c.Start(victim))
			time.Sleep(2 * time.Second) // in which the leader tells it what it must have
			if c.Running(victim) {
				t.Log("it opened")
			} else {
				code, err := c.Process(victim).Wait(time.Second)
				says := saidSince(t, c.Log(victim), offset)
				t.Logf("exit %d: %s", code, lastLines(says, 2))
				if err != nil || code != 9 || !strings.Contains(says, "corrupt") || strings.Contains(says, "goroutine ") {
					t.Errorf("exit code %d (%v), want 9 and a clear text; it said:\n%s", code, err, says)
				}
				victim = replace(t, c, victim)
			}
			must(t, c.WaitHealthy(ctx, 3))
			must(t, c.WaitCaughtUp(t.Context()))
			l.verify(t)
			// Now this node is one of the two that answer.
			must(t, c.Kill(2))
			l.verify(t)
			l.add(t, 2)
			must(t, c.Start(2))
			must(t, c.WaitCaughtUp(t.Context()))
			must(t, c.WaitHealthy(ctx, 3))
			if !c.Running(victim) {
				t.Error("the node that had opened has ended")
			}
		})
	}
}

// replace lets an empty node take the place of one that can not start, as its error says, and waits until it has.
func replace(t *testing.T, c *proc.Cluster, lost int) int {
	t.Helper()
	must(t, c.WipeData(lost))
	n, err := c.AddNode(t.Context())
	must(t, err)
	must(t, c.WaitReplaced(t.Context(), lost, repairWithin))
	return n
}

// damageLog changes the newest log file of a store that does not run.
func damageLog(t *testing.T, dir string, damage func([]byte) []byte) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	must(t, err)
	if len(logs) == 0 {
		t.Fatalf("no log in %s", dir)
	}
	slices.Sort(logs) // names are numbers of one width
	newest := logs[len(logs)-1]
	b, err := os.ReadFile(newest)
	must(t, err)
	if len(b) < 1000 {
		t.Fatalf("%s has %d bytes only: there is nothing to damage", newest, len(b))
	}
	must(t, os.WriteFile(newest, damage(b), 0o600))
}
