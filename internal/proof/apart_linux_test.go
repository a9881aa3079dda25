package proof

import "syscall"

// apart has the kernel kill the child when the test dies, also one that is stopped
// and so does not see the end of its standard input, and keeps a terminal's Ctrl-C
// from it, which would come to the test too.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
