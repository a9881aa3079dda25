package group_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith/group"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/replicatest"
)

// reader reads a watch, one view at a time.
type reader struct {
	t    *testing.T
	next func() (group.View, error, bool)
	stop func()
}

func read(t *testing.T, views iter.Seq2[group.View, error]) *reader {
	r := &reader{t: t}
	r.next, r.stop = iter.Pull2(views)
	return r
}

func (r *reader) view() group.View {
	r.t.Helper()
	v, err, ok := r.next()
	if !ok || err != nil {
		r.t.Fatalf("the watch has ended: %v", err)
	}
	return v
}

func (r *reader) wants(want ...string) group.View {
	r.t.Helper()
	v := r.view()
	if got := names(v.Members); !slices.Equal(got, want) {
		r.t.Errorf("view of %v, want %v", got, want)
	}
	return v
}

func TestWatchTellsWholeViews(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		r := read(t, w.nodes[1].group("g").Watch(t.Context()))
		defer r.stop()
		empty := r.wants()
		if _, ok := empty.Leader(); ok {
			t.Error("nobody leads an empty group")
		}
		seat := join(t, w.nodes[0].group("g"))
		one := r.wants("alpha")
		if one.Revision <= empty.Revision || one.Members[0].Self {
			t.Errorf("%+v after %+v", one, empty)
		}
		own := join(t, w.nodes[1].group("g"))
		two := r.wants("alpha", "bravo")
		if !two.Members[1].Self || two.Members[0].Self {
			t.Errorf("who is it? %+v", two)
		}
		if leader, ok := two.Leader(); !ok || leader.Name != "alpha" || len(two.First(1)) != 1 || len(two.First(5)) != 2 || len(two.First(-1)) != 0 {
			t.Errorf("leader %+v", leader)
		}
		if m, ok := two.Find(own.Token()); !ok || m.Index != 1 {
			t.Errorf("found %+v", m)
		}
		if _, ok := two.Find(own.Token() + 1); ok {
			t.Error("found nobody")
		}
		if err := seat.Update(t.Context(), []byte("new")); err != nil {
			t.Fatal(err)
		}
		if v := r.view(); string(v.Members[0].Data) != "new" {
			t.Errorf("%+v", v)
		}
		if err := w.nodes[0].group("g").Break(t.Context(), own.Token()); err != nil {
			t.Fatal(err)
		}
		if v := r.view(); !v.Members[1].Revoked {
			t.Errorf("%+v", v)
		}
		leave(t, seat)
		leave(t, own)
		r.wants()
	})
}

func TestSlowWatcherGetsTheLastView(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		g := w.nodes[0].group("g")
		r := read(t, g.Watch(t.Context()))
		defer r.stop()
		r.wants()
		for i := range 100 {
			join(t, g, group.Name(fmt.Sprint(i)))
		}
		// A change of another name that begins alike, and of what is none of this
		// group's, is no view.
		join(t, w.nodes[0].group("g2"))
		if v := r.view(); len(v.Members) != 100 {
			t.Errorf("a view of %d members: views are coalesced and the last is not lost", len(v.Members))
		}
		join(t, w.nodes[0].group("g3"))
		got := make(chan group.View)
		go func() { got <- r.view() }()
		synctest.Wait()
		select {
		case v := <-got:
			t.Fatalf("nothing has changed: %+v", v)
		default:
		}
		join(t, g, group.Name("last"))
		if v := <-got; len(v.Members) != 101 {
			t.Errorf("%d members", len(v.Members))
		}
	})
}

func TestNoChangeFallsBetweenALookAndTheWait(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.nodes[0].AfterView = func() { join(t, w.nodes[1].group("g")) }
		r := read(t, w.nodes[0].group("g").Watch(t.Context()))
		defer r.stop()
		r.wants()
		r.wants("bravo")
	})
}

func TestWatchEnds(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		ctx, cancel := context.WithCancel(t.Context())
		r := read(t, n.group("g").Watch(ctx))
		r.wants()
		go cancel()
		if v, err, ok := r.next(); ok {
			t.Errorf("ends without a word when ctx does: %v, %v", v, err)
		}
		for range n.group("g").Watch(t.Context()) {
			break
		}
		if n.Subscriptions() != 0 {
			t.Errorf("%d subscriptions left", n.Subscriptions())
		}
		n.RefuseBarrier = outcome.ErrNoQuorum
		for _, err := range n.group("g").Watch(t.Context()) {
			if !errors.Is(err, outcome.ErrNoQuorum) {
				t.Errorf("no majority: %v", err)
			}
		}
		local := read(t, n.group("g").Stale().Watch(t.Context()))
		defer local.stop()
		local.wants()
		if _, err := n.group("g").Members(t.Context(), 0); !errors.Is(err, outcome.ErrNoQuorum) {
			t.Errorf("no majority: %v", err)
		}
		if _, err := n.group("g").Stale().Members(t.Context(), 0); err != nil {
			t.Errorf("stale: %v", err)
		}
		if _, err := n.group("g").Stale().Members(canceled(t), 0); !errors.Is(err, context.Canceled) {
			t.Errorf("stale, and ctx has ended: %v", err)
		}
		n.Close()
		if _, err, ok := local.next(); !ok || !errors.Is(err, outcome.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if _, err, ok := local.next(); ok {
			t.Errorf("after the end: %v", err)
		}
	})
}

// A view that was read before the node knew of its own seat must not be the last one.
func TestWatchKnowsOneself(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		g := w.nodes[0].group("g")
		r := read(t, g.Watch(t.Context()))
		defer r.stop()
		r.wants()
		seen := make(chan group.View, 1)
		go func() { seen <- r.view() }()
		join(t, g)
		if v := <-seen; !v.Members[0].Self {
			t.Errorf("%+v", v)
		}
		w.nodes[0].end()
		r.wants()
	})
}

func TestWatchAcrossStates(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		n := w.nodes[1]
		join(t, w.nodes[0].group("g"))
		r := read(t, n.group("g").Watch(t.Context()))
		defer r.stop()
		r.wants("alpha")
		n.Delay(true)
		join(t, w.nodes[0].group("g"), group.Name("second"))
		n.Install()
		r.wants("alpha", "second")
		other := replicatest.Named("other", nil)
		n.Move(other)
		r.wants()
	})
}

func TestExplain(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		g := w.nodes[0].group("g", group.ByPID(2))
		e, err := g.Explain(t.Context())
		if err != nil || !strings.Contains(e.String(), "nobody") {
			t.Errorf("%v, %v", e, err)
		}
		first := join(t, g, group.Data([]byte(strings.Repeat("d", 100))))
		second := join(t, w.nodes[1].group("g", group.ByPID(2)), group.Name("odd\n"), group.Data([]byte("x")))
		w.cluster.Advance(1500 * time.Millisecond)
		if err := g.Break(t.Context(), first.Token()); err != nil {
			t.Fatal(err)
		}
		e, err = g.Explain(t.Context())
		if err != nil || e.Leaders != 2 || e.Name != "g" {
			t.Errorf("%+v, %v", e, err)
		}
		want := fmt.Sprintf(`group "g": 2 members, in order by PID after 2 leaders (revision %d)
  1. "alpha" on alpha (this one), token %d, joined 1.5s ago, asked to go, data %q… (100 bytes)
  2. "odd\n" on bravo, token %d, joined 1.5s ago, data "x"
`, e.Revision, first.Token(), strings.Repeat("d", 64), second.Token())
		if got := e.String(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}
