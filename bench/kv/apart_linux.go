package main

import "syscall"

// apart keeps a terminal's Ctrl-C from the children, which the parent ends, and
// has the kernel end them if the parent cannot.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
