//go:build !chaos

package raftstore_test

func enableMutant() {}
