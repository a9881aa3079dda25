//go:build !linux

package main

import "syscall"

// apart keeps a terminal's Ctrl-C from the children, which the parent ends.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
