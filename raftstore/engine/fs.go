package engine

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// FS is a file system. It is Pebble's, so that other packages can pass one on without importing Pebble.
type FS = vfs.FS

// File is an open file of an FS. Unlike other writers its Write may change the bytes that it is given.
type File = vfs.File

// DefaultFS is the operating system's file system.
func DefaultFS() FS { return vfs.Default }

// MemFS is a new, empty file system in memory.
func MemFS() FS { return vfs.NewMem() }

// WriteFile creates path, writes data and makes both the file and its directory entry durable. An existing file is
// replaced.
func WriteFile(fs FS, path string, data []byte) error {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = f.Write(slices.Clone(data)); err == nil { // Write may change what it is given
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return syncDir(fs, fs.PathDir(path))
}

// CreateFile creates path for writing, for instance for a TableWriter.
func CreateFile(fs FS, path string) (File, error) {
	return fs.Create(path, vfs.WriteCategoryUnspecified)
}

// CrashableFS is a file system in memory that knows which of its bytes have been synced.
type CrashableFS struct {
	*vfs.MemFS

	// link keeps CrashClone apart from the operations that take MemFS's lock against clones twice: one that begins to
	// wait for the lock between the two would stop the file system for ever.
	link sync.Mutex
}

// NewCrashableMemFS is a new, empty CrashableFS.
func NewCrashableMemFS() *CrashableFS { return &CrashableFS{MemFS: vfs.NewCrashableMem()} }

// Link implements FS.
func (c *CrashableFS) Link(oldname, newname string) error {
	c.link.Lock()
	defer c.link.Unlock()
	return c.MemFS.Link(oldname, newname)
}

// ReuseForWrite implements FS.
func (c *CrashableFS) ReuseForWrite(oldname, newname string, cat vfs.DiskWriteCategory) (File, error) {
	c.link.Lock()
	defer c.link.Unlock()
	return c.MemFS.ReuseForWrite(oldname, newname, cat)
}

// CrashClone is what the disk would hold if power failed now: what was synced, and nothing else.
func (c *CrashableFS) CrashClone() *CrashableFS {
	c.link.Lock()
	defer c.link.Unlock()
	return &CrashableFS{MemFS: c.MemFS.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0})}
}

// FaultOp is a set of kinds of file operations.
type FaultOp uint

// Kinds of file operations.
const (
	FaultWrite  FaultOp = 1 << iota // write, preallocate
	FaultSync                       // sync of a file or directory
	FaultCreate                     // create, reuse, link, mkdir
	FaultOpen                       // open, list, stat
	FaultRead                       // read
	FaultRemove                     // remove
	FaultRename                     // rename
)

// FaultRule says which operations of an injecting file system fail, and how. It is deterministic: it counts.
type FaultRule struct {
	Ops  FaultOp
	Path string // part of the path of the file; for a rename or link, of the old one
	// Skip is how many matching operations succeed first.
	Skip int
	// Count is how many fail then; 0 means all.
	Count int
	// Active, when not nil, is asked before a matching operation is counted. It must be safe for concurrent use.
	Active func() bool
	// Err is the error; for instance syscall.ENOSPC or syscall.EIO.
	Err error
}

// InjectFS returns a file system over fs in which the operations that match rule fail without effect.
func InjectFS(fs FS, rule FaultRule) FS { return errorfs.Wrap(fs, &injector{rule: rule}) }

type injector struct {
	rule FaultRule // immutable

	mu   sync.Mutex
	seen int
}

// String implements errorfs.Injector.
func (i *injector) String() string { return fmt.Sprintf("%+v", i.rule) }

// MaybeError implements errorfs.Injector.
func (i *injector) MaybeError(op errorfs.Op) error {
	r := &i.rule
	if faultOp(op.Kind)&r.Ops == 0 || !strings.Contains(op.Path, r.Path) || r.Active != nil && !r.Active() {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.seen++
	if i.seen <= r.Skip || r.Count > 0 && i.seen > r.Skip+r.Count {
		return nil
	}
	return r.Err
}

func faultOp(k errorfs.OpKind) FaultOp {
	switch k {
	case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFilePreallocate:
		return FaultWrite
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		return FaultSync
	case errorfs.OpCreate, errorfs.OpReuseForWrite, errorfs.OpLink, errorfs.OpMkdirAll:
		return FaultCreate
	case errorfs.OpOpen, errorfs.OpOpenDir, errorfs.OpList, errorfs.OpStat, errorfs.OpFileStat:
		return FaultOpen
	case errorfs.OpFileRead, errorfs.OpFileReadAt:
		return FaultRead
	case errorfs.OpRemove, errorfs.OpRemoveAll:
		return FaultRemove
	case errorfs.OpRename:
		return FaultRename
	}
	return 0
}

// makeDir makes dir and its parents and syncs the entries of all that it made.
func makeDir(fs FS, dir string) error {
	var parents []string
	for at := dir; ; {
		if _, err := fs.Stat(at); err == nil {
			break
		}
		up := fs.PathDir(at)
		if up == at {
			break
		}
		parents = append(parents, up)
		at = up
	}
	if len(parents) == 0 {
		return nil
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range parents {
		if err := syncDir(fs, p); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fs FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
