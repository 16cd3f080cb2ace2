// Package client is the Go SDK: what a Go program imports to use a cluster.
//
//	c, err := client.Open(ctx, client.Options{Endpoints: []string{"127.0.0.1:7400"}, Credential: key})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	_, err = c.Put(ctx, []byte("colour"), []byte("blue"), client.PutOptions{})
//	item, err := c.Get(ctx, []byte("colour"))
//
// What it is not. It holds no data and no transaction state, it does not batch calls, and it never decides what a write
// whose outcome is not known has done: that is an *rpcerr.AmbiguousError.
//
// The life of one call. (1) A method makes the request, with a request id when it writes, and the routing key; (2)
// Client.do looks the key up in the route cache, or asks KV.Locate on a miss; (3) pool.pick chooses the leader's
// endpoint, or any other when the leader is not known or does not answer; (4) one attempt is made, under a deadline of
// its own while there are other endpoints to try; (5) classify says what the answer means: done, final, go elsewhere,
// wait and try again; NotLeader and StaleEpoch correct the route cache; (6) Client.finish says what the caller gets.
//
// Errors are those of package rpcerr, wrapped: use errors.As. Not retried: ConditionFailed, StreamConflict, TooLarge,
// Integrity, RequestExpired, RequestReused, InvalidArgument, MultiRange, BelowFloor, DiskFull, TenantState, and the
// status codes Unauthenticated, PermissionDenied, NotFound and AlreadyExists. After an attempt that was not answered
// most of them leave the outcome unknown, and the call ends in an AmbiguousError: rpcerr.Settles says which do not.
//
// Invariants.
//   - I1. All attempts of one logical write carry the same request id, made once.
//   - I2. After an attempt that may have been executed, the call ends in success, in an answer that settles what
//     became of it, or in an AmbiguousError; never in a plain failure.
//   - I3. The credential leaves over a plaintext connection to a loopback address only, unless Options.Insecure is set;
//     an endpoint learned from a server is held to the same rule.
//   - I4. The route cache is a hint: a wrong route costs a hop, never a wrong answer. Routes do not overlap.
//
// Goroutines and locks. The package starts no goroutine of its own; gRPC owns those of the connections until
// Client.Close. routeCache.mu and pool.mu are never held across I/O. A Client is safe for concurrent use.
//
// How to test it: go test ./kv/client. Package clienttest has a server in memory that follows the comments in
// proto/vipkv/v1, with faults to inject.
package client
