// Package tenant is the registry of tenants and their credentials, and authenticates who calls.
//
// What it is not. It does not decide what a principal may do (proto/authz does), it keeps no key in clear (encryption
// does), and it knows no server and no range: it reads and writes records through SystemKV.
//
// The life of a tenant. Registry.Create writes everything in one Commit: the name (if absent), the next id (by compare
// and set), the record with the wrapped keys, and the first credential, which is shown once. Registry.KeysOf is the
// loader of an encryption.Keyring. The life of a request: Authenticator.Authenticate parses the credential, finds the
// answer in its cache or reads ApiKeyRecord (and TenantRecord, for the state), compares HMAC-SHA256(pepper, secret) in
// constant time, and makes the authz.Principal.
//
// A credential is "vipkv1_", a key id of 12 and a secret of 43 of 0-9 A-Z a-z (256 bits), and the CRC-32 of all before
// it as 8 hexadecimal digits, with "_" between the parts. The checksum finds typing errors; it protects nothing.
//
// Records, in the plain keys of tenant 0:
//
//	tenant/id/<10 digits>            TenantRecord
//	tenant/name/<name>               TenantRecord with id and name only
//	tenant/cred/<10 digits>/<key id> empty: the credentials of a tenant; 0 is the cluster itself
//	apikey/<key id>                  ApiKeyRecord
//	alloc/tenant                     AllocatorRecord: the next tenant id
//
// Invariants.
//   - I1. A name belongs to one tenant, an id is given out once; both even when creators race or outcomes are unknown.
//   - I2. A secret is stored nowhere, and appears in no error and no log.
//   - I3. A wrong secret and an unknown key id are the same answer, after the same work.
//   - I4. A credential that was revoked opens nothing AuthConfig.PositiveTTL later on a node that reaches the system
//     range, and nothing AuthConfig.Grace later on one that does not.
//   - I5. No lock is held across SystemKV.
//
// Goroutines and locks. Authenticator.mu guards the cache. A lookup runs in a goroutine of singleflight that ends
// within AuthConfig.LookupTimeout. The Registry has no state.
//
// How to test it: go test ./kv/tenant/...; tenanttest has an in-memory SystemKV and the suite that every SystemKV
// passes.
package tenant
