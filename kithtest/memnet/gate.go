package memnet

import (
	"sync"
	"time"
)

// gate is where the calls on one side of one socket wait, with that side's deadline. All of it,
// and all of its methods but wake, need the network's mutex.
//
// It is a sync.Cond, not channels, so that waiting allocates nothing; the timer exists only while a
// call waits under a deadline, so that moving a deadline before each call costs nothing either.
type gate struct {
	cond     sync.Cond // L is the network's mutex
	deadline time.Time
	timer    *time.Timer
	armed    time.Time // what the timer is set to; zero when it is not
}

func (g *gate) init(mu *sync.Mutex) { g.cond.L = mu }

// expired reports whether the deadline has passed.
func (g *gate) expired() bool { return past(g.deadline) }

func past(deadline time.Time) bool {
	return !deadline.IsZero() && !time.Now().Before(deadline)
}

// wait releases the mutex until something may have changed. The caller checks in a loop.
func (g *gate) wait() {
	if !g.deadline.IsZero() && !g.armed.Equal(g.deadline) {
		g.armed = g.deadline
		if wait := time.Until(g.deadline); g.timer == nil {
			g.timer = time.AfterFunc(wait, g.wake)
		} else {
			g.timer.Reset(wait)
		}
	}
	g.cond.Wait()
}

// wake runs without the mutex: when the deadline's timer fires.
func (g *gate) wake() {
	g.cond.L.Lock()
	defer g.cond.L.Unlock()
	g.armed = time.Time{} // a clock set back may make a waiter wait again
	g.cond.Broadcast()
}

func (g *gate) setDeadline(t time.Time) {
	g.deadline = t
	g.cond.Broadcast()
}

// close wakes all who wait and leaves no timer behind.
func (g *gate) close() {
	if g.timer != nil {
		g.timer.Stop()
	}
	g.cond.Broadcast()
}
