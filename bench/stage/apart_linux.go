package stage

import "syscall"

// Apart keeps a terminal's Ctrl-C from the children, which the parent ends, and
// has the kernel end them if the parent cannot.
func Apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
