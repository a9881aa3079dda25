// Package boottime tells the time that leases are measured with: since the machine
// was started, suspended or not. A lease must not outlive a nap (SAFETY.md, S11), and
// Go's own monotonic clock stands still during one.
package boottime

import "time"

// stopwatch tells the time since now by Go's monotonic clock.
func stopwatch() func() time.Duration {
	origin := time.Now()
	return func() time.Duration { return time.Since(origin) }
}
