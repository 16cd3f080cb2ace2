//go:build linux

package disk_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/disk"
	"github.com/vipkv/vipkv/chaos/sandbox"
	"github.com/vipkv/vipkv/chaos/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m.Run)) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newDisk(t *testing.T) *disk.Disk {
	t.Helper()
	sandboxtest.Need(t, "disks", disk.Probe)
	d, err := disk.New(filepath.Join(t.TempDir(), "disk"), 32<<20)
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

// write makes a file, synced with its directory or not.
func write(t *testing.T, d *disk.Disk, name string, sync bool) {
	t.Helper()
	f, err := os.Create(filepath.Join(d.Path(), name))
	must(t, err)
	defer f.Close()
	_, err = f.Write(bytes.Repeat([]byte("x"), 100_000))
	must(t, err)
	if !sync {
		return
	}
	must(t, f.Sync())
	dir, err := os.Open(d.Path())
	must(t, err)
	defer dir.Close()
	must(t, dir.Sync())
}

func TestPowerLossTakesWhatWasNotSynced(t *testing.T) {
	d := newDisk(t)
	for round := range 3 {
		kept, lost := "kept"+string(rune('0'+round)), "lost"+string(rune('0'+round))
		write(t, d, kept, true)
		write(t, d, lost, false)
		must(t, d.PowerOff())
		if err := os.WriteFile(filepath.Join(d.Path(), "late"), nil, 0o600); !errors.Is(err, syscall.EIO) {
			t.Errorf("a write without power: %v", err)
		}
		evidence, err := d.PowerOn()
		must(t, err)
		t.Log(evidence)
		if b, err := os.ReadFile(filepath.Join(d.Path(), kept)); err != nil || len(b) != 100_000 {
			t.Errorf("what was synced: %d bytes, %v", len(b), err)
		}
		if b, err := os.ReadFile(filepath.Join(d.Path(), lost)); err == nil && len(b) > 0 {
			t.Errorf("what was not synced: %d bytes are there", len(b))
		}
	}
}

// blockedFor is how long a synced write takes.
func blockedFor(t *testing.T, d *disk.Disk, name string) <-chan time.Duration {
	done := make(chan time.Duration, 1)
	began := time.Now()
	go func() {
		write(t, d, name, true)
		done <- time.Since(began)
	}()
	return done
}

func TestFrozenDiskBlocksUntilThawed(t *testing.T) {
	d := newDisk(t)
	must(t, d.Freeze(time.Minute))
	done := blockedFor(t, d, "a")
	select {
	case <-done:
		t.Fatal("a frozen disk was written to")
	case <-time.After(300 * time.Millisecond):
	}
	must(t, d.Thaw())
	if took := <-done; took < 300*time.Millisecond {
		t.Errorf("the write took %v", took)
	}
	must(t, d.Thaw()) // again: nothing to do
}

func TestFrozenDiskIsThawedByItsLimit(t *testing.T) {
	d := newDisk(t)
	must(t, d.Freeze(time.Second))
	if took := <-blockedFor(t, d, "a"); took < 500*time.Millisecond {
		t.Errorf("the write took %v", took)
	}
	must(t, d.Thaw())
}

func TestFullDisk(t *testing.T) {
	d := newDisk(t)
	const left = 50_000
	must(t, d.Fill(left))
	free, err := d.Free()
	must(t, err)
	if free > left {
		t.Errorf("%d bytes are free", free)
	}
	err = os.WriteFile(filepath.Join(d.Path(), "big"), make([]byte, 1<<20), 0o600)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a write to a full disk: %v", err)
	}
	must(t, os.Remove(filepath.Join(d.Path(), "big")))
	must(t, d.Empty())
	must(t, os.WriteFile(filepath.Join(d.Path(), "big"), make([]byte, 1<<20), 0o600))
}

func TestReplacedDiskIsEmpty(t *testing.T) {
	d := newDisk(t)
	write(t, d, "a", true)
	must(t, d.Replace())
	if _, err := os.Stat(filepath.Join(d.Path(), "a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of the old disk: %v", err)
	}
}

func TestSearchFindsWhatWasRemoved(t *testing.T) {
	d := newDisk(t)
	needle := []byte("a canary that nobody else would write 8b1f")
	found, err := d.Search(needle)
	must(t, err)
	if found != 0 {
		t.Fatalf("%d on an empty disk", found)
	}
	name := filepath.Join(d.Path(), "a")
	must(t, os.WriteFile(name, append(make([]byte, 1<<20-7), needle...), 0o600))
	found, err = d.Search(needle)
	must(t, err)
	if found != 1 {
		t.Errorf("found %d of 1", found)
	}
	must(t, os.Remove(name))
	if found, err = d.Search(needle); err != nil || found != 1 {
		t.Errorf("found %d of 1 after the file was removed, %v", found, err)
	}
}
