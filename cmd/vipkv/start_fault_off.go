//go:build !chaos

package main

import "github.com/vipkv/vipkv/kv/node"

// injectFaults does nothing in this build.
func injectFaults(*node.Config) error { return nil }
