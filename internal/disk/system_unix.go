//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package disk

import (
	"errors"
	"os"
	"syscall"
)

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// lock takes the file's lock, or says errLocked. The lock belongs to the open
// file, so that two nodes of one process exclude each other too; children do not
// inherit it, since package os marks files as closed on exec.
func lock(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			if failed = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB); failed != syscall.EINTR {
				return
			}
		}
	})
	switch {
	case err != nil:
		return err
	case failed == syscall.EWOULDBLOCK:
		return errLocked
	}
	return failed
}
