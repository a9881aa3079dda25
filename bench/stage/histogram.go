package stage

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"time"
)

// Histogram counts durations in buckets that are at most 1/32 of their value
// wide, so that a quantile is off by at most 3 %. It is not safe for concurrent
// use: every caller has its own, merged in the end.
type Histogram struct {
	counts [buckets]uint64
	n      uint64
	max    time.Duration
}

const (
	stepBits = 5 // 32 buckets for each power of two
	buckets  = (64 - stepBits) << stepBits
)

// bucket returns where d is counted. Below 64 ns each value has its own bucket.
func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < 1<<(stepBits+1) {
		return int(v)
	}
	shift := bits.Len64(v) - stepBits - 1
	return shift<<stepBits + int(v>>shift)
}

// least is the smallest duration that is counted in bucket i.
func least(i int) time.Duration {
	if i < 1<<(stepBits+1) {
		return time.Duration(i)
	}
	shift := i>>stepBits - 1
	return time.Duration(uint64(i-shift<<stepBits) << shift)
}

// Add counts n durations of d.
func (h *Histogram) Add(d time.Duration, n uint64) {
	h.counts[bucket(d)] += n
	h.n += n
	h.max = max(h.max, d)
}

func (h *Histogram) merge(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.n += other.n
	h.max = max(h.max, other.max)
}

// quantile returns the duration that a share q of all does not exceed, 0 if
// there are none.
func (h *Histogram) quantile(q float64) time.Duration {
	rank := uint64(q * float64(h.n))
	var seen uint64
	for i, n := range h.counts {
		seen += n
		if n > 0 && seen > rank {
			return min((least(i)+least(i+1))/2, h.max)
		}
	}
	return h.max
}

// sparse is a histogram on its way between processes.
type sparse struct {
	Counts map[int]uint64 // by bucket; none is 0
	Max    time.Duration
}

// MarshalJSON writes only the buckets that hold something.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	s := sparse{Counts: make(map[int]uint64), Max: h.max}
	for i, n := range h.counts {
		if n > 0 {
			s.Counts[i] = n
		}
	}
	return json.Marshal(s)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Histogram) UnmarshalJSON(text []byte) error {
	var s sparse
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	*h = Histogram{max: s.Max}
	for i, n := range s.Counts {
		if i < 0 || i >= buckets {
			return fmt.Errorf("a histogram has no bucket %d", i)
		}
		h.counts[i] = n
		h.n += n
	}
	return nil
}
