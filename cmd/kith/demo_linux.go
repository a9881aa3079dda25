package main

import (
	"os/exec"
	"syscall"
)

// bindToParent makes the child die with the thread that starts it, even when
// that is killed outright, and keeps a Ctrl-C at the terminal from reaching it:
// the demo ends its children itself.
func bindToParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
