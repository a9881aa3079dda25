//go:build !linux

package kith

import "time"

// bootClock may stand still on systems other than Linux while the machine is
// suspended. A holder then learns too late that its session has ended, and its
// fencing token has the last word.
func bootClock() func() time.Duration { return stopwatch() }
