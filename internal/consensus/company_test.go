package consensus

import (
	"testing"
	"time"
)

// TestLeaderWaitsForCompany: with nothing but its own to propose a leader waits a moment
// for others, if they had something lately, and for nobody else.
func TestLeaderWaitsForCompany(t *testing.T) {
	const applied = time.Hour
	for _, tc := range []struct {
		name    string
		batches []int // of others, in each entry so far
		since   time.Duration
		want    time.Duration
	}{
		{"no entry yet", nil, 0, 0},
		{"alone for ever", []int{0, 0, 0, 0}, 0, 0},
		{"others in the last entry", []int{0, 0, 2}, 0, gather},
		{"others in the last but one, and some time has passed", []int{1, 0}, gather / 4, gather * 3 / 4},
		{"waited long enough", []int{1, 1, 1}, gather, 0},
		{"waited longer", []int{1, 1, 1}, time.Minute, 0},
		{"others are gone", []int{1, 1, 0, 0, 0}, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var c company
			for _, n := range tc.batches {
				c.next(n)
			}
			c.applied = applied
			if got := c.wait(applied + tc.since); got != tc.want {
				t.Errorf("it waits for %v, want %v", got, tc.want)
			}
		})
	}
}
