//go:build unix && !solaris && !aix

package main

import (
	"os"
	"syscall"
)

// lockFile waits for the lock on f, which goes when f is closed or the process
// ends. A file system that knows no locks is left alone.
func lockFile(f *os.File) {
	for syscall.Flock(int(f.Fd()), syscall.LOCK_EX) == syscall.EINTR {
	}
}
