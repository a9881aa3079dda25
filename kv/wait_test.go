package kv_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/replicatest"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/kv"
)

// waiting is a call that may block.
type waiting struct {
	done     bool
	revision kv.Revision
	err      error
}

func start(call func() (kv.Revision, error)) *waiting {
	w := new(waiting)
	go func() {
		w.revision, w.err = call()
		w.done = true
	}()
	return w
}

// state tells, once nothing moves any more, where the call is.
func (w *waiting) state() string {
	synctest.Wait()
	if !w.done {
		return "waits"
	}
	return fmt.Sprint(w.revision, w.err)
}

// TestWaitChange: what the name "a" may be, where the caller thinks it is, and what wakes
// him.
func TestWaitChange(t *testing.T) {
	ctx := context.Background()
	set := func(s *kv.Store, _ *node) { must(s.Set(ctx, "a", nil)) }
	remove := func(s *kv.Store, _ *node) { must(s.Delete(ctx, "a")) }
	other := func(s *kv.Store, _ *node) { must(s.Set(ctx, "ab", nil)); must(s.Set(ctx, "b", nil)) }
	lock := func(_ *kv.Store, n *node) { enter(n, statepb.QueueName_LOCK, "a", "m", 1) }
	group := func(_ *kv.Store, n *node) { enter(n, statepb.QueueName_GROUP, "a", "m", 0) }
	fire := func(s *kv.Store, _ *node) { must(s.Fire(ctx, "a")) }
	all := func(do ...func(*kv.Store, *node)) func(*kv.Store, *node) {
		return func(s *kv.Store, n *node) {
			for _, f := range do {
				f(s, n)
			}
		}
	}
	tests := []struct {
		name   string
		before func(*kv.Store, *node)
		at     kv.Revision
		first  string
		then   func(*kv.Store, *node)
		last   string
	}{
		{"any", nil, 0, "waits", set, "1 <nil>"},
		{"any, there already", set, 0, "waits", set, "2 <nil>"},
		{"at", set, 1, "waits", remove, "2 <nil>"},
		{"not at", all(set, set), 1, "2 <nil>", nil, ""},
		{"deleted since", all(set, remove), 1, "2 <nil>", nil, ""},
		{"at its deletion", all(set, remove), 2, "waits", set, "3 <nil>"},
		{"never there", other, 1, "0 <nil>", nil, ""},
		{"not reached", set, 3, "waits", all(set, set), "waits"},
		{"not reached, passed", all(set, other), 5, "waits", all(set, set, set), "6 <nil>"},
		{"others do not count", set, 1, "waits", other, "waits"},
		{"a lock", set, 1, "waits", lock, "3 <nil>"},
		{"a group", set, 1, "waits", group, "3 <nil>"},
		{"an event", set, 1, "waits", fire, "2 <nil>"},
		{"at an event", fire, 1, "waits", fire, "2 <nil>"},
		{"the key is there, the lock came later", all(set, lock), 1, "waits", remove, "4 <nil>"},
		{"the lock is there, the key came later", all(lock, set), 2, "waits", fire, "4 <nil>"},
		{"the group is there, the key came later", all(group, set), 2, "waits", fire, "4 <nil>"},
		{"the event is there, the key came later", all(fire, set), 1, "waits", lock, "4 <nil>"},
		{"none of them is there", all(set, lock, fire, set), 2, "5 <nil>", nil, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				s, n := newStore(t)
				if test.before != nil {
					test.before(s, n)
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				w := start(func() (kv.Revision, error) { return s.WaitChange(ctx, "a", test.at) })
				if got := w.state(); got != test.first {
					t.Fatalf("at first: %s, want %s", got, test.first)
				}
				if test.then != nil {
					test.then(s, n)
					if got := w.state(); got != test.last {
						t.Fatalf("then: %s, want %s", got, test.last)
					}
				}
				cancel(errInjected)
				if w.state(); w.err != nil {
					wantError(t, w.err, errInjected, outcome.NotDone, "wait")
				}
				if !w.done || n.Subscriptions() > 0 {
					t.Errorf("it has left something: %+v", w)
				}
			})
		})
	}
}

// TestNothingIsOverlooked of what happens right after a waiter has looked.
func TestNothingIsOverlooked(t *testing.T) {
	watch := func(after kv.Revision) func(context.Context, *kv.Store) (kv.Revision, error) {
		return func(ctx context.Context, s *kv.Store) (kv.Revision, error) {
			for c, err := range s.Watch(ctx, "a", after) {
				if c.Key == "a" || err != nil {
					return c.Revision, err
				}
			}
			return 0, nil
		}
	}
	calls := map[string]func(ctx context.Context, s *kv.Store) (kv.Revision, error){
		"change":            func(ctx context.Context, s *kv.Store) (kv.Revision, error) { return s.WaitChange(ctx, "a", 0) },
		"event":             func(ctx context.Context, s *kv.Store) (kv.Revision, error) { return s.Event("a").Wait(ctx, 0) },
		"watch":             watch(1),
		"watch, with state": watch(0),
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				s, n := newStore(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				must(s.Fire(ctx, "b"))
				n.AfterView = func() {
					if name == "event" {
						must(s.Fire(ctx, "a"))
					} else {
						must(s.Set(ctx, "a", nil))
					}
				}
				w := start(func() (kv.Revision, error) { return call(ctx, s) })
				if got := w.state(); got != "2 <nil>" {
					t.Errorf("got %s", got)
				}
			})
		})
	}
}

// TestWaitChangeIsNeverTooSeldom: a change that the state has forgotten again, before the
// waiter could look, wakes him.
func TestWaitChangeIsNeverTooSeldom(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := replicatest.New(&statepb.Limits{HistoryEvents: 2}).Join()
		s := kv.New(n)
		writer := kv.New(n.Cluster().Join())
		w := start(func() (kv.Revision, error) { return s.WaitChange(t.Context(), "a", 0) })
		if got := w.state(); got != "waits" {
			t.Fatal(got)
		}
		n.Delay(true)
		must(writer.Set(t.Context(), "a", nil))
		must(writer.Delete(t.Context(), "a"))
		fill(t, writer, 10, 0)
		n.Delay(false) // all at once
		if got := w.state(); got != "0 <nil>" {
			t.Errorf("got %s", got)
		}
	})
}

// TestJoiningAnotherCluster: a node of one gives up its state for that of the cluster it
// joins, where revisions are lower. Whoever waits or watches must not wait for the
// revisions of old.
func TestJoiningAnotherCluster(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s, n := newStore(t)
		fill(t, s, 1000, 0)
		must(s.Fire(ctx, "a"))
		last := must(s.Set(ctx, "a", nil))
		other := replicatest.Named("d", nil)
		must(kv.New(other.Join()).Set(ctx, "b", nil))

		var told []string
		go func() {
			for c := range s.Watch(ctx, "", last) {
				told = append(told, describe(c))
			}
		}()
		change := start(func() (kv.Revision, error) { return s.WaitChange(ctx, "a", last) })
		event := start(func() (kv.Revision, error) { return s.Event("a").Wait(ctx, last) })
		if change.state() != "waits" || event.state() != "waits" {
			t.Fatal("they do not wait")
		}
		n.Move(other)
		if got := change.state() + ", " + event.state(); got != "0 <nil>, 0 <nil>" {
			t.Errorf("got %s", got)
		}
		must(s.Set(ctx, "a", nil))
		synctest.Wait()
		want := fmt.Sprintf("[1 resync previous=%d 1 written b existing 1 synced last 2 written a last]", last)
		if got := fmt.Sprint(told); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// TestRevisionsOfTheOldClusterAreForgotten, also one that the reader was yet to be woken
// for when the node moved.
func TestRevisionsOfTheOldClusterAreForgotten(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s, n := newStore(t)
		fill(t, s, 1000, 0)
		last := must(s.Set(ctx, "a", nil))
		other := replicatest.Named("d", nil)
		var told []string
		permits := make(chan struct{})
		go func() {
			for c := range s.WatchKey(ctx, "a", 0) {
				told = append(told, describe(c))
				<-permits
			}
		}()
		synctest.Wait() // the reader is busy with the first element
		must(s.Set(ctx, "a", nil))
		n.Move(other)
		close(permits)
		synctest.Wait()
		must(s.Set(ctx, "a", nil))
		synctest.Wait()
		want := fmt.Sprintf("[%d written a existing %d synced last 0 resync previous=%d 0 synced last 1 written a last]", last, last, last)
		if got := fmt.Sprint(told); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestWaitsEndWithTheNode(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s, n := newStore(t)
		change := start(func() (kv.Revision, error) { return s.WaitChange(t.Context(), "a", 0) })
		event := start(func() (kv.Revision, error) { return s.Event("a").Wait(t.Context(), 0) })
		if change.state() != "waits" || event.state() != "waits" {
			t.Fatal("they do not wait")
		}
		n.Close()
		synctest.Wait()
		wantError(t, change.err, outcome.ErrClosed, outcome.NotDone, "wait")
		wantError(t, event.err, outcome.ErrClosed, outcome.NotDone, "wait for event")
	})
}

func TestEvent(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s, _ := newStore(t)
		ctx := t.Context()
		e := s.Event("reload")
		if at := must(e.Revision(ctx)); at != 0 || e.Name() != "reload" {
			t.Fatalf("%s at %d", e.Name(), at)
		}
		w := start(func() (kv.Revision, error) { return e.Wait(ctx, 0) })
		must(s.Set(ctx, "reload", nil)) // a key of that name is something else
		must(s.Fire(ctx, "reload/other"))
		if got := w.state(); got != "waits" {
			t.Fatal(got)
		}
		first := must(e.Fire(ctx))
		if got := w.state(); got != fmt.Sprint(first, " <nil>") {
			t.Fatal(got)
		}
		if at := must(e.Wait(ctx, 0)); at != first { // it was fired already
			t.Errorf("at %d, want %d", at, first)
		}
		second := must(e.Fire(ctx, kv.IfRevision(first)))
		if at := must(e.Revision(ctx)); at != second || must(e.Wait(ctx, first)) != second {
			t.Errorf("at %d, want %d", at, second)
		}
		_, err := e.Fire(ctx, kv.IfRevision(first))
		conflict, ok := errors.AsType[*kv.ConflictError](err)
		if !ok || conflict.Key != "reload" || conflict.Actual != second || outcome.Of(err) != outcome.NotDone {
			t.Errorf("got %v", err)
		}
		for _, c := range []kv.Condition{kv.IfAbsent(), kv.IfExists(), kv.IfRevision(first).Of("reload"), kv.IfHeld(place{"lock", "x", 1, 0}), {}} {
			_, err := e.Fire(ctx, c)
			wantError(t, err, kv.ErrInvalid, outcome.NotDone, "fire")
		}
		_, err = e.Fire(ctx, kv.IfRevision(second), kv.IfRevision(second))
		wantError(t, err, kv.ErrInvalid, outcome.NotDone, "fire")
	})
}
