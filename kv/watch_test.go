package kv_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/replicatest"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/kv"
)

// puller reads a watch element by element.
type puller struct {
	t    *testing.T
	next func() (kv.Change, error, bool)
}

func pull(t *testing.T, changes iter.Seq2[kv.Change, error]) *puller {
	next, stop := iter.Pull2(changes)
	t.Cleanup(stop)
	return &puller{t, next}
}

// want reads as many elements as there are and compares them.
func (p *puller) want(want ...string) {
	p.t.Helper()
	for _, w := range want {
		c, err, ok := p.next()
		if got := describe(c); err != nil || !ok || got != w {
			p.t.Fatalf("got %q, %v, %v; want %q", got, err, ok, w)
		}
	}
}

func describe(c kv.Change) string {
	s := fmt.Sprintf("%d %s", c.Revision, c.Kind)
	if c.Key != "" {
		s += " " + c.Key
	}
	if c.Value != nil {
		s += "=" + string(c.Value)
	}
	if c.Previous != 0 {
		s += fmt.Sprintf(" previous=%d", c.Previous)
	}
	if c.Existing {
		s += " existing"
	}
	if c.Last {
		s += " last"
	}
	return s
}

func TestWatchTellsStateThenChanges(t *testing.T) {
	s, n := newStore(t)
	ctx := t.Context()
	must(s.Set(ctx, "b", []byte("1")))
	must(s.Set(ctx, "a", []byte("2"), kv.TTL(time.Minute)))
	p := pull(t, s.Watch(ctx, "", 0))
	p.want("2 written a=2 existing", "1 written b=1 existing", "2 synced last")
	must(s.Commit(ctx, kv.Txn().Then(kv.Put("b", []byte("3")), kv.Delete("a"), kv.Put("c", nil))))
	must(s.Set(ctx, "b", []byte("4"), kv.TTL(time.Second)))
	p.want("3 written b=3 previous=1", "3 deleted a previous=2", "3 written c last", "4 written b=4 previous=3 last")
	n.Cluster().Advance(time.Second)
	p.want("5 expired b previous=4 last")
	p = pull(t, s.Watch(ctx, "", 3))
	p.want("4 written b=4 previous=3 last", "5 expired b previous=4 last")
	p = pull(t, s.WatchKey(ctx, "c", 0))
	p.want("3 written c existing", "5 synced last")
}

func TestWatchValuesAndTimesAreTheReaders(t *testing.T) {
	s, n := newStore(t)
	ctx := t.Context()
	must(s.Set(ctx, "a", []byte("value"), kv.TTL(time.Minute), kv.Ephemeral()))
	n.Cluster().Advance(time.Second)
	for _, after := range []kv.Revision{0, 1} {
		for c, err := range s.Watch(ctx, "", after) {
			if err != nil || c.TTL != 59*time.Second || !c.Ephemeral || string(c.Value) != "value" {
				t.Errorf("after %d: %+v, %v", after, c, err)
			}
			c.Value[0] = 'X'
			break
		}
	}
	if e := must(s.Get(ctx, "a")); string(e.Value) != "value" {
		t.Errorf("the reader's change came through: %q", e.Value)
	}
}

// TestWatchOfAQuietKeyLosesNothing: however much the cluster has forgotten of other keys
// meanwhile, even before the reader looks.
func TestWatchOfAQuietKeyLosesNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := kv.New(replicatest.New(&statepb.Limits{HistoryEvents: 10}).Join())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		must(s.Set(ctx, "config", []byte("1")))
		var told []string
		go func() {
			for c := range s.Watch(ctx, "config", 0) {
				told = append(told, describe(c))
			}
		}()
		for i := range 3 {
			synctest.Wait() // the reader has nothing to do
			fill(t, s, 1000, 0)
			must(s.Set(ctx, "config", fmt.Append(nil, "new", i)))
		}
		synctest.Wait()
		want := []string{
			"1 written config=1 existing", "1 synced last",
			"12 written config=new0 previous=1 last",
			"23 written config=new1 previous=12 last",
			"34 written config=new2 previous=23 last",
		}
		if got := strings.Join(told, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
	})
}

func TestWatchSaysWhatItHasLost(t *testing.T) {
	s := kv.New(replicatest.New(&statepb.Limits{HistoryEvents: 2}).Join())
	ctx := t.Context()
	must(s.Set(ctx, "a", nil))
	p := pull(t, s.Watch(ctx, "", 0))
	p.want("1 written a existing", "1 synced last")
	for _, key := range []string{"b", "c", "d", "d"} {
		must(s.Set(ctx, key, nil))
	}
	must(s.Delete(ctx, "a"))
	p.want("6 resync previous=1", "2 written b existing", "3 written c existing", "5 written d existing", "6 synced last")
	must(s.Delete(ctx, "b"))
	p.want("7 deleted b previous=2 last")
	p = pull(t, s.Watch(ctx, "", 3)) // too long ago to begin there
	p.want("7 resync previous=3", "3 written c existing", "5 written d existing", "7 synced last")
}

// TestWatchOfALargeStateIsOneMoment: the state is told in portions, between which it
// changes: what was told already is corrected.
func TestWatchOfALargeStateIsOneMoment(t *testing.T) {
	s, _ := newStore(t)
	s.Nibble(2)
	ctx := t.Context()
	for _, key := range []string{"a", "b", "c", "d"} {
		must(s.Set(ctx, key, nil))
	}
	p := pull(t, s.Watch(ctx, "", 0))
	p.want("1 written a existing")
	must(s.Delete(ctx, "a"))
	must(s.Set(ctx, "b", []byte("new")))
	must(s.Set(ctx, "aa", nil))
	must(s.Set(ctx, "d", []byte("new")))
	must(s.Set(ctx, "e", nil))
	p.want("2 written b existing", // from the same look as a
		"5 deleted a previous=1", "6 written b=new previous=2 existing", "7 written aa existing",
		"3 written c existing", "8 written d=new existing")
	must(s.Delete(ctx, "e"))
	p.want("10 synced last")
	must(s.Set(ctx, "e", nil))
	p.want("11 written e last")
}

// TestWatchStartsOver when the cluster forgets faster than the state is read.
func TestWatchStartsOver(t *testing.T) {
	s := kv.New(replicatest.New(&statepb.Limits{HistoryEvents: 2}).Join())
	s.Nibble(2)
	ctx := t.Context()
	for _, key := range []string{"a", "b", "c"} {
		must(s.Set(ctx, key, nil))
	}
	p := pull(t, s.Watch(ctx, "", 0))
	p.want("1 written a existing", "2 written b existing")
	must(s.Delete(ctx, "a"))
	for range 3 {
		must(s.Set(ctx, "d", nil))
	}
	p.want("7 resync", "2 written b existing", "3 written c existing", "7 written d existing", "7 synced last")
}

// TestWatchCopiesLittleAtOnce, so that one with large values costs the node no more memory
// than one with small ones.
func TestWatchCopiesLittleAtOnce(t *testing.T) {
	s, n := newStore(t)
	for i := range 6 {
		must(s.Set(t.Context(), fmt.Sprint(i), make([]byte, 600<<10)))
	}
	before := n.Views.Load()
	for c := range s.Watch(t.Context(), "", 0) {
		if c.Kind == kv.Synced {
			break
		}
	}
	if looks := n.Views.Load() - before; looks < 3 {
		t.Errorf("3.6 MB in %d portions", looks)
	}
}

// TestWatchWaitsForTheFuture (S16).
func TestWatchWaitsForTheFuture(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s, _ := newStore(t)
		var told []string
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			for c := range s.Watch(ctx, "", 2) {
				told = append(told, describe(c))
			}
		}()
		for range 2 {
			must(s.Set(ctx, "a", nil))
			if synctest.Wait(); len(told) > 0 {
				t.Errorf("it did not wait: %q", told)
			}
		}
		must(s.Set(ctx, "a", nil))
		if synctest.Wait(); len(told) != 1 || told[0] != "3 written a previous=2 last" {
			t.Errorf("got %q", told)
		}
	})
}

// TestWatchEnds: silently with its context, wherever it stands; with an error otherwise; and
// always without leaving a subscription.
func TestWatchEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(n *node, cancel func())
		want error
	}{
		{"context", func(n *node, cancel func()) { cancel() }, nil},
		{"node", func(n *node, cancel func()) { n.Close() }, outcome.ErrClosed},
		{"state", func(n *node, cancel func()) {
			n.FailViews(errInjected)
			n.Install() // wakes
		}, errInjected},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				s, n := newStore(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var ended bool
				var last error
				go func() {
					for _, err := range s.Watch(ctx, "", 0) {
						last = err
					}
					ended = true
				}()
				synctest.Wait()
				if ended || n.Subscriptions() != 1 {
					t.Fatalf("ended: %v, with %d subscriptions", ended, n.Subscriptions())
				}
				test.end(n, cancel)
				synctest.Wait()
				if !ended || n.Subscriptions() != 0 {
					t.Fatalf("ended: %v, with %d subscriptions", ended, n.Subscriptions())
				}
				if test.want != nil {
					wantError(t, last, test.want, outcome.NotDone, "watch")
				} else if last != nil {
					t.Errorf("ended with %v", last)
				}
			})
		})
	}
}

func TestWatchEndsAmongItsElements(t *testing.T) {
	s, n := newStore(t)
	fill(t, s, 10, 0)
	for _, stopAfter := range []int{1, 5, 11, 12} { // in the state, at its end, among changes
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		told := 0
		for _, err := range s.Watch(ctx, "", 0) {
			if told++; err != nil {
				t.Fatal(err)
			}
			if told == stopAfter {
				cancel()
			}
			if told == 11 {
				fill(t, s, 10, 0)
			}
		}
		if told != stopAfter || n.Subscriptions() > 0 {
			t.Errorf("%d elements after the context ended at %d", told, stopAfter)
		}
	}
	n.RefuseBarrier = errInjected
	for _, err := range s.Watch(t.Context(), "", 0) {
		wantError(t, err, errInjected, outcome.NotDone, "watch")
	}
	for c, err := range s.Stale().Watch(t.Context(), "", 0) {
		if err != nil || c.Key != "0000" {
			t.Errorf("stale: %+v, %v", c, err)
		}
		break
	}
}

func TestKindsHaveNames(t *testing.T) {
	want := []string{"none", "written", "deleted", "expired", "resync", "synced", "none"}
	for k, name := range want {
		if got := kv.Kind(k).String(); got != name {
			t.Errorf("%d: %q, want %q", k, got, name)
		}
	}
}
