//go:build !unix

package replicas

import "syscall"

// Never sent: [New] skips the test.
const (
	signals   = false
	pause     = syscall.SIGKILL
	resume    = syscall.SIGKILL
	terminate = syscall.SIGKILL
)
