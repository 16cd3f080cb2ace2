package engine

import (
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fence is the file system that Pebble sees. It freezes the disk at the first write, sync or create that fails: the
// error is recorded as the engine's failure, and that operation and all later ones that would change the disk pretend
// to succeed without touching it (I5). So the disk holds what it would hold had the process died at that moment, which
// is a state that recovery knows, and Pebble, which answers a failed write of its log or manifest with an exit or a
// panic under its locks, runs on into the void until it is closed. Nothing is acknowledged from it: the failure is
// recorded before the operation returns, and the engine looks at it before it answers.
type fence struct {
	vfs.FS
	fail *failure
}

// compactionCategory is what Pebble passes when it creates an output of a compaction. Behind the fence these alone
// fail, so that no compaction runs for nothing; a flush must seem to succeed, since writers may wait for it.
const compactionCategory = "pebble-compaction"

func (f *fence) Unwrap() vfs.FS { return f.FS }

func (f *fence) frozen() bool { return f.fail.get() != nil }

// done passes on the result of an operation that changes the disk.
func (f *fence) done(err error) error {
	if err != nil {
		f.fail.set(err)
	}
	return nil
}

// void is a file that accepts everything and keeps nothing.
func (f *fence) void() (vfs.File, error) {
	m, err := vfs.NewMem().Create("void", vfs.WriteCategoryUnspecified)
	return &voidFile{m}, err
}

func (f *fence) created(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		f.fail.set(err)
		return f.void()
	}
	return &fencedFile{File: file, fence: f}, nil
}

func (f *fence) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.fail.get(); err != nil {
		if c == compactionCategory {
			return nil, err
		}
		return f.void()
	}
	return f.created(f.FS.Create(name, c))
}

func (f *fence) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.frozen() {
		return f.void()
	}
	return f.created(f.FS.ReuseForWrite(oldname, newname, c))
}

func (f *fence) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	if f.frozen() {
		return f.void()
	}
	return f.created(f.FS.OpenReadWrite(name, c, o...))
}

func (f *fence) OpenDir(name string) (vfs.File, error) {
	d, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &fencedFile{File: d, fence: f}, nil
}

// Link may fail where Pebble then copies (two file systems): its error is no failure.
func (f *fence) Link(oldname, newname string) error {
	if f.frozen() {
		return nil
	}
	return f.FS.Link(oldname, newname)
}

func (f *fence) Rename(oldname, newname string) error {
	if f.frozen() {
		return nil
	}
	return f.done(f.FS.Rename(oldname, newname))
}

// Remove may fail: a file that is not needed stays.
func (f *fence) Remove(name string) error {
	if f.frozen() {
		return nil
	}
	return f.FS.Remove(name)
}

func (f *fence) RemoveAll(name string) error {
	if f.frozen() {
		return nil
	}
	return f.FS.RemoveAll(name)
}

func (f *fence) MkdirAll(dir string, perm os.FileMode) error {
	if f.frozen() {
		return nil
	}
	return f.done(f.FS.MkdirAll(dir, perm))
}

// fencedFile is a file or directory on the real disk.
type fencedFile struct {
	vfs.File
	fence *fence
}

func (f *fencedFile) Write(p []byte) (int, error) {
	if !f.fence.frozen() {
		_, err := f.File.Write(p)
		return len(p), f.fence.done(err)
	}
	return len(p), nil
}

func (f *fencedFile) WriteAt(p []byte, off int64) (int, error) {
	if !f.fence.frozen() {
		_, err := f.File.WriteAt(p, off)
		return len(p), f.fence.done(err)
	}
	return len(p), nil
}

// Preallocate may fail: it is a hint.
func (f *fencedFile) Preallocate(off, length int64) error {
	if f.fence.frozen() {
		return nil
	}
	return f.File.Preallocate(off, length)
}

func (f *fencedFile) Sync() error {
	if f.fence.frozen() {
		return nil
	}
	return f.fence.done(f.File.Sync())
}

func (f *fencedFile) SyncData() error {
	if f.fence.frozen() {
		return nil
	}
	return f.fence.done(f.File.SyncData())
}

func (f *fencedFile) SyncTo(length int64) (bool, error) {
	if f.fence.frozen() {
		return true, nil
	}
	full, err := f.File.SyncTo(length)
	if err != nil {
		return true, f.fence.done(err)
	}
	return full, nil
}

func (f *fencedFile) Close() error { return f.fence.done(f.File.Close()) }

// voidFile is what a create behind the fence returns.
type voidFile struct{ vfs.File }

func (f *voidFile) Write(p []byte) (int, error)            { return len(p), nil }
func (f *voidFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (f *voidFile) Preallocate(int64, int64) error         { return nil }
func (f *voidFile) Sync() error                            { return nil }
func (f *voidFile) SyncData() error                        { return nil }
func (f *voidFile) SyncTo(int64) (bool, error)             { return true, nil }
func (f *voidFile) Read([]byte) (int, error)               { return 0, io.EOF }
func (f *voidFile) ReadAt([]byte, int64) (int, error)      { return 0, io.EOF }
