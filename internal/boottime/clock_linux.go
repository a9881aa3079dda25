package boottime

import (
	"time"

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
		var ts unix.Timespec
		unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // as before: it cannot fail now
		return time.Duration(ts.Nano())
	}
}
