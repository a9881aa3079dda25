//go:build !linux

package boottime

import "time"

// Clock returns a clock that never goes back, whose times begin with this call. It may
// stand still while the machine is suspended: a holder then learns too late that its
// session has ended, and its fencing token has the last word.
func Clock() func() time.Duration { return stopwatch() }
