package limits

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	root   = "/sys/fs/cgroup"
	prefix = "vkchaos-"
	// unlimited is what the kernel takes for no limit, of processor time and of memory.
	unlimited = "-1"
	period    = 100_000 // microseconds, of processor time
)

// controllers are what a Group is made in.
func controllers() []string { return []string{"cpu", "memory", "blkio", "freezer"} }

// Group is the control groups of one node.
type Group struct {
	dirs map[string]string // by controller
}

// New makes the groups of one node. The name is unique in this program.
func New(name string) (*Group, error) {
	g := &Group{dirs: map[string]string{}}
	for _, c := range controllers() {
		parent, err := own(c)
		if err != nil {
			return nil, errors.Join(err, g.Close())
		}
		dir := filepath.Join(parent, fmt.Sprintf("%s%d-%s", prefix, os.Getpid(), name))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, errors.Join(fmt.Errorf("make a control group: %w", err), g.Close())
		}
		g.dirs[c] = dir
	}
	return g, nil
}

// own is the directory of the group that this program is in.
func own(controller string) (string, error) {
	f, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		part := strings.SplitN(lines.Text(), ":", 3) // number:controllers:path
		if len(part) != 3 {
			continue
		}
		for c := range strings.SplitSeq(part[1], ",") {
			if c == controller {
				return filepath.Join(root, controller, part[2]), nil
			}
		}
	}
	none := fmt.Errorf("no %s controller of control groups version 1", controller)
	return "", errors.Join(lines.Err(), none)
}

// Enter puts the calling thread, which is one of sandbox.InThread, into the groups; what it starts is
// in them.
func (g *Group) Enter() error {
	for _, c := range controllers() {
		if err := g.write(c, "tasks", strconv.Itoa(unix.Gettid())); err != nil {
			return err
		}
	}
	return nil
}

// Close removes the groups. Their processes must have ended; the kernel may take a moment to notice.
func (g *Group) Close() error {
	var errs []error
	for _, dir := range g.dirs {
		errs = append(errs, removeGroup(dir))
	}
	return errors.Join(errs...)
}

const removeTries = 50 // of 20 ms

func removeGroup(dir string) (err error) {
	for range removeTries {
		err = os.Remove(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("remove a control group: %w", err)
}

// Sweep removes groups of programs that have ended.
func Sweep() error {
	var errs []error
	for _, c := range controllers() {
		parent, err := own(c)
		if err != nil {
			continue // nothing was made there
		}
		dirs, err := filepath.Glob(filepath.Join(parent, prefix+"*"))
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), prefix), "-")
			if _, err := os.Stat("/proc/" + owner); errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, removeGroup(dir))
			}
		}
	}
	return errors.Join(errs...)
}

func (g *Group) write(controller, file, value string) error {
	err := os.WriteFile(filepath.Join(g.dirs[controller], file), []byte(value), 0)
	if err != nil {
		return fmt.Errorf("control group: %s=%s: %w", file, value, err)
	}
	return nil
}

func (g *Group) read(controller, file string) (string, error) {
	b, err := os.ReadFile(filepath.Join(g.dirs[controller], file))
	if err != nil {
		return "", fmt.Errorf("control group: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// field reads one number of a file of lines "name number".
func (g *Group) field(controller, file, name string) (uint64, error) {
	text, err := g.read(controller, file)
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(text, "\n") {
		if key, value, _ := strings.Cut(line, " "); key == name {
			return strconv.ParseUint(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("control group: no %s in %s", name, file)
}
