package kith

import (
	"time"

	"github.com/kith-go/kith/internal/boottime"
	"github.com/kith-go/kith/internal/link"
)

// clock returns what leases are measured with. Networks of tests run in virtual
// time, which only package time knows, and may bring clocks that run wrong.
func (c Config) clock() func() time.Duration {
	if host, ok := c.Network.(interface{ Clock() func() time.Duration }); ok {
		return host.Clock()
	}
	if c.Network == Network(link.System{}) {
		return boottime.Clock()
	}
	return stopwatch()
}

// now is what the wall clock shows. It may be anything: starts are marked with it, and
// nothing is measured.
func (c Config) now() time.Time {
	if host, ok := c.Network.(interface{ Now() time.Time }); ok {
		return host.Now()
	}
	return time.Now()
}

// stopwatch tells the time since now by Go's monotonic clock.
func stopwatch() func() time.Duration {
	origin := time.Now()
	return func() time.Duration { return time.Since(origin) }
}
