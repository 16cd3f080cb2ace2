package encryption

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// KeyLength is the length of every key in this package, in bytes.
const KeyLength = 32

const subkeyInfo = "vipkv/envelope/v1"

// DEK is a data key in clear.
type DEK struct {
	ID     uint32 // not 0
	Key    []byte // KeyLength bytes
	Active bool   // may seal; the last active one does
}

// Options of a Domain. The zero value is good for one that lives alone; domains of one process share a Codec.
type Options struct {
	// Now tells the time. Default: time.Now.
	Now func() time.Time
	// Codec is shared by the domains of a process. Default: a new one.
	Codec *Codec
	// NoCompression seals values as they are. Default: those that get a sixteenth shorter are compressed.
	NoCompression bool
	// SealsPerSubkey is how many values a subkey seals. Default and maximum: 2^28, which keeps the odds that two
	// random nonces collide below 2^-40.
	SealsPerSubkey int64
	// SubkeyAge is how long a subkey seals. Default: 1 hour.
	SubkeyAge time.Duration
	// OpenSubkeys is how many subkeys for opening are kept, of 0.8 KiB each; a miss costs about 2 microseconds.
	// Default: 32.
	OpenSubkeys int
}

const maxSeals = 1 << 28

func (o Options) withDefaults() (Options, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SealsPerSubkey <= 0 || o.SealsPerSubkey > maxSeals {
		o.SealsPerSubkey = maxSeals
	}
	if o.SubkeyAge <= 0 {
		o.SubkeyAge = time.Hour
	}
	if o.OpenSubkeys <= 0 {
		o.OpenSubkeys = 32
	}
	if o.Codec == nil {
		c, err := NewCodec()
		if err != nil {
			return o, err
		}
		o.Codec = c
	}
	return o, nil
}

// Domain is one tenant's keys in clear: it seals and opens the tenant's values. Safe for concurrent use.
type Domain struct {
	// Immutable after NewDomain.
	id     uint64
	opts   Options
	active uint32 // the DEK that seals

	sealing atomic.Pointer[subkey] // nil before the first Seal and after Close

	mu struct { // never held across I/O
		sync.Mutex
		closed bool
		keys   *secrets
		open   map[subkeyID]*subkey
		tick   uint64
	}
}

// secrets is apart from the Domain, so that it can be cleared after the Domain is gone.
type secrets struct{ keys map[uint32]*[KeyLength]byte }

func (s *secrets) wipe() {
	for _, k := range s.keys {
		clear(k[:])
	}
}

type subkeyID struct {
	suite  byte
	dek    uint32
	prefix [prefixLength]byte
}

type subkey struct {
	id    subkeyID
	aead  cipher.AEAD
	born  time.Time
	seals atomic.Int64
	used  uint64 // guarded by Domain.mu: the tick of the last use
}

// NewDomain makes a domain of keys in clear, which it copies. At least one of them must be active.
func NewDomain(domainID uint64, deks []DEK, o Options) (*Domain, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if domainID == 0 {
		return nil, errors.New("key domain: id 0")
	}
	d := &Domain{id: domainID, opts: o}
	keys := &secrets{keys: make(map[uint32]*[KeyLength]byte, len(deks))}
	for _, dek := range deks {
		if err := keys.add(dek); err != nil {
			keys.wipe()
			return nil, fmt.Errorf("key domain %016x: %w", domainID, err)
		}
		if dek.Active {
			d.active = dek.ID
		}
	}
	if d.active == 0 {
		keys.wipe()
		return nil, fmt.Errorf("key domain %016x: no active data key", domainID)
	}
	d.mu.keys = keys
	d.mu.open = make(map[subkeyID]*subkey)
	runtime.AddCleanup(d, (*secrets).wipe, keys)
	return d, nil
}

func (s *secrets) add(dek DEK) error {
	if dek.ID == 0 {
		return errors.New("data key 0")
	}
	if len(dek.Key) != KeyLength {
		return fmt.Errorf("data key %d has %d bytes, not %d", dek.ID, len(dek.Key), KeyLength)
	}
	if s.keys[dek.ID] != nil {
		return fmt.Errorf("data key %d is there twice", dek.ID)
	}
	s.keys[dek.ID] = (*[KeyLength]byte)(append([]byte(nil), dek.Key...))
	return nil
}

// ID is the id to which the domain's envelopes are bound.
func (d *Domain) ID() uint64 { return d.id }

// ActiveDEK is the id of the data key that seals.
func (d *Domain) ActiveDEK() uint32 { return d.active }

// Close clears the keys. Seal and Open fail with ErrClosed from then on; calls under way may still succeed.
func (d *Domain) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.closed = true
	d.mu.keys.wipe()
	d.mu.open = nil
	d.sealing.Store(nil)
}

// sealingKey returns the subkey for one more Seal and counts it (I3).
func (d *Domain) sealingKey() (*subkey, error) {
	now := d.opts.Now()
	for {
		k := d.sealing.Load()
		if k != nil && now.Sub(k.born) < d.opts.SubkeyAge && k.seals.Add(1) <= d.opts.SealsPerSubkey {
			return k, nil
		}
		if err := d.redraw(k, now); err != nil {
			return nil, err
		}
	}
}

// redraw replaces the sealing subkey, unless another caller has done so.
func (d *Domain) redraw(old *subkey, now time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.closed {
		return closedError()
	}
	if d.sealing.Load() != old {
		return nil
	}
	id := subkeyID{suite: sealSuite, dek: d.active}
	rand.Read(id.prefix[:])
	k, err := d.deriveLocked(id)
	if err != nil {
		return err
	}
	k.born = now
	d.keepLocked(k)
	d.sealing.Store(k)
	return nil
}

func (d *Domain) openingKey(id subkeyID) (*subkey, error) {
	if k := d.sealing.Load(); k != nil && k.id == id {
		return k, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.closed {
		return nil, closedError()
	}
	if k := d.mu.open[id]; k != nil {
		d.mu.tick++
		k.used = d.mu.tick
		return k, nil
	}
	if d.mu.keys.keys[id.dek] == nil {
		return nil, &IntegrityError{
			Domain: d.id, DEK: id.dek, UnknownDEK: true, Reason: "unknown data key",
		}
	}
	k, err := d.deriveLocked(id)
	if err != nil {
		return nil, err
	}
	d.keepLocked(k)
	return k, nil
}

// deriveLocked makes the subkey. Its info binds suite, domain and DEK.
func (d *Domain) deriveLocked(id subkeyID) (*subkey, error) {
	if id.suite != suiteGCM {
		aead, err := otherSuite(id.suite)
		if err != nil {
			return nil, &IntegrityError{Domain: d.id, DEK: id.dek, Reason: err.Error()}
		}
		return &subkey{id: id, aead: aead}, nil
	}
	info := append([]byte(subkeyInfo), id.suite)
	info = binary.BigEndian.AppendUint64(info, d.id)
	info = binary.BigEndian.AppendUint32(info, id.dek)
	aead, err := deriveAEAD(d.mu.keys.keys[id.dek][:], id.prefix[:], string(info))
	if err != nil {
		return nil, fmt.Errorf("derive subkey of data key %d: %w", id.dek, err)
	}
	return &subkey{id: id, aead: aead}, nil
}

// keepLocked caches k and drops the least recently used one beyond the limit. The cache is small: a scan is cheap
// beside the derivation that precedes it.
func (d *Domain) keepLocked(k *subkey) {
	for len(d.mu.open) >= d.opts.OpenSubkeys {
		var oldest *subkey
		for _, o := range d.mu.open {
			if oldest == nil || o.used < oldest.used {
				oldest = o
			}
		}
		delete(d.mu.open, oldest.id)
	}
	d.mu.tick++
	k.used = d.mu.tick
	d.mu.open[k.id] = k
}

// deriveAEAD is AES-256-GCM with a random nonce in front of the ciphertext, under HKDF-SHA256(secret, salt, info).
func deriveAEAD(secret, salt []byte, info string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, secret, salt, info, KeyLength)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
