package lock_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/replicatest"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/lock"
)

// TestLoss: each way of losing a lock ends the context with its cause, and Release
// says what is true then.
func TestLoss(t *testing.T) {
	for _, test := range []struct {
		name    string
		lose    func(c *replicatest.Cluster, n *node, held *lock.Held)
		cause   error
		release error // nil: it is released like any other
		keeps   bool  // the next in line has to wait for Release
	}{
		{"session ended", func(c *replicatest.Cluster, n *node, _ *lock.Held) { c.End(n.SessionID()) }, outcome.ErrSessionEnded, outcome.ErrSessionEnded, false},
		{"broken", func(_ *replicatest.Cluster, n *node, held *lock.Held) {
			must(0, n.lock("a").Break(context.Background(), held.Token()))
		}, lock.ErrBroken, nil, true},
		{"broken twice", func(_ *replicatest.Cluster, n *node, held *lock.Held) {
			must(0, n.lock("a").Break(context.Background(), held.Token()))
			must(0, n.lock("a").Break(context.Background(), held.Token()))
		}, lock.ErrBroken, nil, true},
		{"removed", func(c *replicatest.Cluster, _ *node, held *lock.Held) {
			c.Propose(&statepb.Command{Op: &statepb.Command_Leave{Leave: &statepb.Leave{
				Queue: &statepb.QueueName{Name: "a"}, Token: held.Token(),
			}}})
		}, lock.ErrLost, lock.ErrLost, false},
		{"another state", func(c *replicatest.Cluster, n *node, _ *lock.Held) {
			n.Delay(true)
			c.End(n.SessionID())
			n.Install()
		}, outcome.ErrSessionEnded, outcome.ErrSessionEnded, false},
		{"closed", func(c *replicatest.Cluster, n *node, _ *lock.Held) {
			session := n.SessionID()
			n.close()
			c.End(session)
		}, outcome.ErrClosed, outcome.ErrClosed, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				c, n := nodes(t, 2)
				ctx := context.WithValue(t.Context(), key{}, "kept")
				held := must(n[0].lock("a").Acquire(ctx))
				if held.Context().Value(key{}) != "kept" {
					t.Error("the context has not the values of Acquire's")
				}
				var next *lock.Held
				go func() {
					next = must(n[1].lock("a").Acquire(ctx))
					if held.Context().Err() == nil && test.cause != lock.ErrLost { // no call of ours removes a holder
						t.Error("two hold the lock")
					}
				}()
				synctest.Wait()
				test.lose(c, n[0], held)
				synctest.Wait()
				if cause := context.Cause(held.Context()); !errors.Is(cause, test.cause) {
					t.Fatalf("the cause is %v", cause)
				}
				if (next == nil) != test.keeps {
					t.Fatalf("the next one is %v", next)
				}
				for range 2 {
					err := held.Release(ctx)
					if test.release == nil && err != nil {
						t.Errorf("release: %v", err)
					} else if test.release != nil {
						wantError(t, err, test.release, outcome.NotDone)
					}
				}
				synctest.Wait()
				if next == nil {
					t.Fatal("the next one does not get it")
				}
				must(0, next.Release(ctx))
				if slots(c, "a") != 0 {
					t.Error("somebody is left")
				}
				if n[0].Subscriptions()+n[1].Subscriptions() != 0 {
					synctest.Wait()
				}
				if left := n[0].Subscriptions() + n[1].Subscriptions(); left != 0 {
					t.Errorf("%d subscriptions are left", left)
				}
			})
		})
	}
}

type key struct{}

// TestUnreleasedLossLeavesNothing: who does not call Release after a loss leaks nothing.
func TestUnreleasedLossLeavesNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c, n := nodes(t, 1)
		must(n[0].lock("a").Acquire(t.Context()))
		c.End(n[0].SessionID())
		synctest.Wait()
		if left := n[0].Subscriptions(); left != 0 {
			t.Errorf("%d subscriptions are left", left)
		}
	})
}

// TestReleaseIsHonest: whatever becomes of the command, Release tells what is known,
// and the lock goes to the next in line in the end.
func TestReleaseIsHonest(t *testing.T) {
	fail := func(n *node, times int, before bool) {
		hook := func(_ context.Context, cmd *statepb.Command) error {
			if cmd.GetLeave() != nil && times > 0 {
				times--
				return errInjected
			}
			return nil
		}
		if before {
			n.BeforePropose = hook
		} else {
			n.AfterPropose = hook
		}
	}
	for _, test := range []struct {
		name string
		prep func(n *node, cancel context.CancelCauseFunc)
		want error
		now  bool // it is released at once, though that is not known
	}{
		{"fine", func(*node, context.CancelCauseFunc) {}, nil, true},
		{"refused", func(n *node, _ context.CancelCauseFunc) { fail(n, 1, true) }, errInjected, false},
		{"refused often", func(n *node, _ context.CancelCauseFunc) { fail(n, 20, true) }, errInjected, false},
		{"answer lost", func(n *node, _ context.CancelCauseFunc) { fail(n, 1, false) }, errInjected, true},
		{"answer lost often", func(n *node, _ context.CancelCauseFunc) { fail(n, 20, false) }, errInjected, true},
		{"context over", func(_ *node, cancel context.CancelCauseFunc) { cancel(errInjected) }, errInjected, false},
		{"context ends in between", func(n *node, cancel context.CancelCauseFunc) {
			n.AfterPropose = func(ctx context.Context, cmd *statepb.Command) error {
				if cmd.GetLeave() == nil || ctx.Done() == n.live().Done() {
					return nil
				}
				cancel(errInjected)
				return context.Cause(ctx)
			}
		}, errInjected, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				c, n := nodes(t, 2)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				held := must(n[0].lock("a").Acquire(ctx))
				var next *lock.Held
				go func() { next = must(n[1].lock("a").Acquire(t.Context())) }()
				synctest.Wait()
				test.prep(n[0], cancel)
				err := held.Release(ctx)
				if test.want == nil && err != nil {
					t.Fatal(err)
				} else if test.want != nil {
					wantError(t, err, test.want, outcome.Unknown)
				}
				if cause := context.Cause(held.Context()); cause != lock.ErrReleased {
					t.Errorf("the cause is %v", cause)
				}
				if test.now {
					synctest.Wait()
					if next == nil {
						t.Error("it is not released")
					}
				}
				if err := held.Release(t.Context()); err != nil { // waits
					t.Errorf("in the end: %v", err)
				}
				synctest.Wait()
				if next == nil {
					t.Fatal("it is not released in the end")
				}
				must(0, next.Release(t.Context()))
				if slots(c, "a") != 0 {
					t.Error("somebody is left")
				}
			})
		})
	}
}

// live is the context of the node's session.
func (n *node) live() context.Context {
	return must(n.Hold(context.Background())).Context()
}

// TestReleaseWaitsNoLongerThanItsContext: a second Release, too.
func TestReleaseWaitsNoLongerThanItsContext(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c, n := nodes(t, 1)
		held := must(n[0].lock("a").Acquire(t.Context()))
		n[0].BeforePropose = func(context.Context, *statepb.Command) error { return errInjected }
		wantError(t, held.Release(t.Context()), errInjected, outcome.Unknown)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wantError(t, held.Release(ctx), context.DeadlineExceeded, outcome.Unknown)
		c.End(n[0].SessionID()) // which ends the trying
		wantError(t, held.Release(t.Context()), outcome.ErrSessionEnded, outcome.NotDone)
	})
}

func TestBreak(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c, n := nodes(t, 3)
		ctx := t.Context()
		held := must(n[0].lock("a").Acquire(ctx))
		errs := make(chan error)
		go func() {
			_, err := n[1].lock("a").Acquire(ctx)
			errs <- err
		}()
		synctest.Wait()
		var third *lock.Held
		go func() { third = must(n[2].lock("a").Acquire(ctx)) }()
		synctest.Wait()
		waiters := must(n[2].lock("a").Waiters(ctx))
		must(0, n[2].lock("a").Break(ctx, waiters[0].Token)) // in the middle
		wantError(t, <-errs, lock.ErrBroken, outcome.NotDone)
		must(0, n[2].lock("a").Break(ctx, held.Token()))
		synctest.Wait()
		if third != nil || context.Cause(held.Context()) != lock.ErrBroken {
			t.Error("the lock was given away, or its holder knows nothing")
		}
		must(0, held.Release(ctx))
		synctest.Wait()
		wantError(t, n[1].lock("a").Break(ctx, held.Token()), lock.ErrNotHeld, outcome.NotDone)
		wantError(t, n[1].lock("a").Break(ctx, 0), lock.ErrInvalid, outcome.NotDone)
		must(0, third.Release(ctx))
		wantError(t, n[1].lock("a").Break(ctx, third.Token()), lock.ErrNotHeld, outcome.NotDone)
		if slots(c, "a") != 0 {
			t.Error("somebody is left")
		}
	})
}

// TestAs: a name that was chosen stands for one place in a session, from whichever node
// it is asked for.
func TestAs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c, n := nodes(t, 1)
		ctx := t.Context()
		l := n[0].lock("a", lock.As("client"))
		held := must(l.Acquire(ctx))
		_, err := l.TryAcquire(ctx)
		wantError(t, err, lock.ErrTaken, outcome.NotDone)
		other := &node{Node: n[0].Node, places: n[0].places}
		other.places = newPlaces(n[0]) // another node that speaks for the same session
		again := must(other.lock("a", lock.As("client")).Acquire(ctx))
		if again.Token() != held.Token() {
			t.Errorf("tokens %d, %d", held.Token(), again.Token())
		}
		must(0, again.Release(ctx))
		synctest.Wait()
		if cause := context.Cause(held.Context()); cause != lock.ErrLost {
			t.Errorf("the cause is %v", cause)
		}

		// Who leaves is waited for.
		held = must(l.Acquire(ctx))
		var failing atomic.Bool
		failing.Store(true)
		n[0].BeforePropose = func(_ context.Context, cmd *statepb.Command) error {
			if failing.Load() && cmd.GetLeave() != nil {
				return errInjected
			}
			return nil
		}
		wantError(t, held.Release(ctx), errInjected, outcome.Unknown)
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err = l.Acquire(short)
		wantError(t, err, context.DeadlineExceeded, outcome.NotDone)
		failing.Store(false)
		must(0, must(l.Acquire(ctx)).Release(ctx))
		n[0].Close()
		other.places.Close()
		if slots(c, "a") != 0 {
			t.Error("somebody is left")
		}
	})
}
