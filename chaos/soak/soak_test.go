package soak_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/vipkv/vipkv/chaos/check"
	"github.com/vipkv/vipkv/chaos/proc"
	"github.com/vipkv/vipkv/chaos/soak"
	"github.com/vipkv/vipkv/chaos/workload"
	"github.com/vipkv/vipkv/chaos/workload/load"
)

const (
	window      = 40 * time.Second // of one history: it is judged, and forgotten
	sampleEvery = 2 * time.Second
	pace        = 250 * time.Millisecond
	ackedMin    = 100 // acknowledged writes of a window
	// A life is judged when it has so many samples and lasted a good part of the run.
	samplesMin = 25
	harnessMax = 1 << 30 // bytes of this program's heap
	logTail    = 8 << 10
)

// hours is written once, before the first test.
var hours = flag.Float64("hours", 0, "how long TestSoak runs; 0: not at all")

// run is a cluster that is watched, hurt and loaded, all by one goroutine but for the load.
type run struct {
	t       *testing.T
	c       *proc.Cluster
	r       *rand.Rand
	stores  map[string]workload.Store
	spared  int                  // the node that is never killed, so that one life lasts as long as the run
	lives   map[int]*soak.Series // by process
	order   []*soak.Series
	paused  map[int]bool
	strikes int
	faults  map[string]int
	next    time.Time // of the next sample
}

// For hours three processes are loaded, killed, paused and restarted. Each window of the history is
// judged by itself; what the processes hold must not grow once they are warm.
func TestSoak(t *testing.T) {
	if *hours <= 0 {
		t.Skip("needs -hours=n, which make soak HOURS=n gives")
	}
	total := time.Duration(*hours * float64(time.Hour))
	s := start(t)
	t.Logf("node %d is never killed", s.spared)
	end := time.Now().Add(total)
	for n := 0; n == 0 || time.Now().Before(end); n++ {
		s.window(n)
		if t.Failed() {
			break
		}
	}
	s.judge(total)
}

func start(t *testing.T) *run {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed of the faults %d", seed)
	dir := t.TempDir()
	binary := filepath.Join(dir, "vipkv")
	out, err := exec.Command("go", "build", "-o", binary, "github.com/vipkv/vipkv/cmd/vipkv").CombinedOutput()
	if err != nil {
		t.Fatalf("build vipkv: %v\n%s", err, out)
	}
	s := &run{t: t, r: rand.New(rand.NewPCG(seed, 1)), stores: map[string]workload.Store{},
		lives: map[int]*soak.Series{}, paused: map[int]bool{}, faults: map[string]int{}}
	s.c, err = proc.New(t.Context(), proc.Options{Binary: binary, Dir: dir,
		Set: []string{"cache-bytes=16777216", "split-bytes=8388608"}})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			_ = s.c.WriteLogs(os.Stderr, logTail) // what can be had
		}
		if err := s.c.Close(); err != nil {
			t.Error(err)
		}
	})
	s.spared = 1 + s.r.IntN(s.c.Len())
	for _, name := range []string{"a", "b"} {
		cl, err := s.c.Tenant(t.Context(), name)
		must(t, err)
		s.stores[name] = cl
	}
	s.stores[""] = s.stores["a"]
	return s
}

// window runs one load from its begin to its verdict, with faults in it.
func (s *run) window(n int) {
	t := s.t
	works, err := workload.NewAll(nil, workload.Options{
		Prefix: fmt.Sprintf("window%06d/", n), Tenants: []string{"a", "b"}})
	must(t, err)
	l, err := load.Start(t.Context(), load.Config{Stores: s.stores, Workloads: works, Pace: pace})
	must(t, err)
	defer l.Stop()
	for until := time.Now().Add(window); time.Now().Before(until); {
		s.wait(time.Duration(3+s.r.IntN(5)) * time.Second)
		s.strike()
	}
	must(t, s.c.WaitHealthy(t.Context(), s.c.Len()))
	l.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, l.Final(ctx))
	got := load.Count(l.Ops(), 0, 0)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("window %d: %v; the harness holds %d MiB", n, got, m.HeapAlloc>>20)
	if got.Acked < ackedMin {
		t.Errorf("too little happened for a verdict: %v", got)
	}
	if m.HeapAlloc > harnessMax {
		t.Errorf("the harness itself holds %d bytes", m.HeapAlloc)
	}
	for _, v := range l.Check() {
		if v.Outcome != check.Pass {
			t.Errorf("%s, %s: %v", v.Workload, v.Checker, v.Err())
		}
	}
}

// strike does one harm and mends it.
func (s *run) strike() {
	n := 1 + s.r.IntN(s.c.Len())
	mortal := 1 + (s.spared+s.r.IntN(s.c.Len()-1))%s.c.Len()
	down := time.Duration(1+s.r.IntN(4)) * time.Second
	s.strikes++
	switch s.strikes % 4 {
	case 1:
		n = mortal
		s.faults["kill"]++
		must(s.t, s.c.Kill(n))
		s.wait(down)
		must(s.t, s.c.Start(n))
	case 3:
		n = mortal
		s.faults["restart"]++
		must(s.t, s.c.Process(n).Signal(syscall.SIGTERM))
		if _, err := s.c.Process(n).Wait(30 * time.Second); err != nil {
			s.t.Fatal(err)
		}
		must(s.t, s.c.Start(n))
	default:
		s.faults["pause"]++
		must(s.t, s.c.Pause(n))
		s.paused[n] = true
		s.wait(down)
		must(s.t, s.c.Resume(n))
		delete(s.paused, n)
	}
	must(s.t, s.c.WaitHealthy(s.t.Context(), s.c.Len()))
}

// wait lets time pass and measures meanwhile.
func (s *run) wait(d time.Duration) {
	for until := time.Now().Add(d); ; {
		if now := time.Now(); !now.Before(s.next) {
			s.next = now.Add(sampleEvery)
			s.sample()
		}
		left := time.Until(until)
		if left <= 0 {
			return
		}
		time.Sleep(min(left, sampleEvery))
	}
}

func (s *run) sample() {
	for n := 1; n <= s.c.Len(); n++ {
		if !s.c.Running(n) || s.paused[n] {
			continue
		}
		pid := s.c.Process(n).PID()
		ctx, cancel := context.WithTimeout(s.t.Context(), sampleEvery)
		got, err := soak.Take(ctx, pid, s.c.HTTP(n))
		cancel()
		if err != nil {
			continue // it starts, or ends; what is left of a life is counted in the end
		}
		life := s.lives[pid]
		if life == nil {
			life = &soak.Series{Node: n, PID: pid}
			s.lives[pid], s.order = life, append(s.order, life)
		}
		life.Samples = append(life.Samples, got)
	}
}

// judge looks at all lives that were long enough.
func (s *run) judge(total time.Duration) {
	t := s.t
	t.Logf("faults: %v; %d lives", s.faults, len(s.order))
	if len(s.faults) < 3 && s.strikes >= 4 {
		t.Errorf("not all faults took place: %v", s.faults)
	}
	judged, longest := 0, time.Duration(0)
	for _, life := range s.order {
		if len(life.Samples) < samplesMin {
			continue
		}
		judged++
		longest = max(longest, life.Span())
		for _, b := range soak.Bounds() {
			growth, median := life.Growth(b.Of)
			t.Logf("node %d, process %d, %v: %s: median %.0f, grew by %.0f after the first third", life.Node,
				life.PID, life.Span().Round(time.Second), b.Name, median, growth)
		}
		for _, grew := range life.Judge(soak.Bounds()) {
			t.Error(grew)
		}
	}
	if judged == 0 || longest < total/2 {
		t.Errorf("%d lives were long enough to judge, the longest %v of %v", judged, longest, total)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
