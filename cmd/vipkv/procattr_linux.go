package main

import "syscall"

// childAttributes gives a child its own process group, so that Ctrl-C in the terminal reaches it once, through us; and
// has it stopped when the thread that started it ends, that is, when this process dies.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
