// Package authz is the only place where a request becomes something that storage executes: Authorize turns a principal,
// a method and keys of the tenant's own into an AuthorizedSpan, whose fields nobody else can set. It is PURE. It does
// not authenticate: kv/tenant does, and makes the Principal.
//
// The life of a request. (1) An interceptor asks Public, authenticates, and asks Check with the full method. (2) The
// handler names what it is about to touch (Point, Prefix, Span, From, All, Routing) and calls Authorize with the
// actions; a batch does so for every operation in it, conditions included. (3) Storage takes the AuthorizedSpan, and a
// leaseholder calls Authorize again with the tenant that the peer names.
//
// Invariants.
//   - I1. A method without a row in the table (table.go) is denied, as is one that does not start with a slash.
//   - I2. A span of a tenant lies within the tenant's prefix, whatever bytes the request holds.
//   - I3. An empty span contains nothing. An open end is its own kind of target, never an empty key.
//   - I4. The zero Principal and the zero AuthorizedSpan are good for nothing.
//   - I5. The role of a credential is tenant (of a tenant other than 0) or admin (of tenant 0, and without access to
//     data). The role system, which reads and writes tenant 0, comes with no credential.
//
// A replicated key is tenant id (4 bytes, big endian), space byte ('k' plain keys, 's' streams, 'i' internal), user
// key. No goroutines, no locks. How to test it: go test ./proto/authz; one test walks the descriptors of all services.
package authz
