//go:build unix

package replicas

import "syscall"

const (
	signals   = true
	pause     = syscall.SIGSTOP
	resume    = syscall.SIGCONT
	terminate = syscall.SIGTERM
)
