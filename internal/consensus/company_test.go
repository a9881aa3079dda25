package consensus

import (
	"testing"
	"time"

	"github.com/kith-go/kith/internal/bubble"
)

// TestLeaderWaitsForCompany: until as many commands are there as one of the last entries
// had, or the moment is over.
func TestLeaderWaitsForCompany(t *testing.T) {
	const applied = time.Hour
	for _, tc := range []struct {
		name    string
		entries []int // commands in each so far
		have    int
		since   time.Duration
		want    time.Duration
	}{
		{"no entry yet", nil, 1, 0, 0},
		{"alone for ever", []int{1, 1, 1, 1}, 1, 0, 0},
		{"two in the last entry", []int{1, 1, 2}, 1, 0, gather},
		{"two in the last but one, and some time has passed", []int{1, 2, 1}, 1, gather / 4, gather * 3 / 4},
		{"all are there", []int{2, 2, 2}, 2, 0, 0},
		{"more are there", []int{2, 2, 2}, 3, 0, 0},
		{"waited long enough", []int{2, 2, 2}, 1, gather, 0},
		{"waited longer", []int{2, 2, 2}, 1, time.Minute, 0},
		{"the others are gone", []int{2, 2, 1, 1, 1}, 1, 0, 0},
		{"a crowd needs no waiting", []int{few + 1, few + 1}, 1, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var c company
			for _, n := range tc.entries {
				c.next(n)
			}
			c.applied = applied
			if got := c.wait(applied+tc.since, tc.have); got != tc.want {
				t.Errorf("it waits for %v, want %v", got, tc.want)
			}
		})
	}
}

// TestLostBets: commands that come on their own are hardly ever made to wait for others, and
// those that come together are soon waited for again.
func TestLostBets(t *testing.T) {
	var c company
	waits := 0
	entry := func(have, become int) {
		if c.wait(0, have) > 0 {
			waits++
			c.next(become)
		} else {
			c.next(have)
		}
	}
	for i := range 100_000 {
		entry(1+i%2, 1+i%2) // there is always reason to expect two, and never do more come
	}
	if waits > 500 {
		t.Errorf("it waited %d times in vain", waits)
	}
	for range soberest {
		entry(2, 2)
	}
	waits = 0
	for range 100 {
		entry(1, 2)
	}
	if waits != 100 {
		t.Errorf("it waited for others %d times of 100, though they came each time", waits)
	}
}

// TestPatience: others are waited for as long as an entry takes, within bounds.
func TestPatience(t *testing.T) {
	for _, tc := range []struct {
		times []time.Duration // that the last entries took
		want  time.Duration
	}{
		{nil, gather},
		{[]time.Duration{gather / 2, gather / 4, gather}, gather},
		{[]time.Duration{3 * gather, 5 * gather, 4 * gather}, 3 * gather},
		{[]time.Duration{3 * gather, time.Minute, 4 * gather}, 3 * gather}, // the disk was slow once
		{[]time.Duration{time.Minute, time.Minute, time.Minute}, gatherFar},
	} {
		var c company
		now := time.Hour
		for _, took := range tc.times {
			c.next(2)
			now += took
			c.finished(now-took, now)
		}
		if len(tc.times) == 0 {
			c.next(2)
			c.applied = now
		}
		if got := c.wait(now, 1); got != tc.want {
			t.Errorf("after entries that took %v it waits for %v, want %v", tc.times, got, tc.want)
		}
	}
}

// TestTrust: who has won its bets goes on after a lost one, but not after many.
func TestTrust(t *testing.T) {
	var c company
	c.next(2)
	play := func(become int) (bet bool) {
		bet = c.wait(0, 1) > 0
		c.next(become)
		return bet
	}
	for i := range 2 * most {
		if !play(2) {
			t.Fatalf("no bet after %d that were won", i)
		}
	}
	lost := 0
	for play(1) {
		lost++
		c.next(2) // there is still reason to expect two
	}
	if lost < 2 || lost > 8 {
		t.Errorf("it lost %d bets in a row before it stopped", lost)
	}
}

// TestCommandsOfABatch: they are counted without being decoded.
func TestCommandsOfABatch(t *testing.T) {
	p := proposals{proposer: 300}
	for range 5 {
		if _, err := p.add([]byte("not looked at")); err != nil {
			t.Fatal(err)
		}
	}
	batch := p.next(1)
	if n := commands(batch); n != 5 {
		t.Errorf("%d commands of 5", n)
	}
	for i := range batch {
		if n := commands(batch[:i]); n > 5 {
			t.Errorf("%d commands in the first %d bytes", n, i)
		}
	}
	if n := commands(nil); n != 0 {
		t.Errorf("%d commands in nothing", n)
	}
}

// TestNoBetOnNothing: a turn in which there is nothing to propose is no bet, whatever comes
// next.
func TestNoBetOnNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := preside(t)
		defer c.Close()
		inLoop(t, c.Replica, func() {
			c.company = company{sizes: [3]int{2, 2, 2}, applied: c.clock()}
			c.offer(nil)
			if c.lookAgain(); c.company.bet {
				t.Error("it bets with nothing to propose")
			}
		})
	})
}
