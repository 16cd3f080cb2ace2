//go:build !linux

package sandbox

func onMainThread() bool { return false }
