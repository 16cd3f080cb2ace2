// Package txntest holds what tests of transactions and of their engines need: an ordered in-memory Store with views, an
// Engine of ranges without replicas that can lose proposals and answers, an Oracle and a Sealer, and RunEngine, which
// any engine must pass to be used by txn.
package txntest
