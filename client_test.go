package kith_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/kithtest"
	"github.com/kith-go/kith/kv"
	"github.com/kith-go/kith/lock"
)

// TestClientMovesBetweenNodes: a remote client's session is one, whichever node speaks for
// it, and lasts for as long as any of them renews it.
func TestClientMovesBetweenNodes(t *testing.T) {
	const ttl = 2 * time.Second
	kithtest.Virtual(t, 3, kithtest.Options{Seed: 1}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		ctx := t.Context()
		alpha, bravo := c.Node("alpha").Client("cid", ttl), c.Node("bravo").Client("cid", 0)
		defer alpha.Close()
		defer bravo.Close()
		if _, _, err := bravo.Renew(ctx); !errors.Is(err, kith.ErrSessionEnded) || kith.OutcomeOf(err) != kith.NotDone {
			t.Errorf("renewing what nobody has opened: %v", err)
		}
		held, err := alpha.Lock("k").Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := alpha.KV().Set(ctx, "e", []byte("v"), kv.Ephemeral()); err != nil {
			t.Fatal(err)
		}
		id, lasts, err := bravo.Session(ctx)
		if err != nil || lasts != ttl {
			t.Fatal(id, lasts, err)
		}
		for range 10 {
			time.Sleep(ttl * 9 / 10)
			if again, _, err := bravo.Renew(ctx); again != id || err != nil {
				t.Fatalf("session %d, was %d: %v", again, id, err)
			}
		}
		if err := held.Context().Err(); err != nil {
			t.Fatalf("lost though it was renewed: %v", context.Cause(held.Context()))
		}
		if _, err := c.Node("charlie").KV().Set(ctx, "guarded", nil, kv.IfHeld(held)); err != nil {
			t.Errorf("a write while it holds: %v", err)
		}
		name := kith.QueueName{Name: "k"}
		if q, err := bravo.Look(ctx, name); err != nil || len(q.Places) != 1 || q.Places[0].Client != "cid" || q.Places[0].Session != id || q.Places[0].Token != held.Token() {
			t.Errorf("seen from elsewhere: %+v, %v", q, err)
		}
		// Nobody renews it.
		<-held.Context().Done()
		if cause := context.Cause(held.Context()); !errors.Is(cause, kith.ErrSessionEnded) {
			t.Errorf("the end: %v", cause)
		}
		if _, err := bravo.KV().Get(ctx, "e"); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("what was to go with it: %v", err)
		}
		if _, err := alpha.Lock("k").Acquire(ctx); err != nil { // under a new one
			t.Fatal(err)
		}
		if again, _, err := bravo.Session(ctx); again <= id || err != nil {
			t.Errorf("the session after %d: %d, %v", id, again, err)
		}
		if err := bravo.End(ctx); err != nil {
			t.Fatal(err)
		}
		if q, err := alpha.Look(ctx, name); err != nil || len(q.Places) != 0 {
			t.Errorf("after its end: %+v, %v", q, err)
		}
		if err := bravo.End(ctx); !errors.Is(err, kith.ErrSessionEnded) {
			t.Errorf("ending what has ended: %v", err)
		}
	})
}

// TestClientPlaces: places that are taken by name are found by name again, and given up by
// token, through any node.
func TestClientPlaces(t *testing.T) {
	kithtest.Virtual(t, 3, kithtest.Options{Seed: 2}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		ctx := t.Context()
		a, b := c.Node("alpha").Client("a", time.Minute), c.Node("bravo").Client("b", time.Minute)
		elsewhere := c.Node("charlie").Client("a", 0)
		nobody := c.Node("charlie").Client("", time.Minute)
		for _, client := range []*kith.Client{b, elsewhere, nobody} {
			defer client.Close()
		}
		k := kith.QueueName{Kind: kith.LockQueue, Name: "k"}
		enter := kith.EnterRequest{Queue: k, Member: "m", Limit: 1, Data: []byte("d")}
		first, err := a.Enter(ctx, enter)
		if err != nil {
			t.Fatal(err)
		}
		a.Close() // as if its node had been started anew
		if again, err := elsewhere.Enter(ctx, enter); err != nil || again.Token != first.Token || again.Session != first.Session {
			t.Errorf("entered again, elsewhere: %+v, was %+v: %v", again, first, err)
		}
		if _, err := nobody.Enter(ctx, enter); kith.OutcomeOf(err) != kith.NotDone {
			t.Errorf("a client without an ID: %v", err)
		}
		try := enter
		try.Try = true
		_, err = b.Enter(ctx, try)
		if held, ok := errors.AsType[*lock.HeldError](err); !ok || held.Owner.Token != first.Token || held.Owner.Client != "a" {
			t.Errorf("Try: %v", err)
		}
		soon, cancel := context.WithTimeout(ctx, time.Second)
		if _, err := b.Enter(soon, enter); !errors.Is(err, context.DeadlineExceeded) || kith.OutcomeOf(err) != kith.NotDone {
			t.Errorf("a wait in vain: %v", err)
		}
		cancel()
		c.Await("it has left nothing", func() bool {
			q, err := nobody.Look(ctx, k)
			return err == nil && len(q.Places) == 1
		})
		granted := make(chan kith.Entered, 1)
		go func() {
			e, err := b.Enter(ctx, enter)
			if err != nil {
				t.Errorf("the next one: %v", err)
			}
			granted <- e
		}()
		c.Await("it waits", func() bool {
			q, err := nobody.Look(ctx, k)
			return err == nil && len(q.Places) == 2
		})
		if _, err := nobody.Leave(ctx, k, first.Session+1, first.Token); !errors.Is(err, lock.ErrLost) {
			t.Errorf("leaving another's place: %v", err)
		}
		if _, err := nobody.Update(ctx, k, first.Token, []byte("new")); err != nil {
			t.Error(err)
		}
		if _, err := nobody.Leave(ctx, k, first.Session, first.Token); err != nil {
			t.Fatal(err)
		}
		if next := <-granted; next.Token <= first.Token || next.Position != 0 {
			t.Errorf("the next one: %+v after %+v", next, first)
		}
	})
}

// TestClientFollow: a slow reader of a queue misses states, never the last one.
func TestClientFollow(t *testing.T) {
	kithtest.Virtual(t, 1, kithtest.Options{Seed: 3}, func(t *testing.T, c *kithtest.Cluster) {
		ready(t, c)
		ctx := t.Context()
		client := c.Node("alpha").Client("a", time.Minute)
		g := kith.QueueName{Kind: kith.GroupQueue, Name: "g"}
		join := func(member string) kith.Entered {
			e, err := client.Enter(ctx, kith.EnterRequest{Queue: g, Member: member})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		var seen []int
		var last kv.Revision
		for q, err := range client.Follow(ctx, g) {
			if err != nil {
				if !errors.Is(err, kith.ErrClosed) {
					t.Errorf("at the end: %v", err)
				}
				break
			}
			seen = append(seen, len(q.Places))
			switch len(q.Places) {
			case 0:
				join("x")
				join("y")
				last = join("z").Revision
			case 3:
				if q.Revision != last || q.Places[0].Name != "x" || q.Places[2].Name != "z" {
					t.Errorf("the last state: %+v, want revision %d", q, last)
				}
				go client.Close()
			}
		}
		if len(seen) != 2 || seen[0] != 0 || seen[1] != 3 {
			t.Errorf("told of %v places", seen)
		}
	})
}
