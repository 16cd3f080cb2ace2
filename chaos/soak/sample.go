package soak

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Sample is what one process has at one moment.
type Sample struct {
	At time.Time
	// Resident is the memory that the kernel has given it, Heap what Go holds of it for objects and
	// what is not yet swept, both in bytes.
	Resident, Heap float64
	Goroutines     float64
	Files          float64 // open file descriptors
}

const (
	statusMax  = 64 << 10
	metricsMax = 4 << 20
)

// Take measures a process of this machine; address is its HTTP address. A process that hangs is an
// error when ctx ends.
func Take(ctx context.Context, pid int, address string) (s Sample, err error) {
	s.At = time.Now()
	if s.Resident, err = resident(pid); err != nil {
		return s, err
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return s, fmt.Errorf("open files: %w", err)
	}
	s.Files = float64(len(files))
	m, err := metrics(ctx, address)
	if err != nil {
		return s, err
	}
	for name, to := range map[string]*float64{
		"go_goroutines": &s.Goroutines, "go_memstats_heap_inuse_bytes": &s.Heap,
	} {
		v, ok := m[name]
		if !ok {
			return s, fmt.Errorf("metrics of %s: no %s", address, name)
		}
		*to = v
	}
	return s, nil
}

// resident reads VmRSS.
func resident(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of a process: %w", err)
	}
	for line := range strings.Lines(string(b[:min(len(b), statusMax)])) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			kib, err := strconv.ParseFloat(f[1], 64)
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}

// metrics reads those that have no labels.
func metrics(ctx context.Context, address string) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.Close = true // no file of the process stays open for us
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, metricsMax))
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	out := map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		name, text, ok := strings.Cut(lines.Text(), " ")
		if !ok || name == "#" || strings.Contains(name, "{") {
			continue
		}
		if out[name], err = strconv.ParseFloat(text, 64); err != nil {
			return nil, fmt.Errorf("metrics: %s: %w", name, err)
		}
	}
	return out, nil
}
