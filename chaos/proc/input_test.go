package proc_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/proc"
)

const refuseWithin = 20 * time.Second // a start that is refused ends by itself, also on a busy machine

// place is a store of one node that holds a value, and what bad starts are made of.
type place struct {
	c       *proc.Cluster
	key     string // credential of the tenant that has the value
	scratch string
}

// newPlace makes a cluster of one node with the value "kept" under "k".
func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{c: newCluster(t, proc.Options{Nodes: 1}), scratch: t.TempDir()}
	var err error
	p.key, err = p.c.NewTenant(t.Context(), "app")
	must(t, err)
	if code, _, errs := vipkv(t, p.c, p.key, "kv", "put", "k", "kept"); code != 0 {
		t.Fatalf("put ends with %d: %s", code, errs)
	}
	return p
}

// kept checks that the value is there.
func (p *place) kept(t *testing.T) {
	t.Helper()
	if code, out, errs := vipkv(t, p.c, p.key, "kv", "get", "k"); code != 0 || strings.TrimSpace(out) != "kept" {
		t.Errorf("get ends with %d and says %q: %s", code, out, errs)
	}
}

// args is a good command line with free ports. Keys of change replace the values of its flags; "" leaves one out.
func (p *place) args(t *testing.T, change map[string]string) (args []string) {
	t.Helper()
	ports, err := proc.FreeAddresses(3)
	must(t, err)
	flags := map[string]string{"data": p.c.DataDir(1), "keyfile": p.c.Keyfile(), "listen": ports[0],
		"listen-peer": ports[1], "listen-http": ports[2]}
	for name, value := range change {
		flags[name] = value
	}
	args = []string{"start"}
	for name, value := range flags {
		if value != "" {
			args = append(args, "--"+name, value)
		}
	}
	return args
}

// file makes a file in the scratch directory.
func (p *place) file(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(p.scratch, name)
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, []byte(text), mode))
	must(t, os.Chmod(path, mode))
	return path
}

// refusal is a start that must not happen.
type refusal struct {
	name    string
	running bool // while the store's own node runs
	change  func(t *testing.T, p *place) map[string]string
	code    int
	says    []string // on stderr: what is wrong, and what to do
}

func flag1(name, value string) func(*testing.T, *place) map[string]string {
	return func(*testing.T, *place) map[string]string { return map[string]string{name: value} }
}

func refusals() []refusal {
	return []refusal{
		{"unknown flag", true, flag1("colour", "blue"), 2, []string{"unknown flag: --colour", "--help"}},
		{"no data directory", true, flag1("data", ""), 2, []string{"--data is missing"}},
		{"no keyfile named", true, flag1("keyfile", ""), 2, []string{"--keyfile is missing", "vipkv keyfile create"}},
		{"unknown tunable", true, flag1("set", "colour=blue"), 2, []string{`unknown setting "colour"`, "split-bytes"}},
		{"tunable out of range", true, flag1("set", "split-bytes=1"), 2, []string{"split-bytes", "at least 65536"}},
		{"address of all interfaces", true, flag1("listen", "0.0.0.0:7400"), 2,
			[]string{"not a loopback address", "--insecure-plaintext"}},
		{"join that is no address", true, flag1("join", "nowhere"), 2, []string{"--join", "host:port"}},
		{"unknown configuration key", true, func(t *testing.T, p *place) map[string]string {
			return map[string]string{"config": p.file(t, "a.yaml", "log-level: info\n\ncolour: blue\n", 0o600)}
		}, 2, []string{"line 3", "colour", "vipkv start --help"}},
		{"configuration that is not there", true, flag1("config", "no-such-file.yaml"), 1, []string{"no-such-file.yaml"}},
		{"foreign directory", true, func(t *testing.T, p *place) map[string]string {
			return map[string]string{"data": filepath.Dir(p.file(t, "mine/letter.txt", "dear", 0o600))}
		}, 8, []string{"letter.txt", "choose an empty directory"}},
		{"a file as directory", true, func(t *testing.T, p *place) map[string]string {
			return map[string]string{"data": p.file(t, "plain", "dear", 0o600)}
		}, 1, []string{"not a directory", "choose another path"}},
		{"newer format", false, func(t *testing.T, p *place) map[string]string {
			p.mark(t, "format 1", "format 99")
			return nil
		}, 8, []string{"99", "the version that wrote it"}},
		{"marker without a format", false, func(t *testing.T, p *place) map[string]string {
			p.mark(t, "format 1", "form")
			return nil
		}, 9, []string{"VIPKV", "names no format"}},
		{"directory in use", true, flag1("", ""), 8, []string{"another process has it open"}},
		{"port in use", true, func(t *testing.T, p *place) map[string]string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			t.Cleanup(func() { l.Close() })
			return map[string]string{"listen-peer": l.Addr().String()}
		}, 1, []string{"address already in use", "choose another address"}},
		{"keyfile that is not there", true, flag1("keyfile", "no-such-keyfile"), 1,
			[]string{"no-such-keyfile", "vipkv keyfile create"}},
		{"keyfile that others can read", true, func(t *testing.T, p *place) map[string]string {
			b, err := os.ReadFile(p.c.Keyfile())
			must(t, err)
			return map[string]string{"keyfile": p.file(t, "open-keyfile", string(b), 0o644)}
		}, 1, []string{"mode 0644", "chmod 600"}},
		{"keyfile of another cluster", false, func(t *testing.T, p *place) map[string]string {
			other := filepath.Join(p.scratch, "other-keyfile")
			makeKeyfile(t, other)
			return map[string]string{"keyfile": other}
		}, 8, []string{"not the one that this store was made with", "keyfile of the cluster"}},
		{"keyfile that is none", true, func(t *testing.T, p *place) map[string]string {
			return map[string]string{"keyfile": p.file(t, "letter", "dear", 0o600)}
		}, 1, []string{"not a keyfile"}},
		{"keyfile in the data directory", true, func(t *testing.T, p *place) map[string]string {
			b, err := os.ReadFile(p.c.Keyfile())
			must(t, err)
			inside := filepath.Join(p.c.DataDir(1), "keyfile")
			must(t, os.WriteFile(inside, b, 0o600))
			t.Cleanup(func() { must(t, os.Remove(inside)) })
			return map[string]string{"keyfile": inside}
		}, 1, []string{"lies in the data directory", "keep it elsewhere"}},
	}
}

// mark changes the store's marker until the end of the test.
func (p *place) mark(t *testing.T, old, replacement string) {
	t.Helper()
	path := filepath.Join(p.c.DataDir(1), "VIPKV")
	b, err := os.ReadFile(path)
	must(t, err)
	if !strings.Contains(string(b), old) {
		t.Fatalf("the marker says %q, not %q", b, old)
	}
	must(t, os.WriteFile(path, []byte(strings.Replace(string(b), old, replacement, 1)), 0o600))
	t.Cleanup(func() { must(t, os.WriteFile(path, b, 0o600)) })
}

// A start that can not work ends by itself with its exit code and says what is wrong and what to do; it harms nothing:
// a good start afterwards has all that was stored.
func TestStartRefuses(t *testing.T) {
	p := newPlace(t)
	for _, r := range refusals() {
		t.Run(r.name, func(t *testing.T) {
			if !r.running {
				must(t, p.c.Kill(1))
			}
			p.refused(t, r)
		})
		if !p.c.Running(1) {
			must(t, p.c.Start(1))
			must(t, p.c.WaitHealthy(t.Context(), 1))
		}
		p.kept(t)
		if t.Failed() {
			t.Logf("row %q was the last", r.name)
		}
	}
}

func (p *place) refused(t *testing.T, r refusal) {
	t.Helper()
	change := map[string]string{}
	for name, value := range r.change(t, p) {
		if name != "" {
			change[name] = value
		}
	}
	log := filepath.Join(t.TempDir(), "log")
	process, err := proc.Start{Binary: bin.release, Args: p.args(t, change), Log: log}.Process()
	must(t, err)
	code, err := process.Wait(refuseWithin)
	says, logErr := proc.Tail(log, 64<<10)
	must(t, logErr)
	if err != nil {
		must(t, process.Kill())
		t.Fatalf("%v; it said:\n%s", err, says)
	}
	t.Logf("exit %d: %s", code, strings.TrimSpace(says))
	if code != r.code {
		t.Errorf("exit code %d, want %d", code, r.code)
	}
	for _, want := range r.says {
		if !strings.Contains(says, want) {
			t.Errorf("it does not say %q", want)
		}
	}
}
