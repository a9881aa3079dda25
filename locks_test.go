package kith_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/lock"
)

// acquire gets a lock that is free, or will be soon.
func acquire(t *testing.T, n *kith.Node, name string, options ...lock.Option) *lock.Held {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	held, err := n.Lock(name, options...).Acquire(ctx)
	if err != nil {
		t.Fatalf("%s: %v", n.Name(), err)
	}
	return held
}

// release gives up what is held; the outcome must be known.
func release(t *testing.T, held *lock.Held) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := held.Release(ctx); err != nil {
		t.Fatal(err)
	}
}

// turn is what came of waiting in line.
type turn struct {
	held *lock.Held
	err  error
	at   time.Time
}

// lineUp stands in line for a lock, and returns once the cluster has it there.
func lineUp(t *testing.T, ctx context.Context, n *kith.Node, name string) <-chan turn {
	t.Helper()
	ahead := len(standingIn(t, n, name))
	came := make(chan turn, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Minute) // so that it fails, and does not hang
		defer cancel()
		held, err := n.Lock(name).Acquire(ctx)
		came <- turn{held, err, time.Now()}
	}()
	for len(standingIn(t, n, name)) <= ahead {
		time.Sleep(time.Millisecond)
	}
	return came
}

// standingIn returns all who stand in line for a lock, as the cluster has it.
func standingIn(t *testing.T, n *kith.Node, name string) []lock.Contender {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := n.Lock(name).Explain(ctx)
	if err != nil {
		t.Fatalf("%s: %v", n.Name(), err)
	}
	return append(e.Holders, e.Waiters...)
}

// vacant checks that nobody is in line in the end, whichever node one asks.
func vacant(t *testing.T, c *kithtest.Cluster, name string) {
	t.Helper()
	for _, n := range c.Nodes() {
		for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			left := standingIn(t, n, name)
			if len(left) == 0 {
				break
			}
			if time.Since(began) > 2*kith.DefaultSessionTTL {
				t.Fatalf("as %s has it, these are left in line: %v", n.Name(), left)
			}
		}
	}
}

// ended returns when ctx has ended, which it waits for.
func ended(ctx context.Context) func() time.Time {
	var at time.Time
	done := make(chan struct{})
	context.AfterFunc(ctx, func() { at = time.Now(); close(done) })
	return func() time.Time { <-done; return at }
}

// handsOver lets a waiter on one node take over a lock, a semaphore, a seat and a Lead
// from another node, which strike ends, and returns when that was, of the last of them.
// Nothing is given away before its holder's context has ended.
func handsOver(t *testing.T, from, to *kith.Node, strike func()) (took time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	held := acquire(t, from, "a")
	both := []*lock.Held{acquire(t, from, "s", lock.Limit(2)), acquire(t, from, "s", lock.Limit(2))}
	seat, err := from.Group("g").Join(ctx)
	if err != nil {
		t.Fatal(err)
	}
	leads, out := make(chan context.Context, 1), make(chan error, 2)
	go func() {
		out <- from.Group("led").Lead(ctx, 1, func(ctx context.Context) error { leads <- ctx; <-ctx.Done(); return nil })
	}()
	former := map[string]func() time.Time{
		"lock": ended(held.Context()), "semaphore": ended(both[0].Context()), "seat": ended(seat.Context()), "lead": ended(<-leads),
	}
	var mu sync.Mutex // guards got
	got := make(map[string]time.Time)
	note := func(what string, err error) {
		mu.Lock()
		defer mu.Unlock()
		if got[what] = time.Now(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	second, err := to.Group("g").Join(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		next, err := to.Lock("a").Acquire(ctx)
		note("lock", err)
		if err == nil && next.Token() <= held.Token() {
			t.Errorf("token %d after %d", next.Token(), held.Token())
		}
	})
	wg.Go(func() { _, err := to.Lock("s", lock.Limit(2)).Acquire(ctx); note("semaphore", err) })
	wg.Go(func() { note("seat", second.Wait(ctx, 1)) })
	wg.Go(func() {
		out <- to.Group("led").Lead(ctx, 1, func(context.Context) error { note("lead", nil); return nil })
	})
	time.Sleep(time.Second)
	mu.Lock()
	if len(got) > 0 {
		t.Errorf("granted before anything happened: %v", got)
	}
	mu.Unlock()
	struck := time.Now()
	strike()
	wg.Wait()
	for what, stopped := range former {
		if free := got[what]; !stopped().Before(free) {
			t.Errorf("%s: granted %v after the strike; the former holder stopped after %v", what, free.Sub(struck), stopped().Sub(struck))
		}
		took = max(took, got[what].Sub(struck))
	}
	cancel()
	<-out
	<-out
	return took
}

// Who waits behind a node whose process dies has its place within milliseconds; with the
// leader there is an election first (S12, S15). Where refusals prove nothing it is the
// session's time. A node that leaves hands over before it goes.
func TestHandover(t *testing.T) {
	const ttl = kith.DefaultSessionTTL
	for _, tc := range []struct {
		holder, end string
		ignore      bool
		least, most time.Duration
	}{
		{"voter", "killed", false, 0, 30 * time.Millisecond},
		{"leader", "killed", false, 0, 120 * time.Millisecond},
		{"voter", "closed", false, 0, 30 * time.Millisecond},
		{"voter", "killed", true, ttl * 4 / 5, ttl * 5 / 4},
		{"leader", "killed", true, ttl * 4 / 5, ttl * 6 / 4},
		{"voter", "leaves", true, 0, 30 * time.Millisecond},
		{"leader", "leaves", true, 0, 30 * time.Millisecond},
	} {
		t.Run(fmt.Sprint(tc.holder, " ", tc.end, " ", tc.ignore), func(t *testing.T) {
			opts := kithtest.Options{Conditions: near, Configure: func(_ string, cfg *kith.Config) { cfg.IgnoreRefusals = tc.ignore }}
			kithtest.Virtual(t, 3, opts, func(t *testing.T, c *kithtest.Cluster) {
				for range 2 {
					ready(t, c)
					from := holders(t, c, tc.holder)
					to := others(c, from)[0]
					took := handsOver(t, from, to, func() {
						switch tc.end {
						case "killed":
							c.Kill(from.Name())
						case "closed":
							from.Close()
						case "leaves":
							c.Leave(from.Name())
						}
					})
					if took < tc.least || took > tc.most {
						t.Errorf("it took %v, want %v to %v", took, tc.least, tc.most)
					}
					c.Kill(to.Name()) // with all it has
					c.Restart(to.Name())
					c.Restart(from.Name())
				}
			})
		})
	}
}

// Who is silent, in whatever way, keeps what it holds until its time is up, has stopped
// before, and cannot write any more when it is back (S11).
func TestSilentLockHolder(t *testing.T) {
	const ttl = kith.DefaultSessionTTL
	for name, strike := range map[string]func(c *kithtest.Cluster, holder string, others []*kith.Node){
		"paused":  func(c *kithtest.Cluster, holder string, _ []*kith.Node) { c.Pause(holder) },
		"cut off": func(c *kithtest.Cluster, holder string, _ []*kith.Node) { c.Partition([]string{holder}) },
		"not heard": func(c *kithtest.Cluster, holder string, others []*kith.Node) {
			for _, n := range others {
				c.Cut(holder, n.Name())
			}
		},
		"not hearing": func(c *kithtest.Cluster, holder string, others []*kith.Node) {
			for _, n := range others {
				c.Cut(n.Name(), holder)
			}
		},
	} {
		for _, who := range []string{"voter", "leader"} {
			t.Run(name+" "+who, func(t *testing.T) {
				kithtest.Virtual(t, 3, kithtest.Options{Conditions: near}, func(t *testing.T, c *kithtest.Cluster) {
					ready(t, c)
					holder := holders(t, c, who)
					left := others(c, holder)
					held := acquire(t, holder, "l")
					stopped := ended(held.Context())
					waits := lineUp(t, t.Context(), left[0], "l")
					time.Sleep(2 * ttl)
					struck := time.Now()
					strike(c, holder.Name(), left)
					next := <-waits
					if next.err != nil {
						t.Fatal(next.err)
					}
					free := next.at.Sub(struck)
					if !stopped().Before(next.at) || free < ttl*4/5 || free > ttl*6/4 {
						t.Errorf("granted after %v, the holder stopped after %v, its TTL is %v", free, stopped().Sub(struck), ttl)
					}
					if cause := context.Cause(held.Context()); !errors.Is(cause, kith.ErrSessionEnded) {
						t.Errorf("the holder's context ended with %v", cause)
					}
					if _, err := left[0].KV().Set(t.Context(), "guarded", []byte("next"), kv.IfHeld(next.held)); err != nil {
						t.Error(err)
					}
					late := make(chan error, 1)
					go func() { // it has no idea yet how late it is
						_, err := holder.KV().Set(t.Context(), "guarded", []byte("late"), kv.IfHeld(held))
						late <- err
					}()
					time.Sleep(time.Second)
					c.Heal()
					c.Resume(holder.Name())
					says(t, "late write", <-late, kith.NotDone, kv.ErrNotHeld)
					says(t, "release of what was lost", held.Release(t.Context()), kith.NotDone, kith.ErrSessionEnded)
					if got := get(t, holder, "guarded"); got != "next" {
						t.Errorf("the key is %q", got)
					}
					release(t, next.held)
					release(t, acquire(t, holder, "l"))
					vacant(t, c, "l")
				})
			})
		}
	}
}

// A leader that is cut off with the holder promises it nothing more: whenever in the course
// of its renewals that happens, the holder has stopped before the others let anybody in.
func TestHolderBesideADeposedLeader(t *testing.T) {
	const ttl = kith.DefaultSessionTTL
	kithtest.Virtual(t, 5, kithtest.Options{Conditions: near}, func(t *testing.T, c *kithtest.Cluster) {
		for round := range 8 {
			ready(t, c)
			lead := leader(t, c)
			holder, witness := others(c, lead)[0], others(c, lead)[1]
			held := acquire(t, holder, "l")
			stopped := ended(held.Context())
			waits := lineUp(t, t.Context(), witness, "l")
			time.Sleep(ttl + time.Duration(round)*ttl/5/8) // renewals come once in a fifth of the TTL
			struck := time.Now()
			c.Partition([]string{lead.Name(), holder.Name()})
			next := <-waits
			if next.err != nil || !stopped().Before(next.at) {
				t.Errorf("round %d: granted after %v, the holder stopped after %v (%v)", round, next.at.Sub(struck), stopped().Sub(struck), next.err)
			}
			c.Heal()
			release(t, next.held)
			vacant(t, c, "l")
		}
	})
}
