// Package bubble runs tests in virtual time, as testing/synctest does, in a way that the
// race detector survives.
//
// In Go 1.26 all timers of a bubble share one context of the race detector, and goroutines
// that look at timers whose moment has come run them themselves: two of them that do so at
// once, on two processors, corrupt it, and the process dies of "ThreadSanitizer: CHECK
// failed" or of a SIGSEGV in C (https://go.dev/issue/78156). On one processor that cannot
// happen, and the detector still sees every pair of accesses that nothing orders: it goes by
// who waited for whom, not by what ran at the same moment.
package bubble

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// Test is [synctest.Test]. With the race detector on, the whole process has one processor
// until the last of the tests that run like this has ended. It is safe for concurrent use.
func Test(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	if raceDetector {
		processors.reduce()
		defer processors.restore()
	}
	synctest.Test(t, fn)
}

// processors counts the tests that need the process to have just one.
var processors reduction

type reduction struct {
	mu     sync.Mutex
	tests  int
	before int // GOMAXPROCS, when tests > 0
}

func (r *reduction) reduce() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tests == 0 {
		r.before = runtime.GOMAXPROCS(1)
	}
	r.tests++
}

func (r *reduction) restore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tests--
	if r.tests == 0 {
		runtime.GOMAXPROCS(r.before)
	}
}
