// Package clienttest has a cluster in memory for tests of what uses kv/client: real gRPC servers on loopback that
// follow the comments in proto/vipkv/v1, with faults to inject and a record of all calls. It keeps no data on disk and
// replicates nothing.
package clienttest
