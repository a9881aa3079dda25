package boottime

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Clock returns a clock that never goes back. Its times are CLOCK_BOOTTIME's, which all
// processes of the machine share, unless a sandbox keeps that from us: then they
// begin with this call.
func Clock() func() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return stopwatch()
	}
	return func() time.Duration {
		// As before: it cannot fail now, nor block. Other system calls than raw ones make the
		// runtime wake its monitor.
		var ts unix.Timespec
		syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0)
		return time.Duration(ts.Nano())
	}
}
