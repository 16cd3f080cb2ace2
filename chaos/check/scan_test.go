package check_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/vipkv/vipkv/chaos/check"
)

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func scanner(t *testing.T, canaries ...[]byte) *check.CanaryScan {
	t.Helper()
	s, err := check.NewCanaryScan(canaries)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestScanFindsEveryPlace: against bytes.Index, for canaries of several lengths around the borders of buffers, however
// the reader cuts what it gives.
func TestScanFindsEveryPlace(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	canaries := [][]byte{random(r, 8), random(r, 31), random(r, 100)}
	canaries = append(canaries, append(bytes.Clone(canaries[1][:20]), random(r, 9)...)) // the same beginning
	const size = 3 << 20
	places := []int64{0, size - 8, 1<<20 - 1, 1 << 20, 1<<20 + 50, 1<<20 + 99, 2<<20 - 4, 2<<20 + 150, 5000}
	for i, at := range places {
		data := random(r, size)
		c := canaries[i%len(canaries)]
		if at+int64(len(c)) > size {
			c = canaries[0]
		}
		copy(data[at:], c)
		for name, reader := range map[string]io.Reader{
			"whole": bytes.NewReader(data), "halves": iotest.HalfReader(bytes.NewReader(data)),
			"data with the end": iotest.DataErrReader(bytes.NewReader(data)),
		} {
			s := scanner(t, canaries...)
			if err := s.Reader("f", reader); err != nil {
				t.Fatal(err)
			}
			if h := s.Hits(); len(h) != 1 || h[0] != (check.CanaryHit{File: "f", Offset: at, Canary: string(c)}) {
				t.Errorf("%s: at %d: %d hits: %+v", name, at, len(h), h)
			}
			if s.Bytes() != size {
				t.Errorf("%s: %d bytes searched", name, s.Bytes())
			}
		}
	}
}

func TestScanOfFiles(t *testing.T) {
	dir := t.TempDir()
	canary := []byte("a canary that is long enough")
	for name, data := range map[string][]byte{
		"log/1": append(make([]byte, 77), canary...), "sst/2": make([]byte, 500), "3": nil,
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := scanner(t, canary)
	if err := s.Path(dir); err != nil {
		t.Fatal(err)
	}
	if h := s.Hits(); len(h) != 1 || h[0].File != filepath.Join(dir, "log/1") || h[0].Offset != 77 || s.Bytes() != 605 {
		t.Errorf("%+v, %d bytes", h, s.Bytes())
	}
	if err := s.Path(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a path that is not there was searched")
	}
}

func TestScanRefuses(t *testing.T) {
	if _, err := check.NewCanaryScan(nil); err == nil {
		t.Error("no canary: accepted")
	}
	if _, err := check.NewCanaryScan([][]byte{[]byte("short")}); err == nil {
		t.Error("a short canary: accepted")
	}
	if err := scanner(t, []byte("long enough")).Reader("f", iotest.ErrReader(io.ErrUnexpectedEOF)); err == nil {
		t.Error("an error of reading was dropped")
	}
}
