package bubble

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// TestTimersOfManyGoroutines kills the process within a second where the race detector is on
// and goroutines of a bubble really run at the same time.
func TestTimersOfManyGoroutines(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	for range 20 {
		Test(t, func(t *testing.T) {
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					for range 500 {
						timer := time.NewTimer(0)
						select {
						case <-timer.C:
						default:
						}
						timer.Stop()
					}
				})
			}
			wg.Wait()
		})
	}
	if after := runtime.GOMAXPROCS(0); after != before {
		t.Errorf("%d processors after the test, %d before", after, before)
	}
}

// TestSideBySide: a test that ends does not give the processors back to one that goes on.
func TestSideBySide(t *testing.T) {
	if !raceDetector {
		t.Skip("nothing is reduced without the race detector")
	}
	before := runtime.GOMAXPROCS(0)
	var r reduction
	r.reduce()
	r.reduce()
	r.restore()
	if n := runtime.GOMAXPROCS(0); n != 1 {
		t.Errorf("%d processors while one of two tests runs, want 1", n)
	}
	r.restore()
	if n := runtime.GOMAXPROCS(0); n != before {
		t.Errorf("%d processors after both tests, %d before", n, before)
	}
}
