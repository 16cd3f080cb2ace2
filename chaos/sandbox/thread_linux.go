package sandbox

import "golang.org/x/sys/unix"

// onMainThread tells whether the caller's thread is the process's first, which can not end before it.
func onMainThread() bool { return unix.Gettid() == unix.Getpid() }
