package lock_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/queue"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/lock"
)

func newPlaces(n *node) *queue.Places { return queue.New(n.Node, n.Name) }

// moments are those at which an Acquire can be cancelled. Each arranges that cancel is
// called then, on the first Acquire of n.
var moments = []struct {
	name string
	at   func(n *node, cancel func())
}{
	{"before", func(_ *node, cancel func()) { cancel() }},
	{"while the session is opened", hookBefore(isOpen, false)},
	{"after the session was opened", hookAfter(isOpen, false)},
	{"before the command was sent", hookBefore(isEnter, false)},
	{"before the command was sent, for long", hookBefore(isEnter, true)},
	{"before the answer", hookAfter(isEnter, false)},
	{"before the answer, for long", hookAfter(isEnter, true)},
	{"while waiting", func(_ *node, cancel func()) { time.AfterFunc(time.Minute, cancel) }},
}

func isOpen(cmd *statepb.Command) bool  { return cmd.GetOpenSession() != nil }
func isEnter(cmd *statepb.Command) bool { return cmd.GetEnter() != nil }

// hook cancels when it meets such a command, and then holds it up for a while.
func hook(cancel func(), such func(*statepb.Command) bool, long bool) func(context.Context, *statepb.Command) error {
	return func(_ context.Context, cmd *statepb.Command) error {
		if such(cmd) {
			cancel()
			if long {
				time.Sleep(time.Minute)
			}
		}
		return nil
	}
}

func hookBefore(such func(*statepb.Command) bool, long bool) func(*node, func()) {
	return func(n *node, cancel func()) { n.BeforePropose = hook(cancel, such, long) }
}

func hookAfter(such func(*statepb.Command) bool, long bool) func(*node, func()) {
	return func(n *node, cancel func()) { n.AfterPropose = hook(cancel, such, long) }
}

// TestNoGhosts: whenever a waiter is cancelled, he is gone from the queue a little
// later, and who comes after him gets the lock.
func TestNoGhosts(t *testing.T) {
	for _, m := range moments {
		for _, free := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, free %v", m.name, free), func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					c, n := nodes(t, 3)
					var holder *lock.Held
					if !free {
						holder = must(n[0].lock("a").Acquire(t.Context()))
					}
					ctx, cancel := context.WithCancelCause(t.Context())
					m.at(n[1], func() { cancel(errInjected) })
					if held, err := n[1].lock("a").Acquire(ctx); err != nil {
						wantError(t, err, errInjected, outcome.NotDone)
					} else { // it was free, and the answer faster
						must(0, held.Release(t.Context()))
					}
					next := make(chan *lock.Held)
					go func() { next <- must(n[2].lock("a").Acquire(t.Context())) }()
					time.Sleep(time.Second)
					if holder != nil {
						must(0, holder.Release(t.Context()))
					}
					must(0, (<-next).Release(t.Context()))
					time.Sleep(2 * time.Minute) // until what was held up is done
					if left := slots(c, "a"); left != 0 {
						t.Errorf("%d are left", left)
					}
					for _, n := range n {
						if n.Subscriptions() != 0 {
							t.Errorf("%s: %d subscriptions are left", n.Name, n.Subscriptions())
						}
					}
				})
			})
		}
	}
}

// TestEnteringFails: the answer to the command is an error; nothing stays.
func TestEnteringFails(t *testing.T) {
	for _, before := range []bool{true, false} {
		for _, cancellable := range []bool{true, false} {
			bubble.Test(t, func(t *testing.T) {
				c, n := nodes(t, 2)
				fail := func(_ context.Context, cmd *statepb.Command) error {
					if isEnter(cmd) {
						return errInjected
					}
					return nil
				}
				if before {
					n[0].BeforePropose = fail
				} else {
					n[0].AfterPropose = fail
				}
				ctx := context.Background()
				if cancellable {
					ctx = t.Context()
				}
				_, err := n[0].lock("a").Acquire(ctx)
				wantError(t, err, errInjected, outcome.NotDone)
				must(0, must(n[1].lock("a").Acquire(ctx)).Release(ctx))
				synctest.Wait()
				if slots(c, "a") != 0 || n[0].Subscriptions() != 0 {
					t.Error("somebody is left")
				}
			})
		}
	}
}

// TestCancelledInTheMomentOfTheGrant: the release that makes a waiter the holder, and the
// end of his context, in every order that can be forced and in many that just happen.
func TestCancelledInTheMomentOfTheGrant(t *testing.T) {
	orders := map[string]func(release, cancel func()){
		"cancel, release": func(release, cancel func()) { cancel(); release() },
		"release, cancel": func(release, cancel func()) { release(); cancel() },
		"cancel, later release": func(release, cancel func()) {
			cancel()
			synctest.Wait()
			release()
		},
		"together": func(release, cancel func()) {
			go cancel()
			go release()
		},
		"together, the other way": func(release, cancel func()) {
			go release()
			go cancel()
		},
	}
	for name, order := range orders {
		t.Run(name, func(t *testing.T) {
			got, gaveUp := 0, 0
			for round := range 100 {
				bubble.Test(t, func(t *testing.T) {
					c, n := nodes(t, 3)
					holder := must(n[round%2].lock("a").Acquire(t.Context())) // on the same node, or another
					ctx, cancel := context.WithCancelCause(t.Context())
					done := make(chan bool, 1)
					go func() {
						held, err := n[1].lock("a").Acquire(ctx)
						if err == nil {
							err = held.Release(t.Context())
							done <- true
						} else {
							wantError(t, err, errInjected, outcome.NotDone)
							err = nil
							done <- false
						}
						must(0, err)
					}()
					synctest.Wait()
					next := make(chan *lock.Held, 1)
					go func() { next <- must(n[2].lock("a").Acquire(t.Context())) }()
					synctest.Wait()
					order(func() { must(0, holder.Release(t.Context())) }, func() { cancel(errInjected) })
					must(0, (<-next).Release(t.Context()))
					if <-done {
						got++
					} else {
						gaveUp++
					}
					synctest.Wait()
					if slots(c, "a") != 0 {
						t.Error("somebody is left")
					}
				})
			}
			t.Logf("%d got the lock, %d gave up", got, gaveUp)
			if got+gaveUp != 100 {
				t.Error("somebody did neither")
			}
		})
	}
}

// TestSessionEndsWhileEntering: an old session is replaced; one that ends in line takes
// the place along.
func TestSessionEndsWhileEntering(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c, n := nodes(t, 2)
		must(0, must(n[0].lock("a").Acquire(t.Context())).Release(t.Context()))
		old := n[0].SessionID()
		n[0].BeforePropose = func(_ context.Context, cmd *statepb.Command) error {
			if isEnter(cmd) && n[0].SessionID() == old {
				c.End(old)
			}
			return nil
		}
		held := must(n[0].lock("a").Acquire(t.Context()))
		if n[0].SessionID() == old {
			t.Error("it is the old session")
		}
		errs := make(chan error)
		go func() {
			_, err := n[1].lock("a").Acquire(t.Context())
			errs <- err
		}()
		synctest.Wait()
		c.End(n[1].SessionID())
		wantError(t, <-errs, outcome.ErrSessionEnded, outcome.NotDone)
		must(0, held.Release(t.Context()))
		synctest.Wait()
		if slots(c, "a") != 0 || n[1].Subscriptions() != 0 {
			t.Error("somebody is left")
		}
	})
}

// TestCloseWhileWaiting: all that wait, hold and release end with the node.
func TestCloseWhileWaiting(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c, n := nodes(t, 2)
		holder := must(n[0].lock("a").Acquire(t.Context()))
		n[1].BeforePropose = func(ctx context.Context, cmd *statepb.Command) error {
			if e := cmd.GetEnter(); e.GetQueue().GetName() == "stuck" {
				<-ctx.Done()
				return context.Cause(ctx)
			}
			return nil
		}
		errs := make(chan error, 20)
		for i := range 20 {
			name := []string{"a", "stuck"}[i%2]
			go func() {
				_, err := n[1].lock(name).Acquire(t.Context())
				errs <- err
			}()
		}
		synctest.Wait()
		session := n[1].SessionID()
		n[1].close()
		for range 20 {
			wantError(t, <-errs, outcome.ErrClosed, outcome.NotDone)
		}
		_, err := n[1].lock("a").Acquire(t.Context())
		wantError(t, err, outcome.ErrClosed, outcome.NotDone)
		c.End(session)
		must(0, holder.Release(t.Context()))
		if slots(c, "a") != 0 {
			t.Error("somebody is left")
		}
	})
}

// TestLateErrorTellsWhatIsWrong: who runs out of time because there is no majority is
// told that, and who because others hold the lock, that.
func TestLateErrorTellsWhatIsWrong(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		_, n := nodes(t, 2)
		holder := must(n[0].lock("a").Acquire(t.Context()))
		try := func(name string) *outcome.Error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := n[1].lock(name).Acquire(ctx)
			e, ok := errors.AsType[*outcome.Error](err)
			if !ok || e.Outcome != outcome.NotDone {
				t.Fatalf("got %v", err)
			}
			return e
		}
		want := fmt.Sprintf("held by alpha, token %d; this one was number 2 in line", holder.Token())
		if e := try("a"); e.Err != context.DeadlineExceeded || e.Hint != want {
			t.Errorf("got %v", e)
		}
		synctest.Wait() // until the place is given up
		n[1].BeforePropose = func(ctx context.Context, cmd *statepb.Command) error {
			if isEnter(cmd) {
				<-ctx.Done()
			}
			return context.Cause(ctx)
		}
		n[1].RefuseBarrier = outcome.ErrNoQuorum
		if e := try("b"); e.Err != outcome.ErrNoQuorum || e.Hint == "" {
			t.Errorf("got %v", e)
		}
	})
}
