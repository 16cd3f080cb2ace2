//go:build unix && !linux

package main

import "syscall"

// childAttributes gives a child its own process group, so that Ctrl-C in the terminal reaches it once, through us. Here
// a child outlives a parent that is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
