package encryption

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	pb "google.golang.org/protobuf/proto"

	"github.com/vipkv/vipkv/proto"
	internalpb "github.com/vipkv/vipkv/proto/vipkv/node/v1"
)

const (
	stateActive      = "active"
	stateDecryptOnly = "decrypt-only"

	systemDomainID = 1 // no tenant gets it: theirs are drawn from 2^63 up
	kekWrapInfo    = "vipkv/kek/wrap/v1"
	checkLength    = 8
)

// NewTenantKeys makes a tenant's keys: a random domain id, one KEK wrapped by the service's root, one DEK wrapped by
// the KEK. Nothing is to be stored before it has returned.
func NewTenantKeys(
	ctx context.Context, ks KeyService, tenant proto.TenantID, now time.Time,
) (*internalpb.TenantKeys, error) {
	if tenant == proto.SystemTenant {
		return nil, errors.New("keys of tenant 0 are derived from the keyfile, not made")
	}
	var random [8]byte
	rand.Read(random[:])
	tk := &internalpb.TenantKeys{DomainId: binary.BigEndian.Uint64(random[:]) | 1<<63}
	kek := make([]byte, KeyLength)
	rand.Read(kek)
	defer clear(kek)
	blob, version, err := ks.Wrap(ctx, "", kek, kekContext(tk.DomainId, 1))
	if err != nil {
		return nil, fmt.Errorf("make keys of tenant %d: %w", tenant, err)
	}
	tk.Keks = []*internalpb.WrappedKek{{
		Id: 1, Service: ks.Name(), RootVersion: version, Wrapped: blob,
	}}
	dek, err := newDEK(tk.DomainId, 1, tk.Keks[0], kek, now)
	if err != nil {
		return nil, fmt.Errorf("make keys of tenant %d: %w", tenant, err)
	}
	tk.Deks = []*internalpb.WrappedDek{dek}
	return tk, nil
}

// RotateDEK returns a copy of tk with one more DEK, which is the active one; the others only open from then on. Store
// it before it is used: other nodes learn of it when they load the keys again.
func RotateDEK(
	ctx context.Context, ks KeyService, tk *internalpb.TenantKeys, now time.Time,
) (*internalpb.TenantKeys, error) {
	if len(tk.Keks) == 0 || len(tk.Deks) == 0 {
		return nil, fmt.Errorf("rotate the data key of domain %016x: %w: no keys",
			tk.DomainId, ErrBadBlob)
	}
	out := pb.CloneOf(tk)
	last := uint32(0)
	for _, dek := range out.Deks {
		last = max(last, dek.Id)
		dek.State = stateDecryptOnly
	}
	wrapped := out.Keks[len(out.Keks)-1]
	kek, err := unwrapKEK(ctx, ks, tk.DomainId, wrapped)
	if err != nil {
		return nil, fmt.Errorf("rotate the data key of domain %016x: %w", tk.DomainId, err)
	}
	defer clear(kek)
	dek, err := newDEK(tk.DomainId, last+1, wrapped, kek, now)
	if err != nil {
		return nil, fmt.Errorf("rotate the data key of domain %016x: %w", tk.DomainId, err)
	}
	out.Deks = append(out.Deks, dek)
	return out, nil
}

func newDEK(
	domain uint64, id uint32, wrapper *internalpb.WrappedKek, kek []byte, now time.Time,
) (*internalpb.WrappedDek, error) {
	key := make([]byte, KeyLength)
	rand.Read(key)
	defer clear(key)
	dek := &internalpb.WrappedDek{
		Id: id, Suite: suiteGCM, KekId: wrapper.Id, Check: checkValue(key), CreatedMs: now.UnixMilli(),
		State: stateActive,
	}
	wrapped, err := sealBox(kek, kekWrapInfo, dekAAD(domain, dek), key)
	if err != nil {
		return nil, fmt.Errorf("wrap data key %d: %w", id, err)
	}
	dek.Wrapped = wrapped
	return dek, nil
}

// Unlock unwraps a tenant's keys. An error is of one of the KeyService's classes; what does not fit together is
// ErrBadBlob.
func Unlock(
	ctx context.Context, ks KeyService, tk *internalpb.TenantKeys, o Options,
) (*Domain, error) {
	if tk.GetDomainId() == 0 || tk.DomainId == systemDomainID {
		return nil, fmt.Errorf("unlock tenant keys: %w: domain id %d", ErrBadBlob, tk.GetDomainId())
	}
	keks := make(map[uint32][]byte)
	var deks []DEK
	defer func() {
		for _, kek := range keks {
			clear(kek)
		}
		for _, dek := range deks {
			clear(dek.Key)
		}
	}()
	for _, w := range tk.Deks {
		if err := needKEK(ctx, ks, tk, w.KekId, keks); err != nil {
			return nil, fmt.Errorf("unlock domain %016x: %w", tk.DomainId, err)
		}
		dek, err := openDEK(tk.DomainId, w, keks[w.KekId])
		if err != nil {
			return nil, fmt.Errorf("unlock domain %016x: %w", tk.DomainId, err)
		}
		deks = append(deks, dek)
	}
	d, err := NewDomain(tk.DomainId, deks, o)
	if err != nil {
		return nil, fmt.Errorf("unlock: %w: %w", ErrBadBlob, err)
	}
	return d, nil
}

// needKEK unwraps the KEK into keks, once.
func needKEK(
	ctx context.Context, ks KeyService, tk *internalpb.TenantKeys, id uint32, keks map[uint32][]byte,
) error {
	if keks[id] != nil {
		return nil
	}
	for _, w := range tk.Keks {
		if w.Id != id {
			continue
		}
		kek, err := unwrapKEK(ctx, ks, tk.DomainId, w)
		if err != nil {
			return err
		}
		keks[id] = kek
		return nil
	}
	return fmt.Errorf("%w: key-encryption key %d is missing", ErrBadBlob, id)
}

func unwrapKEK(
	ctx context.Context, ks KeyService, domain uint64, w *internalpb.WrappedKek,
) ([]byte, error) {
	if w.Service != ks.Name() {
		return nil, fmt.Errorf("%w: key-encryption key %d is of the key service %q; this node has %q",
			ErrBadBlob, w.Id, w.Service, ks.Name())
	}
	wrapped := Wrapped{Version: w.RootVersion, Blob: w.Wrapped}
	kek, err := ks.Unwrap(ctx, "", wrapped, kekContext(domain, w.Id))
	if err != nil {
		return nil, fmt.Errorf("key-encryption key %d: %w", w.Id, err)
	}
	if len(kek) != KeyLength {
		clear(kek)
		return nil, fmt.Errorf("%w: key-encryption key %d has %d bytes", ErrBadBlob, w.Id, len(kek))
	}
	return kek, nil
}

func openDEK(domain uint64, w *internalpb.WrappedDek, kek []byte) (DEK, error) {
	if w.Suite != suiteGCM {
		return DEK{}, fmt.Errorf("%w: data key %d is for the unknown suite %d", ErrBadBlob, w.Id, w.Suite)
	}
	if w.State != stateActive && w.State != stateDecryptOnly {
		return DEK{}, fmt.Errorf("%w: data key %d is in the unknown state %q", ErrBadBlob, w.Id, w.State)
	}
	key, err := openBox(kek, kekWrapInfo, dekAAD(domain, w), w.Wrapped)
	if err != nil {
		return DEK{}, fmt.Errorf("%w: data key %d", ErrBadBlob, w.Id)
	}
	if !hmac.Equal(checkValue(key), w.Check) {
		clear(key)
		return DEK{}, fmt.Errorf("%w: data key %d does not fit its check value", ErrBadBlob, w.Id)
	}
	return DEK{ID: w.Id, Key: key, Active: w.State == stateActive}, nil
}

// kekContext is the encryption context of a KEK (I4).
func kekContext(domain uint64, id uint32) map[string]string {
	return map[string]string{
		"purpose": "tenant-kek",
		"domain":  fmt.Sprintf("%016x", domain),
		"kek":     strconv.FormatUint(uint64(id), 10),
	}
}

// dekAAD binds a wrapped DEK to its domain, its KEK's id, its own id and its suite (I4).
func dekAAD(domain uint64, w *internalpb.WrappedDek) []byte {
	aad := appendField(nil, "VIPKVDEK1")
	aad = binary.BigEndian.AppendUint64(aad, domain)
	aad = binary.BigEndian.AppendUint32(aad, w.KekId)
	aad = binary.BigEndian.AppendUint32(aad, w.Id)
	return binary.BigEndian.AppendUint32(aad, w.Suite)
}

// checkValue recognises a key: HMAC-SHA256(key, "kcv"), first 8 bytes.
func checkValue(key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("kcv"))
	return mac.Sum(nil)[:checkLength]
}

// SystemDomain is the domain of tenant 0. Its DEKs are derived from the root keys: DEK i from the i-th in the file. It
// needs no key service, so a cluster starts without one.
func SystemDomain(k *Keyfile, o Options) (*Domain, error) {
	deks := make([]DEK, len(k.roots))
	for i, root := range k.roots {
		key := k.derive(i, "vipkv/keyfile/system-dek/v1")
		defer clear(key)
		deks[i] = DEK{ID: uint32(i + 1), Key: key, Active: root.id == k.active}
	}
	d, err := NewDomain(systemDomainID, deks, o)
	if err != nil {
		return nil, fmt.Errorf("system domain: %w", err)
	}
	return d, nil
}
