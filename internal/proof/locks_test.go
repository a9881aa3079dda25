//go:build unix

package proof

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/check"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/lock"
)

// holder is a client that takes places in lines through one replica, and records that. Its
// number is firstHolder and, modulo the number of replicas, the replica's.
type holder struct {
	c    *cluster
	h    *check.History
	id   int
	name string
}

const firstHolder = 2000

func (c *cluster) holder(h *check.History, id int) *holder {
	return &holder{c, h, firstHolder + id, c.names[id%len(c.names)]}
}

// died records that the replicas' processes hold nothing any more, or that they are
// stopped, and find out when they wake: nothing is done by them meanwhile.
func (c *cluster) died(h *check.History, names ...string) {
	h.Died(func(client int) bool {
		if client < firstHolder {
			return false
		}
		for _, name := range names {
			if c.names[(client-firstHolder)%len(c.names)] == name {
				return true
			}
		}
		return false
	})
}

// has is what a client holds.
type has struct {
	*holder
	p     *process
	hold  *check.Hold
	line  string
	wrote int
	after sync.WaitGroup
}

// acquire waits for a place for as long as patience. It is nil if there is none.
func (l *holder) acquire(w wish, patience time.Duration) (*has, error) {
	p := l.c.at(l.name)
	if p == nil {
		return nil, errEnded
	}
	hold := l.h.Ask(l.id, w.Line, w.Limit)
	w.Label = hold.Label()
	// The replica gives up when it is time, which it counts from later; its answer is waited
	// for, or nobody would know of a grant in that very moment.
	quit := time.AfterFunc(patience, hold.Quit)
	defer quit.Stop()
	a, _, err := p.ask(l.c.t.Context(), request{Acquire: &w, Millis: patience.Milliseconds()}, nil)
	switch {
	case errors.Is(err, lock.ErrHeld) && a.Token != 0:
		hold.Refused(a.Token)
		return nil, err
	case err != nil:
		hold.Quit()
		return nil, err
	}
	hold.Granted(a.Token)
	has := &has{holder: l, p: p, hold: hold, line: w.Line}
	has.after.Go(func() { // l.c.t.Context ends before the processes do
		p.ask(l.c.t.Context(), request{Await: hold.Label()}, nil)
		hold.Over()
	})
	return has, nil
}

// write writes on condition that the place is held.
func (l *has) write(ctx context.Context) check.Result {
	l.wrote++
	op := check.Op{Kind: check.Set, Key: "guarded/" + l.line, Value: fmt.Sprintf("%s-%d", l.hold.Label(), l.wrote)}
	call := l.h.Call(l.id, op)
	l.hold.Guarded(call)
	a, sent, err := l.p.ask(ctx, request{Guard: l.hold.Label(), Op: &op}, nil)
	var r check.Result
	switch {
	case a.Result != nil:
		r = *a.Result
	case sent:
		r.Outcome = outcome.Unknown
	}
	r.Err = err
	call.Return(r)
	return r
}

// release gives the place up, and waits until the replica has noticed.
func (l *has) release(ctx context.Context) error {
	l.hold.Over()
	_, _, err := l.p.ask(ctx, request{Release: l.hold.Label()}, nil)
	if err == nil {
		l.hold.Gone()
	}
	l.after.Wait()
	return err
}

var (
	lockWish      = wish{Line: "lock", Limit: 1}
	semaphoreWish = wish{Line: "semaphore", Limit: 2}
	groupWish     = wish{Line: "group", Limit: 1, Group: true}
)

// hustle takes and gives up places at random until ctx ends.
func (l *holder) hustle(ctx context.Context, w wish, chance *rand.Rand) {
	for ctx.Err() == nil {
		time.Sleep(time.Duration(chance.IntN(60)) * time.Millisecond)
		w.Try = !w.Group && chance.IntN(4) == 0
		has, err := l.acquire(w, time.Duration(100+chance.IntN(4000))*time.Millisecond)
		if err != nil {
			continue
		}
		l.c.while(5*time.Second, func(ctx context.Context) {
			for range chance.IntN(3) {
				has.write(ctx)
				time.Sleep(time.Duration(chance.IntN(20)) * time.Millisecond)
			}
		})
		l.c.while(5*time.Second, func(ctx context.Context) { has.release(ctx) })
		if chance.IntN(4) == 0 {
			l.c.while(5*time.Second, func(ctx context.Context) { has.write(ctx) })
		}
	}
}

// while bounds what is asked.
func (c *cluster) while(most time.Duration, do func(ctx context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	do(ctx)
}

// look asks a replica who stands in a line.
func (l *holder) look(ctx context.Context, w wish) (*seen, error) {
	p := l.c.at(l.name)
	if p == nil {
		return nil, errEnded
	}
	look := l.h.Look(l.name, w.Line)
	a, _, err := p.ask(ctx, request{Look: &w}, nil)
	if err != nil {
		return nil, err
	}
	look.Saw(a.Seen.Revision, a.Seen.Places)
	return a.Seen, nil
}

// queues lets clients of each replica hustle, and look, until ctx ends, and returns
// when they are done.
func (c *cluster) queues(ctx context.Context, h *check.History, seed uint64) {
	var crowd sync.WaitGroup
	id := 0
	for _, w := range []wish{lockWish, lockWish, semaphoreWish, groupWish} {
		for range c.names {
			l, chance := c.holder(h, id), rand.New(rand.NewPCG(seed, uint64(id)))
			id++
			crowd.Go(func() { l.hustle(ctx, w, chance) })
		}
	}
	for i := range c.names {
		l, chance := c.holder(h, i), rand.New(rand.NewPCG(seed, uint64(id+i)))
		crowd.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(time.Duration(chance.IntN(300)) * time.Millisecond)
				w := []wish{lockWish, semaphoreWish, groupWish}[chance.IntN(3)]
				c.while(2*time.Second, func(ctx context.Context) { l.look(ctx, w) })
			}
		})
	}
	crowd.Wait()
}

// vacant waits until nobody stands in any line, as each replica has it.
func (c *cluster) vacant(h *check.History) {
	c.t.Helper()
	for i, name := range c.names {
		for _, w := range []wish{lockWish, semaphoreWish, groupWish} {
			c.await(fmt.Sprintf("%s to see nobody in %s", name, w.Line), func() (empty bool) {
				c.while(patience, func(ctx context.Context) {
					s, err := c.holder(h, i).look(ctx, w)
					empty = err == nil && len(s.Places) == 0
				})
				return empty
			})
		}
	}
}

// takes acquires what is free soon.
func (l *holder) takes(w wish) *has {
	l.c.t.Helper()
	has, err := l.acquire(w, patience)
	if err != nil {
		l.c.t.Fatalf("%s: %v", l.name, err)
	}
	return has
}

// inherits waits in line behind the one who holds, and returns when that was granted.
func (l *holder) inherits(w wish) func() (*has, time.Time) {
	l.c.t.Helper()
	type grant struct {
		has *has
		at  time.Time
		err error
	}
	granted := make(chan grant, 1)
	go func() {
		has, err := l.acquire(w, patience)
		granted <- grant{has, time.Now(), err}
	}()
	l.c.await(l.name+" to stand in line", func() (stands bool) {
		l.c.while(patience, func(ctx context.Context) {
			s, err := l.look(ctx, w)
			stands = err == nil && len(s.Places) == 2
		})
		return stands
	})
	return func() (*has, time.Time) {
		l.c.t.Helper()
		g := <-granted
		if g.err != nil {
			l.c.t.Fatalf("%s: %v", l.name, g.err)
		}
		return g.has, g.at
	}
}

// pair returns a client on the replica of that name, and one on another.
func (c *cluster) pair(h *check.History, name string) (on, other *holder) {
	for i, n := range c.names {
		if n == name {
			on = c.holder(h, i)
		} else {
			other = c.holder(h, i)
		}
	}
	return on, other
}

// TestHolderKilled kills the process of a holder, at times the cluster's leader: the next
// in line holds after a small part of the time that the session would have lasted.
func TestHolderKilled(t *testing.T) {
	c := found(t, "alpha", "bravo", "charlie")
	h := check.NewHistory()
	for round := range 6 {
		leader := c.leader()
		victim := leader
		if round%2 == 0 {
			victim = c.others(leader)[0]
		}
		from, to := c.pair(h, victim)
		w := []wish{lockWish, groupWish}[round/2%2]
		former := from.takes(w)
		next := to.inherits(w)
		c.died(h, victim)
		killed := time.Now()
		c.kill(victim)
		has, at := next()
		t.Logf("round %d, %s killed, the leader: %v: the next one held %s after %v", round, victim, victim == leader, w.Line, at.Sub(killed))
		if at.Sub(killed) > kith.DefaultSessionTTL/3 {
			t.Errorf("round %d: the next one held it after %v; the session's time is %v", round, at.Sub(killed), kith.DefaultSessionTTL)
		}
		former.after.Wait()
		if r := has.write(t.Context()); r.Outcome != outcome.Done {
			t.Errorf("guarded write: %v", r)
		}
		if err := has.release(t.Context()); err != nil {
			t.Error(err)
		}
		c.revive()
	}
	c.vacant(h)
	check.Verify(t, check.Origin{}, h, c.held("guarded/")...)
}

// TestHolderStopped stops the process of a holder until another one holds: what it then
// writes on condition of the lock, as it finds when it wakes, is refused, and it is told
// that the lock was lost.
func TestHolderStopped(t *testing.T) {
	c := found(t, "alpha", "bravo", "charlie")
	h := check.NewHistory()
	for round := range 2 {
		leader := c.leader()
		victim := leader
		if round == 0 {
			victim = c.others(leader)[0]
		}
		from, to := c.pair(h, victim)
		former := from.takes(lockWish)
		if r := former.write(t.Context()); r.Outcome != outcome.Done {
			t.Fatal(r)
		}
		next := to.inherits(lockWish)
		stopped := time.Now()
		former.p.pause()
		c.died(h, victim)
		late := make(chan check.Result, 1)
		go func() { late <- former.write(t.Context()) }() // it reads that when it wakes
		has, at := next()
		if at.Sub(stopped) < kith.DefaultSessionTTL/2 {
			t.Errorf("round %d: held by the next one %v after it was stopped; the session's time is %v", round, at.Sub(stopped), kith.DefaultSessionTTL)
		}
		if r := has.write(t.Context()); r.Outcome != outcome.Done {
			t.Errorf("guarded write: %v", r)
		}
		former.p.resume()
		if r := <-late; !r.NotHeld || !errors.Is(r.Err, kv.ErrNotHeld) {
			t.Errorf("round %d: the late write of %s: %v", round, victim, r)
		}
		c.while(patience, func(ctx context.Context) {
			if err := former.release(ctx); !errors.Is(err, kith.ErrSessionEnded) {
				t.Errorf("round %d: the release of what was lost: %v", round, err)
			}
		})
		if err := has.release(t.Context()); err != nil {
			t.Error(err)
		}
	}
	c.vacant(h)
	check.Verify(t, check.Origin{}, h, c.held("guarded/")...)
}
