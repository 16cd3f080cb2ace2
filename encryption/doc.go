// Package encryption seals values into envelopes, one key domain a tenant, and manages the keys: root, KEK, DEK and
// subkey.
//
// What it is not. It does not cover keys, stream names, timestamps or sizes: they stay readable. It does not detect the
// replay of a whole older record (same key, expiry and start timestamp) or the rollback of a whole store. It never
// decides whether encryption is on: there is no way to store a value without it.
//
// The life of one value. (1) Keyring.Domain finds the tenant's Domain: from its cache, or by loading the tenant's
// wrapped keys and Unlock, which asks the KeyService to unwrap the KEK and opens the DEKs with it. (2) On the
// leaseholder Domain.Seal compresses when that saves, takes the current subkey, which is HKDF of the DEK and a random
// prefix, and seals with AES-256-GCM under a random nonce; header, tenant's domain, key, expiry and start timestamp are
// authenticated. (3) The envelope is what is proposed, stored, copied and backed up. (4) Domain.Open on the serving
// replica finds DEK and prefix in the header, derives or finds the subkey, authenticates, decrypts, decompresses.
//
// The envelope, version 1, 48 bytes longer than what it holds:
//
//	 0   1  0xE1: envelope, version 1
//	 1   1  suite: 0x01 HKDF-SHA256 and AES-256-GCM; 0x7F is the null cipher, which only a build with the tag
//	        nullcipher knows (tests search the disk for plaintext, and must find it in such a build)
//	 2   1  flags: 0x01 compressed with zstd; 0x08 the start timestamp is bound (always set)
//	 3   1  schema of the associated data: 1
//	 4   4  id of the DEK, big endian, never 0
//	 8  12  prefix: the salt of the subkey
//	20  12  nonce
//	32   n  ciphertext
//	   16  tag
//
// The associated data are these fields, each after its length in 4 bytes: "VIPKVENC1", domain id (8), key, start
// timestamp (8), expiry (8), bytes 0 to 19 of the header.
//
// Invariants.
//   - I1. A header byte that this version does not know is an error, never "maybe plaintext".
//   - I2. Open returns bytes only after the tag has been verified; everything else is an *IntegrityError.
//   - I3. A subkey seals at most Options.SealsPerSubkey values and does not seal for longer than Options.SubkeyAge;
//     its prefix is drawn when the process first seals in the domain, so no two processes share it.
//   - I4. Two tenants never share a DEK or a KEK. A DEK opens only under its domain and id, a KEK only under its
//     domain.
//   - I5. What Open inflates is at most MaxInflated bytes.
//   - I6. No lock is held across the loader or the key service.
//   - I7. A key service that denies takes the key away at once; one that can not be reached takes it away after
//     KeyringConfig.Hard. Only that tenant fails.
//
// The keyfile holds root keys by id. The first key in it is the one from which the API-key pepper and the peer secret
// are derived, so it must stay the first for ever; the active one wraps new KEKs and seals system values. To rotate:
// append a key to the file on every node, then, on every node, make it the active one.
//
// Goroutines and locks. A Domain has one mutex, for its cache of subkeys. Keyring.mu guards the entries. A load runs in
// a goroutine of singleflight that ends within KeyringConfig.LoadTimeout; Keyring.Run owns the refresh loop. Bytes of
// keys are cleared by Domain.Close, or by the garbage collector's cleanup when a Domain is dropped while in use;
// expanded key schedules inside cipher objects can not be cleared.
//
// How to test it: go test ./encryption; the files in testdata/golden must open for ever; go test -tags nullcipher
// ./encryption proves that the null cipher shows plaintext; go test -fuzz FuzzEnvelopeOpen; go test -bench .
package encryption
