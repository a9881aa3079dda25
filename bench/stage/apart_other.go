//go:build !linux

package stage

import "syscall"

// Apart keeps a terminal's Ctrl-C from the children, which the parent ends.
func Apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
