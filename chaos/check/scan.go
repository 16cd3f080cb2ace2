package check

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// CanaryHit is a place where a canary lies open.
type CanaryHit struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
	Canary string `json:"canary"`
}

// canaryMin is how long a canary must be, in bytes: shorter ones would be found by chance.
const canaryMin = 8

// CanaryScan searches for canaries as plain bytes. It finds each one at each place, whatever buffers it is split over.
// It can find only what is not compressed: canaries must not compress.
type CanaryScan struct {
	canaries [][]byte
	longest  int
	// first3 has a bit for each three bytes with which a canary begins, so that most of a disk is passed by quickly.
	first3 []uint64
	byHead map[[canaryMin]byte][]int
	hits   []CanaryHit
	bytes  int64
}

// NewCanaryScan makes a scan for canaries of at least 8 bytes each.
func NewCanaryScan(canaries [][]byte) (*CanaryScan, error) {
	if len(canaries) == 0 {
		return nil, errors.New("scan: there is no canary to search for")
	}
	s := &CanaryScan{canaries: canaries, first3: make([]uint64, 1<<24/64),
		byHead: map[[canaryMin]byte][]int{}}
	for i, c := range canaries {
		if len(c) < canaryMin {
			return nil, fmt.Errorf("scan: canary %d is shorter than %d bytes", i, canaryMin)
		}
		s.longest = max(s.longest, len(c))
		h := three(c)
		s.first3[h/64] |= 1 << (h % 64)
		head := [canaryMin]byte(c)
		s.byHead[head] = append(s.byHead[head], i)
	}
	return s, nil
}

func three(b []byte) uint32 { return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 }

// Hits are the places found so far, in the order of the search.
func (s *CanaryScan) Hits() []CanaryHit { return s.hits }

// Bytes is how much was searched: none is no evidence.
func (s *CanaryScan) Bytes() int64 { return s.bytes }

// Reader searches everything that r gives; name is what hits call it.
func (s *CanaryScan) Reader(name string, r io.Reader) error {
	buf := make([]byte, 0, 1<<20+s.longest)
	base := int64(0) // offset of buf[0]
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		s.bytes += int64(n)
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return fmt.Errorf("scan %s: %w", name, err)
		}
		if full := cap(buf)-len(buf) < s.longest; !full && !end {
			continue
		}
		// What begins in the last longest-1 bytes may go on in the next read.
		starts := len(buf) - s.longest + 1
		if end {
			starts = len(buf)
		}
		if starts > 0 {
			s.search(name, base, buf, starts)
			base += int64(starts)
			buf = buf[:copy(buf, buf[starts:])]
		}
		if end {
			return nil
		}
	}
}

// search looks for canaries that begin in the first starts bytes of b.
func (s *CanaryScan) search(name string, base int64, b []byte, starts int) {
	for i := 0; i < starts && i+canaryMin <= len(b); i++ {
		if h := three(b[i:]); s.first3[h/64]&(1<<(h%64)) == 0 {
			continue
		}
		for _, c := range s.byHead[[canaryMin]byte(b[i:])] {
			if bytes.HasPrefix(b[i:], s.canaries[c]) {
				s.hits = append(s.hits, CanaryHit{name, base + int64(i), string(s.canaries[c])})
			}
		}
	}
}

// Path searches a file, a device, or all regular files below a directory. Files that vanish meanwhile are left out:
// search a store that stands still.
func (s *CanaryScan) Path(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path != root:
			return nil
		case err != nil:
			return fmt.Errorf("scan: %w", err)
		case d.IsDir(), path != root && !d.Type().IsRegular():
			return nil
		}
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) && path != root {
			return nil
		}
		if err != nil {
			return fmt.Errorf("scan: %w", err)
		}
		err = s.Reader(path, file)
		return errors.Join(err, file.Close())
	})
}
