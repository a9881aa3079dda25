package disk

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// isFull knows ENOSPC too, which package syscall invents here and tests use.
func isFull(err error) bool {
	for _, full := range []error{windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL, windows.ERROR_DISK_QUOTA_EXCEEDED, syscall.ENOSPC} {
		if errors.Is(err, full) {
			return true
		}
	}
	return false
}

// lock takes the file's lock, or says errLocked. It locks a byte far behind the
// holder's ID, since Windows lets nobody read what is locked.
func lock(f *os.File) error {
	where := &windows.Overlapped{OffsetHigh: 1 << 30}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, where)
	if err == windows.ERROR_LOCK_VIOLATION {
		return errLocked
	}
	return err
}
