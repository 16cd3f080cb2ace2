//go:build linux

package machine_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/machine"
	"github.com/vipkv/vipkv/chaos/proc"
	"github.com/vipkv/vipkv/chaos/sandbox"
	"github.com/vipkv/vipkv/chaos/sandbox/sandboxtest"
)

// settings of the suite, behind -args or among go test's own.
type settings struct {
	seed   *uint64
	rounds *int
	hold   *time.Duration
	faults *string
	out    *string
}

// set is written once, before the first test.
var set settings

func TestMain(m *testing.M) {
	set = settings{
		seed:   flag.Uint64("seed", 0, "of targets and losses; 0: drawn"),
		rounds: flag.Int("rounds", 0, "how often each fault comes; 0: the suite is skipped"),
		hold:   flag.Duration("hold", 8*time.Second, "how long a fault lasts"),
		faults: flag.String("faults", "", "names, parted by commas; empty: all"),
		out:    flag.String("out", "", "directory for a report; empty: none"),
	}
	flag.Parse()
	if *set.seed == 0 {
		*set.seed = uint64(time.Now().UnixNano())
	}
	os.Exit(sandbox.Main(m.Run))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// buildBinary makes the program under test: the release, without fault points, or with other arguments
// of go build.
func buildBinary(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vipkv")
	args = append(append([]string{"build", "-o", path}, args...), "github.com/vipkv/vipkv/cmd/vipkv")
	out, err := exec.Command("go", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("build vipkv: %v\n%s", err, out)
	}
	return path
}

// newCluster makes a cluster that ends with the test, whose logs are printed when it fails.
func newCluster(t *testing.T, o machine.Options) *machine.Cluster {
	t.Helper()
	var can strings.Builder
	machine.WriteCapabilities(&can)
	t.Logf("this machine:\n%s", &can)
	sandboxtest.Need(t, "machines", machine.Probe)
	if o.Binary == "" {
		o.Binary = buildBinary(t)
	}
	o.Dir, o.Seed = t.TempDir(), *set.seed
	t.Cleanup(func() {
		if t.Failed() {
			printLogs(t, o.Dir)
		}
	})
	c, err := machine.New(t.Context(), o)
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

const logTail = 6 << 10 // bytes a log, when a test failed

func printLogs(t *testing.T, dir string) {
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Error(err)
	}
	for _, f := range logs {
		tail, err := proc.Tail(f, logTail)
		t.Logf("%s (%v):\n%s", filepath.Base(f), err, tail)
	}
}

// chosen are the faults to be run.
func chosen(t *testing.T) (faults []machine.Fault) {
	t.Helper()
	if *set.faults == "" {
		return machine.Faults()
	}
	for name := range strings.SplitSeq(*set.faults, ",") {
		f, err := machine.FaultNamed(name)
		must(t, err)
		faults = append(faults, f)
	}
	return faults
}

const (
	lostAfter = 10 * time.Second
	// auditEvery: stopping all nodes takes a few seconds.
	auditEvery = 6
)

// Under load machines fail in each way that there is. Each time writing goes on where it must, the cluster
// comes back by itself, and what the clients saw is consistent; replicas are equal, and no value
// lies in clear on a disk, in a log or between two nodes.
func TestChaos(t *testing.T) {
	if *set.rounds == 0 {
		t.Skip("needs -rounds=1 or more, and five minutes for each: make chaos-short")
	}
	c := newCluster(t, machine.Options{
		Set: []string{"split-bytes=262144", "lost-after=" + lostAfter.String()},
	})
	t.Logf("repeat with -seed %d, as far as real time can be repeated", *set.seed)
	secret := check.CanaryToken(tenant)
	c.Net.Watch([]byte(secret))
	began, n := time.Now(), 0
	book := machine.NewBook(*set.seed, *set.rounds, *set.hold)
	if *set.out != "" {
		t.Cleanup(func() { must(t, book.Write(*set.out)) })
	}
	for round := range *set.rounds {
		for _, f := range chosen(t) {
			if f.Once && round < *set.rounds-1 {
				continue
			}
			n++
			scenario(t, c, book, f, n)
			if n%auditEvery == 0 {
				audit(t, c, secret)
			}
		}
	}
	audit(t, c, secret)
	nodes, clients := c.Seen()
	// Between nodes, too: a request that reaches the wrong node is handed on as it came, and connections are
	// not encrypted yet. What is replicated lies on disks, as it went over the network.
	t.Logf("%d scenarios in %v; the secret was in %d packets to and from clients and in %d between nodes, "+
		"nowhere else", n, time.Since(began).Round(time.Second), clients, nodes)
	if clients == 0 {
		t.Error("void: the search for the secret finds it not even where it is")
	}
}

const (
	// tenant is whose canary is looked for.
	tenant = "chaos"
	// pace is that of each of some fifty clients.
	pace = 150 * time.Millisecond
)

func scenario(t *testing.T, c *machine.Cluster, book *machine.Book, f machine.Fault, n int) {
	t.Helper()
	s := machine.Scenario{
		Fault: f, Seed: *set.seed + uint64(n), Warm: 2 * time.Second, Hold: *set.hold, Rest: 2 * time.Second,
		Pace: pace, Name: fmt.Sprintf("s%02d", n), Canary: tenant,
	}
	began := time.Now()
	o, err := c.Run(t.Context(), s)
	if o != nil {
		book.Add(o)
		t.Logf("%-15s %-12s %v: %v; bit %v: %s; healthy %v after; during: %v", f.Name, o.Fault.Target,
			time.Since(began).Round(time.Second), o.All, o.Fault.Bit, o.Fault.Evidence,
			o.Recovery.Round(100*time.Millisecond), o.During)
		for _, p := range o.Problems {
			t.Errorf("%s (seed %d): %s", f.Name, s.Seed, p)
		}
	}
	must(t, err)
}

func audit(t *testing.T, c *machine.Cluster, secret string) {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), 3*time.Minute)
	defer done()
	compared, err := c.Audit(ctx, []byte(secret))
	must(t, err)
	t.Logf("replicas: %v", compared)
	for _, d := range compared.Differences {
		t.Error(d)
	}
	if !compared.Bit() {
		t.Errorf("void: too few replicas could be compared: %v", compared)
	}
}
