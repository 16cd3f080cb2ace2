package live

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// touch is an undo that leaves a file behind.
func touch(file string) Undo { return Undo{Text: "touch " + file, Run: []string{"touch", file}} }

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func openJournal(t *testing.T, path string) *Journal {
	t.Helper()
	j, err := OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func closeJournal(t *testing.T, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestJournalRefusesUntilHealed(t *testing.T) {
	dir := t.TempDir()
	path, marks := filepath.Join(dir, "journal"), []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	j := openJournal(t, path)
	var ids []int
	for _, m := range marks {
		id, err := j.Begin(Open{Fault: "pause", Target: "node 1", Undo: touch(m)})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := j.End(ids[0], "over"); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if err := Heal(t.Context(), path, &log); !errors.Is(err, ErrInUse) {
		t.Errorf("healed under a run: %v", err)
	}
	if _, err := OpenJournal(path); !errors.Is(err, ErrInUse) {
		t.Errorf("two runs: %v", err)
	}
	closeJournal(t, j)
	if _, err := OpenJournal(path); !errors.Is(err, ErrUnhealed) {
		t.Errorf("opened with a fault in it: %v", err)
	}
	for range 2 {
		if err := Heal(t.Context(), path, &log); err != nil {
			t.Fatal(err)
		}
	}
	if exists(marks[0]) || !exists(marks[1]) {
		t.Errorf("healed what was over, or not what was there: %s", log.String())
	}
	if !strings.Contains(log.String(), "nothing to undo") {
		t.Errorf("the second time: %s", log.String())
	}
	closeJournal(t, openJournal(t, path))
}

// Whatever a crash leaves of the journal's last write, the faults before it are undone, and the one that it was about
// is when, and only when, its note was whole.
func TestJournalCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal")
	j := openJournal(t, path)
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	if _, err := j.Begin(Open{Fault: "kill", Target: "node 1", Undo: touch(first)}); err != nil {
		t.Fatal(err)
	}
	one, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Begin(Open{Fault: "kill", Target: "node 2", Undo: touch(second)}); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(one); cut <= len(whole); cut++ {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		open, err := ReadJournal(path)
		want := 1
		if cut == len(whole) {
			want = 2
		}
		if err != nil || len(open) != want || open[0].Target != "node 1" {
			t.Fatalf("cut after %d of %d bytes: %v %v", cut, len(whole), open, err)
		}
	}
	// Healing goes on after the torn line, and what it writes can be read.
	if err := os.WriteFile(path, whole[:len(one)+20], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Heal(t.Context(), path, &bytes.Buffer{}); err != nil || !exists(first) || exists(second) {
		t.Fatalf("%v", err)
	}
	if open, err := ReadJournal(path); err != nil || len(open) != 0 {
		t.Errorf("%v %v", open, err)
	}
	// A line in the middle that is neither whole nor marked is damage, not a crash.
	for _, bad := range []string{`{"at":` + "\n", `{"open":{"id":1,"color":"red"}}` + "\n", "{}\n"} {
		if err := os.WriteFile(path, append([]byte(bad), whole...), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenJournal(path); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// What can not be undone stays in the journal, and the rest is undone.
func TestHealKeepsWhatFails(t *testing.T) {
	dir := t.TempDir()
	path, mark := filepath.Join(dir, "journal"), filepath.Join(dir, "mark")
	j := openJournal(t, path)
	for _, u := range []Undo{touch(mark), {Text: "fail", Run: []string{"false"}}} {
		if _, err := j.Begin(Open{Fault: "isolate", Target: "node 1", Undo: u}); err != nil {
			t.Fatal(err)
		}
	}
	closeJournal(t, j)
	var log bytes.Buffer
	if err := Heal(t.Context(), path, &log); err == nil || !exists(mark) || !strings.Contains(log.String(), "NOT") {
		t.Errorf("%v: %s", err, log.String())
	}
	if open, err := ReadJournal(path); err != nil || len(open) != 1 || open[0].Undo.Text != "fail" {
		t.Errorf("%v %v", open, err)
	}
	if err := Heal(t.Context(), filepath.Join(dir, "other"), &log); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a journal that is not there: %v", err)
	}
}

// The guard undoes what is left when the run dies, and, while it lives, what should long have been over.
func TestGuard(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal")
	late, left := filepath.Join(dir, "late"), filepath.Join(dir, "left")
	j := openJournal(t, path)
	for mark, until := range map[string]time.Time{late: time.Now().Add(-time.Minute), left: time.Now().Add(time.Hour)} {
		if _, err := j.Begin(Open{Fault: "pause", Target: "node 1", Until: until, Undo: touch(mark)}); err != nil {
			t.Fatal(err)
		}
	}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- Guard(t.Context(), path, in, &bytes.Buffer{}) }()
	waitFor(t, "the guard undoes what is late", func() bool { return exists(late) })
	if exists(left) {
		t.Error("it undid what goes on")
	}
	closeJournal(t, j)
	if err := out.Close(); err != nil { // as the kernel does for a process that was killed
		t.Fatal(err)
	}
	if err := <-done; err != nil || !exists(left) {
		t.Errorf("after the run died: %v", err)
	}
	if open, err := ReadJournal(path); err != nil || len(open) != 0 {
		t.Errorf("%v %v", open, err)
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !ok() {
		if pause(ctx, 20*time.Millisecond) != nil {
			t.Fatal(what + ": not after 30 s")
		}
	}
}
