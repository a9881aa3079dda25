package transport

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestBuckets: every duration is in the bucket whose bounds are around it, and bounds
// are a quarter apart at most.
func TestBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(30*time.Minute)).Draw(t, "ns"))
		b := bucket(d)
		if b < 0 || b >= buckets || d >= upper(b) || b > 0 && d < upper(b-1) || float64(upper(b)) > 1.25*float64(max(d, 1<<shortest)) {
			t.Fatalf("%v is in bucket %d, up to %v", d, b, upper(b))
		}
	})
	if b := bucket(1000 * time.Hour); b != buckets-1 {
		t.Errorf("1000 h are in bucket %d", b)
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	if n, l := h.read(); n != 0 || l != (Latency{}) {
		t.Errorf("empty: %d, %+v", n, l)
	}
	for i := range 100 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	n, l := h.read()
	if n != 100 || l.Max != 100*time.Millisecond || l.P50 < 50*time.Millisecond || l.P50 > 63*time.Millisecond ||
		l.P99 < 99*time.Millisecond || l.P99 > l.Max {
		t.Errorf("%d, %+v", n, l)
	}
}
