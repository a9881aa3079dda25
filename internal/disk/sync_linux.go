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
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			if failed = syscall.Fdatasync(int(fd)); failed != syscall.EINTR {
				return
			}
		}
	})
	if err != nil { // there is no other reason for it
		failed = os.ErrClosed
	}
	if failed != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: failed}
	}
	return nil
}
