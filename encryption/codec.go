package encryption

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// MaxInflated bounds what one envelope inflates to: the largest value, 1 MiB, and 64 KiB for what the store adds.
const MaxInflated = 1<<20 + 64<<10

const (
	compressMin = 96 // shorter values are sealed as they are: a zstd frame would save next to nothing
	inflateHint = 64 // first guess of the size of associated data, in bytes
)

// Codec is what the domains of a process share: zstd's coders, one per CPU, and buffers. Each value is compressed by
// itself, so nothing of one tenant's bytes ever influences another's. Safe for concurrent use.
type Codec struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
	scratch sync.Pool // of *scratch
}

type scratch struct {
	header     [headerLength]byte
	aad        []byte
	compressed []byte
}

// NewCodec allocates a Codec. Its coders' memory is taken when they are first used.
func NewCodec() (*Codec, error) {
	n := runtime.GOMAXPROCS(0)
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(n), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("zstd encoder: %w", err)
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(n), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxInflated))
	if err != nil {
		return nil, fmt.Errorf("zstd decoder: %w", err)
	}
	c := &Codec{encoder: encoder, decoder: decoder}
	c.scratch.New = func() any { return &scratch{aad: make([]byte, 0, inflateHint)} }
	return c, nil
}

func (c *Codec) get() *scratch { return c.scratch.Get().(*scratch) }

// put gives s back. Buffers that held a large value are not kept, and plaintext is cleared.
func (c *Codec) put(s *scratch) {
	clear(s.compressed)
	if cap(s.compressed) > 128<<10 {
		s.compressed = nil
	}
	s.compressed = s.compressed[:0]
	c.scratch.Put(s)
}

// deflate returns the compressed form, in s, when it saves at least a sixteenth.
func (c *Codec) deflate(s *scratch, plaintext []byte) ([]byte, bool) {
	if len(plaintext) < compressMin || len(plaintext) > MaxInflated {
		return nil, false
	}
	if cap(s.compressed) == 0 {
		s.compressed = make([]byte, 0, len(plaintext))
	}
	s.compressed = c.encoder.EncodeAll(plaintext, s.compressed[:0])
	return s.compressed, len(s.compressed) <= len(plaintext)-len(plaintext)/16
}

// inflate appends what compressed holds to dst, at most MaxInflated bytes (I5). The decoder counts the bytes that its
// buffer already holds, so it gets the free part of dst alone.
func (c *Codec) inflate(dst, compressed []byte) ([]byte, error) {
	out, err := c.decoder.DecodeAll(compressed, dst[len(dst):])
	if err != nil {
		return nil, err
	}
	if len(out) > MaxInflated {
		return nil, zstd.ErrDecoderSizeExceeded
	}
	if len(dst) == 0 {
		return out, nil
	}
	return append(dst, out...), nil // when out lies in dst already, this copies it onto itself
}
