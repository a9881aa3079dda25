//go:build unix && !linux

package proof

import "syscall"

// apart leaves it to the child to see the end of its standard input.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
