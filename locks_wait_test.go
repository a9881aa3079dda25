package kith_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/group"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/lock"
)

// Thousands who wait for one lock on all nodes all get it, in the order in which they
// came; those who give up leave nothing behind.
func TestManyWaiters(t *testing.T) {
	const each, patient = 3400, 100 // on each of three nodes
	kithtest.Virtual(t, 3, kithtest.Options{Conditions: near}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		held := acquire(t, c.Node("alpha"), "l")
		var mu sync.Mutex // guards tokens
		var tokens []uint64
		var wg sync.WaitGroup
		all, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		hasty, giveUp := context.WithCancel(all)
		for _, n := range c.Nodes() {
			for i := range each {
				ctx := hasty
				if i%(each/patient) == 0 {
					ctx = all
				}
				wg.Go(func() {
					held, err := n.Lock("l").Acquire(ctx)
					if err != nil {
						if ctx != hasty {
							t.Error(err)
						}
						return
					}
					mu.Lock()
					tokens = append(tokens, held.Token())
					mu.Unlock()
					if err := held.Release(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
		}
		c.Await("all to stand in line", func() bool { return len(standingIn(t, c.Node("bravo"), "l")) == 3*each+1 })
		giveUp()
		c.Await("most to have gone", func() bool { return len(standingIn(t, c.Node("bravo"), "l")) == 3*patient+1 })
		began := time.Now()
		release(t, held)
		wg.Wait()
		t.Logf("%d handovers in %v", len(tokens), time.Since(began))
		if len(tokens) != 3*patient {
			t.Errorf("%d got the lock, %d waited for it", len(tokens), 3*patient)
		}
		for i, token := range tokens {
			if i > 0 && token <= tokens[i-1] {
				t.Errorf("token %d after %d", token, tokens[i-1])
			}
		}
		vacant(t, c, "l")
	})
}

// A node that is closed while it waits ends its waiting, and leaves nothing behind.
func TestClosedWhileWaiting(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{Conditions: near}, func(t *testing.T, c *kithtest.Cluster) {
		for _, end := range []func(n *kith.Node){
			func(n *kith.Node) { n.Close() },
			func(n *kith.Node) { n.Leave(t.Context()) },
		} {
			ready(t, c)
			closing := holders(t, c, "voter")
			left := others(c, closing)
			held := acquire(t, left[0], "l")
			waits, behind := lineUp(t, t.Context(), closing, "l"), lineUp(t, t.Context(), left[1], "l")
			led := make(chan error, 1)
			seat, err := left[0].Group("g").Join(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				led <- closing.Group("g").Lead(t.Context(), 1, func(context.Context) error { return errors.New("led") })
			}()
			time.Sleep(time.Second)
			end(closing)
			if got := <-waits; got.err == nil || kith.OutcomeOf(got.err) != kith.NotDone ||
				!errors.Is(got.err, kith.ErrClosed) && !errors.Is(got.err, kith.ErrSessionEnded) {
				t.Errorf("waiting on a node that is closed ended with %v (%v)", got.err, kith.OutcomeOf(got.err))
			}
			says(t, "lead", <-led, kith.NotDone, kith.ErrClosed)
			began := time.Now()
			c.Await("it to be gone", func() bool { return len(standingIn(t, left[0], "l")) == 2 })
			if took := time.Since(began); took > 100*time.Millisecond {
				t.Errorf("its place went after %v", took)
			}
			release(t, held)
			release(t, (<-behind).held)
			if err := seat.Leave(t.Context()); err != nil {
				t.Error(err)
			}
			vacant(t, c, "l")
			c.Restart(closing.Name())
		}
	})
}

// Who is asked to go keeps the place until it goes, or until its time is up, however
// silent it is (S13).
func TestBrokenWhileSilent(t *testing.T) {
	const ttl = kith.DefaultSessionTTL
	kithtest.Virtual(t, 3, kithtest.Options{Conditions: near}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		holder := holders(t, c, "voter")
		left := others(c, holder)
		held := acquire(t, holder, "l")
		stopped := ended(held.Context())
		waits := lineUp(t, t.Context(), left[0], "l")
		time.Sleep(ttl)
		c.Partition([]string{holder.Name()})
		struck := time.Now()
		if err := left[1].Lock("l").Break(t.Context(), held.Token()); err != nil {
			t.Fatal(err)
		}
		next := <-waits
		if next.err != nil || !stopped().Before(next.at) || next.at.Sub(struck) < ttl*4/5 {
			t.Errorf("granted after %v, stopped after %v, %v", next.at.Sub(struck), stopped().Sub(struck), next.err)
		}
		c.Heal()
		release(t, next.held)

		held = acquire(t, holder, "l")
		waits = lineUp(t, t.Context(), left[0], "l")
		if err := left[1].Lock("l").Break(t.Context(), held.Token()); err != nil {
			t.Fatal(err)
		}
		<-held.Context().Done()
		if cause := context.Cause(held.Context()); cause != lock.ErrBroken {
			t.Errorf("broken, its context ended with %v", cause)
		}
		time.Sleep(4 * ttl)
		select {
		case <-waits:
			t.Error("granted although the holder has not released it")
		default:
		}
		release(t, held)
		release(t, (<-waits).held)
		vacant(t, c, "l")
	})
}

// Names that cannot be are refused on every node, with what is wrong and the limit; the
// oddest ones that can be work through the whole stack, and are different locks.
func TestOddLockNames(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{Conditions: near}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		for _, n := range c.Nodes() {
			for _, tc := range []struct {
				name  string
				is    error
				words []string
			}{
				{"", kv.ErrInvalid, []string{"empty"}},
				{"a\xffb", kv.ErrInvalid, []string{"UTF-8"}},
				{strings.Repeat("n", 10<<10), kv.ErrTooLarge, []string{"10240", "1024"}},
			} {
				is, l, g := lock.ErrInvalid, n.Lock(tc.name), n.Group(tc.name)
				if tc.is == kv.ErrTooLarge {
					is = lock.ErrTooLarge
				}
				for what, call := range map[string]func(ctx context.Context) error{
					"acquire": func(ctx context.Context) error { _, err := l.Acquire(ctx); return err },
					"try":     func(ctx context.Context) error { _, err := l.TryAcquire(ctx); return err },
					"owners":  func(ctx context.Context) error { _, err := l.Owners(ctx); return err },
					"explain": func(ctx context.Context) error { _, err := l.Explain(ctx); return err },
					"break":   func(ctx context.Context) error { return l.Break(ctx, 7) },
					"join":    func(ctx context.Context) error { _, err := g.Join(ctx); return err },
					"members": func(ctx context.Context) error { _, err := g.Members(ctx, 0); return err },
					"as":      func(ctx context.Context) error { _, err := n.Group("g").Join(ctx, group.Name(tc.name)); return err },
					"lead": func(ctx context.Context) error {
						return g.Lead(ctx, 1, func(context.Context) error { return nil })
					},
				} {
					says(t, fmt.Sprintf("%s of %.8q on %s", what, tc.name, n.Name()), call(t.Context()), kith.NotDone, is, tc.words...)
				}
			}
			_, err := n.Lock("l").Acquire(t.Context(), lock.Data(make([]byte, 1<<20+1)))
			says(t, "much data", err, kith.NotDone, lock.ErrTooLarge, "1048577", "1048576")
		}
		var all []*lock.Held
		for i, name := range []string{" ", "\x00", "a/b", "a", "../..", "\u00e9", "e\u0301", "\u202e", strings.Repeat("é", 512), "#1", "*"} {
			n := c.Nodes()[i%3]
			held := acquire(t, n, name)
			seat, err := n.Group(name).Join(t.Context(), group.Name(name), group.Data([]byte{0xff, 0}))
			if err != nil {
				t.Fatalf("%q: %v", name, err)
			}
			if owners, err := c.Nodes()[(i+1)%3].Lock(name).Owners(t.Context()); err != nil || len(owners) != 1 || owners[0].Token != held.Token() {
				t.Errorf("%q is held by %v, %v", name, owners, err)
			}
			members, err := c.Nodes()[(i+2)%3].Group(name).Members(t.Context(), 0)
			if err != nil || len(members) != 1 || members[0].Name != name || string(members[0].Data) != "\xff\x00" {
				t.Errorf("in %q are %v, %v", name, members, err)
			}
			if err := seat.Leave(t.Context()); err != nil {
				t.Error(err)
			}
			all = append(all, held)
		}
		for _, held := range all {
			if held.Context().Err() != nil {
				t.Errorf("lost: %v", context.Cause(held.Context()))
			}
			release(t, held)
		}
	})
}
