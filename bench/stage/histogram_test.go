package stage

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Every duration lies in its bucket, and no bucket is wider than 1/32 of it.
func TestBucketsCoverAllDurations(t *testing.T) {
	durations := []time.Duration{0, 1, 63, 64, 65, 127, 128, time.Second, math.MaxInt64}
	for range 10_000 {
		durations = append(durations, time.Duration(rand.Int64()>>rand.IntN(63)))
	}
	for _, d := range durations {
		i := bucket(d)
		if i < 0 || i >= buckets {
			t.Fatalf("%d is counted in bucket %d of %d", d, i, buckets)
		}
		low := least(i)
		if low > d {
			t.Errorf("%d is counted in a bucket that begins at %d", d, low)
		}
		if i+1 == buckets {
			continue
		}
		if high := least(i + 1); high <= d || high-low > max(1, low/32) {
			t.Errorf("%d is counted in a bucket from %d to %d", d, low, high)
		}
	}
	if i := bucket(-5); i != 0 {
		t.Errorf("a clock that went backwards is counted in bucket %d", i)
	}
}

func TestQuantilesAreCloseToExactOnes(t *testing.T) {
	var a, b Histogram
	var all []time.Duration
	for i := range 20_000 {
		d := time.Duration(rand.ExpFloat64() * float64(time.Millisecond))
		all = append(all, d)
		if i%3 == 0 {
			a.Add(d, 1)
		} else {
			b.Add(d, 1)
		}
	}
	a.merge(&b)
	slices.Sort(all)
	if a.n != uint64(len(all)) || a.max != all[len(all)-1] {
		t.Fatalf("%d durations up to %v, want %d up to %v", a.n, a.max, len(all), all[len(all)-1])
	}
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := all[min(int(q*float64(len(all))), len(all)-1)]
		if got := a.quantile(q); math.Abs(float64(got-exact)) > 0.03*float64(exact)+1 {
			t.Errorf("quantile %v is %v, exactly %v", q, got, exact)
		}
	}
	if got := new(Histogram).quantile(0.5); got != 0 {
		t.Errorf("the median of nothing is %v", got)
	}
}

func TestHistogramsTravel(t *testing.T) {
	var sent, got Histogram
	for _, d := range []time.Duration{0, 5, 5, time.Millisecond, time.Hour} {
		sent.Add(d, 1)
	}
	got.Add(time.Second, 1) // to be forgotten
	text, err := json.Marshal(&sent)
	if err == nil {
		err = json.Unmarshal(text, &got)
	}
	if err != nil || got != sent {
		t.Errorf("%s arrived as %d durations up to %v, error %v", text, got.n, got.max, err)
	}
	for _, bad := range []string{`{"Counts":{"-1":1}}`, `{"Counts":{"99999":1}}`, `[]`} {
		if json.Unmarshal([]byte(bad), &got) == nil {
			t.Errorf("%s is a histogram", bad)
		}
	}
}
