package boottime

import (
	"testing"
	"time"
)

// TestClock: it runs, and at the pace of Go's own clock while nobody sleeps.
func TestClock(t *testing.T) {
	clock := Clock()
	before, began := clock(), time.Now()
	for time.Since(began) < 10*time.Millisecond {
		if now := clock(); now < before {
			t.Fatalf("it went back from %v to %v", before, now)
		}
	}
	if ran := clock() - before; ran < 9*time.Millisecond {
		t.Errorf("in 10 ms it ran %v", ran)
	}
}
