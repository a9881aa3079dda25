package kith_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/group"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/lock"
)

// sweep is moments of what happens within a few round trips of the network near.
func sweep(yield func(time.Duration) bool) {
	for d := time.Duration(0); d < 6*time.Millisecond; d += 240 * time.Microsecond {
		if !yield(d) {
			return
		}
	}
}

// The cluster's leader dies in any moment of an acquire, and of a release: that costs time,
// and no more.
func TestLeaderKilledInTheMidst(t *testing.T) {
	kithtest.Virtual(t, 5, kithtest.Options{Conditions: near}, func(t *testing.T, c *kithtest.Cluster) {
		var last uint64
		for d := range sweep {
			ready(t, c)
			lead := leader(t, c)
			client, other := others(c, lead)[0], others(c, lead)[1]
			acquired := make(chan turn, 1)
			began := time.Now()
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				held, err := client.Lock("l").Acquire(ctx)
				acquired <- turn{held, err, time.Now()}
			}()
			time.Sleep(d)
			c.Kill(lead.Name())
			got := <-acquired
			if got.err != nil {
				t.Fatalf("acquire, leader killed after %v: %v", d, got.err)
			}
			if got.held.Token() <= last || got.at.Sub(began) > time.Second {
				t.Errorf("leader killed after %v: token %d after %d, held after %v", d, got.held.Token(), last, got.at.Sub(began))
			}
			last = got.held.Token()
			if all := standingIn(t, other, "l"); len(all) != 1 || all[0].Token != last {
				t.Errorf("leader killed after %v: in line are %v", d, all)
			}
			c.Restart(lead.Name())
			ready(t, c)

			waits := lineUp(t, t.Context(), other, "l")
			lead = leader(t, c)
			if lead == client || lead == other { // its own death is another test's
				release(t, got.held)
				release(t, (<-waits).held)
				continue
			}
			released := make(chan error, 1)
			began = time.Now()
			go func() { released <- got.held.Release(t.Context()) }()
			time.Sleep(d)
			c.Kill(lead.Name())
			if err := <-released; err != nil {
				t.Fatalf("release, leader killed after %v: %v", d, err)
			}
			next := <-waits
			if next.err != nil || next.at.Sub(began) > time.Second {
				t.Errorf("leader killed after %v: the next one had it after %v, %v", d, next.at.Sub(began), next.err)
			}
			c.Restart(lead.Name())
			release(t, next.held)
			vacant(t, c, "l")
		}
	})
}

// A release that races the session's expiry is done or says that it was lost: either way
// the next one has the lock once, and afterwards the line is empty.
func TestReleaseRacesItsExpiry(t *testing.T) {
	const ttl = kith.DefaultSessionTTL
	kithtest.Virtual(t, 3, kithtest.Options{Conditions: near}, func(t *testing.T, c *kithtest.Cluster) {
		outcomes := make(map[string]int)
		for i := range 16 {
			ready(t, c)
			holder := holders(t, c, "voter")
			left := others(c, holder)
			held := acquire(t, holder, "l")
			waits, behind := lineUp(t, t.Context(), left[0], "l"), lineUp(t, t.Context(), left[1], "l")
			c.Partition([]string{holder.Name()})
			time.Sleep(ttl*3/4 + time.Duration(i)*ttl/32)
			released := make(chan error, 1)
			go func() { released <- held.Release(t.Context()) }()
			time.Sleep(time.Duration(i%4) * time.Millisecond)
			c.Heal()
			switch err := <-released; {
			case err == nil:
				outcomes["released"]++
			case errors.Is(err, kith.ErrSessionEnded) && kith.OutcomeOf(err) != kith.Done:
				outcomes["lost"]++
			default:
				t.Errorf("round %d: %v (%v)", i, err, kith.OutcomeOf(err))
			}
			for _, ch := range []<-chan turn{waits, behind} {
				next := <-ch
				if next.err != nil {
					t.Fatal(next.err)
				}
				release(t, next.held)
			}
			vacant(t, c, "l")
		}
		if t.Log(outcomes); len(outcomes) < 2 {
			t.Errorf("all ended alike, %v: there was no race", outcomes)
		}
	})
}

// A waiter that gives up in any moment around its grant either has the lock or has nothing,
// and who is behind gets it.
func TestCancelledInTheMomentOfTheGrant(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{Conditions: near}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		nodes := c.Nodes()
		outcomes := make(map[bool]int)
		for d := range sweep {
			for shift := range nodes {
				holder, waiter, behind := nodes[shift], nodes[(shift+1)%3], nodes[(shift+2)%3]
				held := acquire(t, holder, "l")
				ctx, cancel := context.WithCancel(t.Context())
				waits, next := lineUp(t, ctx, waiter, "l"), lineUp(t, t.Context(), behind, "l")
				go held.Release(t.Context())
				time.Sleep(d)
				cancel()
				got := <-waits
				outcomes[got.err == nil]++
				switch {
				case got.err == nil:
					release(t, got.held)
				case !errors.Is(got.err, context.Canceled) || kith.OutcomeOf(got.err) != kith.NotDone:
					t.Errorf("given up after %v: %v", d, got.err)
				}
				last := <-next
				if last.err != nil {
					t.Fatal(last.err)
				}
				release(t, last.held)
				vacant(t, c, "l")
			}
		}
		if t.Log(outcomes); len(outcomes) < 2 {
			t.Errorf("%v: there was no race", outcomes)
		}
	})
}

// The same while the waiter is on its way into the line: it leaves no ghost.
func TestCancelledOnItsWayIn(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{Conditions: near}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		for d := range sweep {
			for _, n := range c.Nodes() {
				ctx, cancel := context.WithCancel(t.Context())
				acquired, joined := make(chan *lock.Held, 1), make(chan *group.Seat, 1)
				go func() { held, _ := n.Lock("l").Acquire(ctx); acquired <- held }()
				go func() { seat, _ := n.Group("g").Join(ctx); joined <- seat }()
				time.Sleep(d)
				cancel()
				if held := <-acquired; held != nil {
					release(t, held)
				}
				if seat := <-joined; seat != nil {
					if err := seat.Leave(t.Context()); err != nil {
						t.Error(err)
					}
				}
				c.Await("nobody to be in the group", func() bool {
					m, err := n.Group("g").Members(t.Context(), 0)
					return err == nil && len(m) == 0
				})
				vacant(t, c, "l")
			}
		}
	})
}
