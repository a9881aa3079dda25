package kith

import (
	"time"

	"github.com/kith-go/kith/internal/link"
)

// clock returns what leases are measured with. Networks of tests run in virtual
// time, which only package time knows.
func (c Config) clock() func() time.Duration {
	if c.Network == Network(link.System{}) {
		return bootClock()
	}
	return stopwatch()
}

// stopwatch tells the time since now by Go's monotonic clock.
func stopwatch() func() time.Duration {
	origin := time.Now()
	return func() time.Duration { return time.Since(origin) }
}
