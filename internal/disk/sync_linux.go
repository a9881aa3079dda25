package disk

import (
	"os"
	"syscall"
)

// Sync is fdatasync: in a file whose length does not change it writes the data
// and nothing else, which is why the log's segments are filled beforehand.
func (f file) Sync() error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno error
	err = conn.Control(func(fd uintptr) {
		for {
			if errno = syscall.Fdatasync(int(fd)); errno != syscall.EINTR {
				return
			}
		}
	})
	if err != nil { // there is no other reason for it
		errno = os.ErrClosed
	}
	if errno != nil {
		return failed("fdatasync", f.File, errno)
	}
	return nil
}

// failed is the error of an operation on f.
func failed(op string, f *os.File, err error) error {
	return &os.PathError{Op: op, Path: f.Name(), Err: err}
}
