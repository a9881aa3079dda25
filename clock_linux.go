package kith

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootClock tells time since the machine was started, suspended or not: a lease
// must not outlive a nap (SAFETY.md, S11). Go's own monotonic clock stands still
// then.
func bootClock() func() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return stopwatch() // a sandbox that does not let us
	}
	return func() time.Duration {
		var ts unix.Timespec
		unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // as before: it cannot fail now
		return time.Duration(ts.Nano())
	}
}
