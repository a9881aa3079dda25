package group_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kith-go/kith/group"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state/statepb"
	"github.com/kith-go/kith/kv"
)

func TestOrderIsThatOfArrival(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		charlie := join(t, w.nodes[2].group("g"), group.Data([]byte("c")))
		alpha := join(t, w.nodes[0].group("g"))
		bravo := join(t, w.nodes[1].group("g"), group.Data([]byte("b")))
		w.cluster.Advance(3 * time.Second)
		if charlie.Token() >= alpha.Token() || alpha.Token() >= bravo.Token() {
			t.Errorf("tokens %d %d %d do not grow", charlie.Token(), alpha.Token(), bravo.Token())
		}
		for i, n := range w.nodes {
			members, err := n.group("g").Members(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			if got := names(members); !slices.Equal(got, []string{"charlie", "alpha", "bravo"}) {
				t.Fatalf("%s sees %v", n.Name, got)
			}
			for j, m := range members {
				if m.Index != j || m.Node != m.Name || m.Client != "" || m.Self != (m.Name == n.Name) || m.Age != 3*time.Second || m.Revoked {
					t.Errorf("node %d sees %+v at %d", i, m, j)
				}
			}
			if string(members[0].Data) != "c" || members[1].Data != nil || string(members[2].Data) != "b" {
				t.Errorf("data: %q", members)
			}
			members[0].Data[0] = 'x' // the reader's own
			if again, err := n.group("g").Members(t.Context(), 1); err != nil || string(again[0].Data) != "c" {
				t.Errorf("a reader's data are shared: %q, %v", again, err)
			}
		}
		if first, err := w.nodes[1].group("g").Members(t.Context(), 2); err != nil || !slices.Equal(names(first), []string{"charlie", "alpha"}) {
			t.Errorf("first two: %v, %v", first, err)
		}
		if none, err := w.nodes[1].group("h").Members(t.Context(), 0); err != nil || len(none) != 0 {
			t.Errorf("nobody is in h: %v, %v", none, err)
		}
	})
}

func TestThoseBehindMoveUp(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		var seats []*group.Seat
		for _, n := range w.nodes {
			seats = append(seats, join(t, n.group("g")))
		}
		if i := seats[2].Index(); i != 2 || seats[2].Leading(2) || !seats[2].Leading(3) || !seats[0].Leading(1) {
			t.Errorf("at first: index %d", i)
		}
		waited := make(chan error, 1)
		go func() { waited <- seats[2].Wait(t.Context(), 1) }()
		leave(t, seats[0])
		synctest.Wait()
		if len(waited) > 0 {
			t.Fatalf("the third waits no more while the second leads: %v", <-waited)
		}
		if !errors.Is(context.Cause(seats[0].Context()), group.ErrLeft) || seats[0].Index() != -1 || seats[0].Leading(9) {
			t.Errorf("left, but %v and at %d", context.Cause(seats[0].Context()), seats[0].Index())
		}
		w.nodes[1].end()
		if err := <-waited; err != nil || !seats[2].Leading(1) || seats[2].Index() != 0 {
			t.Errorf("the third's turn: %v, index %d", err, seats[2].Index())
		}
		if cause := context.Cause(seats[1].Context()); !errors.Is(cause, outcome.ErrSessionEnded) {
			t.Errorf("the second ended by %v", cause)
		}
		err := seats[1].Leave(t.Context())
		if !errors.Is(err, outcome.ErrSessionEnded) || outcome.Of(err) != outcome.NotDone {
			t.Errorf("leaving after the loss: %v", err)
		}
		for range 2 {
			leave(t, seats[2])
		}
		if got := w.stands("g"); len(got) != 0 {
			t.Errorf("left behind: %v", got)
		}
	})
}

func TestWaitEnds(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		join(t, w.nodes[0].group("g"))
		second := join(t, w.nodes[1].group("g"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := second.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) || outcome.Of(err) != outcome.NotDone {
			t.Errorf("ctx ended: %v", err)
		}
		if err := second.Wait(ctx, 2); err != nil {
			t.Errorf("already among the first two: %v", err)
		}
		waited := make(chan error, 1)
		go func() { waited <- second.Wait(t.Context(), 1) }()
		synctest.Wait()
		w.nodes[1].end()
		if err := <-waited; !errors.Is(err, outcome.ErrSessionEnded) {
			t.Errorf("session ended: %v", err)
		}
		third := join(t, w.nodes[1].group("g"))
		go func() { waited <- third.Wait(t.Context(), 1) }()
		synctest.Wait()
		w.nodes[1].Close()
		if err := <-waited; !errors.Is(err, outcome.ErrClosed) {
			t.Errorf("node closed: %v", err)
		}
		if cause := context.Cause(third.Context()); !errors.Is(cause, outcome.ErrClosed) {
			t.Errorf("node closed: the seat ended by %v", cause)
		}
		if third.Index() != 1 || third.Leading(2) {
			t.Errorf("at %d in a state that nothing comes to any more: no reason to lead", third.Index())
		}
	})
}

func TestSeveralSeatsOfOneNode(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		g := w.nodes[0].group("g")
		first, second := join(t, g), join(t, g, group.Name("other"))
		if _, err := g.Join(t.Context(), group.Name("other")); !errors.Is(err, group.ErrTaken) || outcome.Of(err) != outcome.NotDone {
			t.Errorf("the same name twice: %v", err)
		}
		elsewhere := join(t, w.nodes[1].group("g"), group.Name("other"))
		if got := w.stands("g"); !slices.Equal(got, []string{"alpha", "other", "other"}) {
			t.Errorf("%v", got)
		}
		leave(t, first)
		if second.Index() != 0 || elsewhere.Index() != 1 || second.Context().Err() != nil {
			t.Errorf("at %d and %d", second.Index(), elsewhere.Index())
		}
		leave(t, second)
		again := join(t, g, group.Name("other"))
		if again.Index() != 1 || again.Token() <= elsewhere.Token() {
			t.Errorf("a name that was left is free, at the end of the line: %d", again.Index())
		}
	})
}

// A name is free when its seat has gone, not before: a late attempt to leave must not
// take the new seat.
func TestNameWaitsForItsFormerSeat(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		seat := join(t, n.group("g"))
		broken := errors.New("no majority")
		var mu sync.Mutex
		down := true
		n.BeforePropose = func(_ context.Context, cmd *statepb.Command) error {
			mu.Lock()
			defer mu.Unlock()
			if cmd.GetLeave() != nil && down {
				return broken
			}
			return nil
		}
		if err := seat.Leave(t.Context()); !errors.Is(err, broken) || outcome.Of(err) != outcome.Unknown {
			t.Errorf("leaving without a majority: %v", err)
		}
		joined := make(chan *group.Seat)
		go func() { joined <- join(t, n.group("g")) }()
		synctest.Wait()
		select {
		case <-joined:
			t.Fatal("joined while the former seat stands")
		default:
		}
		mu.Lock()
		down = false
		mu.Unlock()
		again := <-joined
		time.Sleep(time.Minute) // of virtual time: more than any late attempt takes
		if got := w.slots("g"); len(got) != 1 || got[0].Token != again.Token() || again.Context().Err() != nil {
			t.Errorf("stands: %v", got)
		}
		leave(t, seat)
	})
}

func TestJoinThatIsGivenUpLeavesNoGhost(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		n := w.nodes[0]
		join(t, n.group("g"), group.Name("first"))
		if _, err := n.group("g").Join(canceled(t)); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		returned := make(chan struct{})
		n.AfterPropose = func(_ context.Context, cmd *statepb.Command) error {
			if cmd.GetEnter() != nil { // it is done; the answer comes when nobody waits for it
				cancel()
				<-returned
			}
			return nil
		}
		_, err := n.group("g").Join(ctx)
		if !errors.Is(err, context.Canceled) || outcome.Of(err) != outcome.NotDone {
			t.Errorf("%v", err)
		}
		if got := w.stands("g"); len(got) != 2 {
			t.Errorf("this test is about a place that was taken: %v", got)
		}
		close(returned)
		synctest.Wait()
		if got := w.stands("g"); !slices.Equal(got, []string{"first"}) {
			t.Errorf("after a join that was given up stand %v", got)
		}
	})
}

func TestNames(t *testing.T) {
	long := strings.Repeat("x", 10<<10)
	noFn := func(context.Context) error { return nil }
	tests := []struct {
		what string
		do   func(ctx context.Context, n *node) error
		want error
	}{
		{"empty group", func(ctx context.Context, n *node) error { _, err := n.group("").Join(ctx); return err }, group.ErrInvalid},
		{"long group", func(ctx context.Context, n *node) error { _, err := n.group(long).Join(ctx); return err }, group.ErrTooLarge},
		{"odd group", func(ctx context.Context, n *node) error { _, err := n.group("\xff").Join(ctx); return err }, group.ErrInvalid},
		{"empty name", func(ctx context.Context, n *node) error { _, err := n.group("g").Join(ctx, group.Name("")); return err }, group.ErrInvalid},
		{"long name", func(ctx context.Context, n *node) error {
			_, err := n.group("g").Join(ctx, group.Name(long))
			return err
		}, group.ErrTooLarge},
		{"odd name", func(ctx context.Context, n *node) error {
			_, err := n.group("g").Join(ctx, group.Name("a\x80"))
			return err
		}, group.ErrInvalid},
		{"much data", func(ctx context.Context, n *node) error {
			_, err := n.group("g").Join(ctx, group.Data(make([]byte, 2<<20)))
			return err
		}, group.ErrTooLarge},
		{"nil join option", func(ctx context.Context, n *node) error { _, err := n.group("g").Join(ctx, nil); return err }, group.ErrInvalid},
		{"nil option", func(ctx context.Context, n *node) error { _, err := n.group("g", nil).Join(ctx); return err }, group.ErrInvalid},
		{"no leaders", func(ctx context.Context, n *node) error { _, err := n.group("g", group.ByPID(0)).Join(ctx); return err }, group.ErrInvalid},
		{"members of odd", func(ctx context.Context, n *node) error { _, err := n.group("\xff").Members(ctx, 0); return err }, group.ErrInvalid},
		{"negative limit", func(ctx context.Context, n *node) error { _, err := n.group("g").Members(ctx, -1); return err }, group.ErrInvalid},
		{"explain empty", func(ctx context.Context, n *node) error { _, err := n.group("").Explain(ctx); return err }, group.ErrInvalid},
		{"break without token", func(ctx context.Context, n *node) error { return n.group("g").Break(ctx, 0) }, group.ErrInvalid},
		{"break of nobody", func(ctx context.Context, n *node) error { return n.group("g").Break(ctx, 7) }, group.ErrNoSeat},
		{"lead of none", func(ctx context.Context, n *node) error { return n.group("g").Lead(ctx, 0, noFn) }, group.ErrInvalid},
		{"lead of too many", func(ctx context.Context, n *node) error { return n.group("g", group.ByPID(2)).Lead(ctx, 3, noFn) }, group.ErrInvalid},
		{"lead of nothing", func(ctx context.Context, n *node) error { return n.group("g").Lead(ctx, 1, nil) }, group.ErrInvalid},
		{"lead of odd", func(ctx context.Context, n *node) error { return n.group("\xff").Lead(ctx, 1, noFn) }, group.ErrInvalid},
		{"watch of odd", func(ctx context.Context, n *node) error {
			for _, err := range n.group("\xff").Watch(ctx) {
				return err
			}
			return nil
		}, group.ErrInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			inWorld(t, 1, func(t *testing.T, w *world) {
				err := tt.do(t.Context(), w.nodes[0])
				if !errors.Is(err, tt.want) || outcome.Of(err) != outcome.NotDone {
					t.Errorf("got %v, want %v", err, tt.want)
				}
			})
		})
	}
	inWorld(t, 1, func(t *testing.T, w *world) {
		const odd = "a/\x00 ü#1\n"
		seat := join(t, w.nodes[0].group(odd), group.Name(odd))
		members, err := w.nodes[0].group(odd).Members(t.Context(), 0)
		if err != nil || !slices.Equal(names(members), []string{odd}) || seat.Name() != odd {
			t.Errorf("an odd name is a name: %q, %v", members, err)
		}
		leave(t, seat)
	})
}

func TestByPID(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		byPID := func(i int) *group.Group { return w.nodes[i].group("g", group.ByPID(1)) }
		delta := join(t, byPID(3))
		join(t, byPID(2))
		alpha := join(t, byPID(0))
		join(t, byPID(1))
		join(t, byPID(0), group.Name("alpha too"))
		join(t, group.New(w.nodes[0].places, 0, "g", group.ByPID(1)), group.Name("without"))
		join(t, byPID(1), group.Name("bravo too"))
		want := []string{"delta", "alpha", "alpha too", "bravo", "bravo too", "charlie", "without"}
		if got := w.stands("g"); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if !delta.Leading(1) {
			t.Error("a leader is not displaced")
		}
		leave(t, delta)
		if !alpha.Leading(1) {
			t.Errorf("the lowest PID is next: %v", w.stands("g"))
		}
		if err := alpha.Wait(t.Context(), 2); !errors.Is(err, group.ErrInvalid) {
			t.Errorf("waiting for more than lead: %v", err)
		}
		_, err := w.nodes[1].group("g").Join(t.Context(), group.Name("x"))
		if !errors.Is(err, group.ErrOrder) || outcome.Of(err) != outcome.NotDone || !strings.Contains(err.Error(), "by PID after 1 leader, not by arrival") {
			t.Errorf("another order: %v", err)
		}
		join(t, w.nodes[0].group("h"))
		if _, err := w.nodes[1].group("h", group.ByPID(3)).Join(t.Context()); !errors.Is(err, group.ErrOrder) {
			t.Errorf("another order: %v", err)
		}
	})
}

func TestUpdate(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		g := w.nodes[0].group("g")
		seat := join(t, g)
		later := join(t, w.nodes[1].group("g"))
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if err := seat.Update(t.Context(), fmt.Append(nil, "data ", i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		slots := w.slots("g")
		if !strings.HasPrefix(string(slots[0].Data), "data ") || slots[0].Token != seat.Token() || seat.Index() != 0 || later.Index() != 1 {
			t.Errorf("after updates: %+v", slots)
		}
		if err := seat.Update(t.Context(), make([]byte, 2<<20)); !errors.Is(err, group.ErrTooLarge) {
			t.Errorf("too large: %v", err)
		}
		if err := seat.Update(t.Context(), nil); err != nil || len(w.slots("g")[0].Data) != 0 {
			t.Errorf("no data: %v, %+v", err, w.slots("g"))
		}
		lost := errors.New("connection lost")
		w.nodes[0].AfterPropose = func(context.Context, *statepb.Command) error { return lost }
		if err := seat.Update(t.Context(), nil); !errors.Is(err, lost) || outcome.Of(err) != outcome.Unknown {
			t.Errorf("answer lost: %v", err)
		}
		w.nodes[0].AfterPropose = nil
		leave(t, seat)
		if err := seat.Update(t.Context(), nil); !errors.Is(err, group.ErrLeft) || outcome.Of(err) != outcome.NotDone {
			t.Errorf("after leaving: %v", err)
		}
		// The node has not applied yet that the seat is gone.
		w.nodes[1].Delay(true)
		w.cluster.Propose(&statepb.Command{Op: &statepb.Command_Leave{Leave: &statepb.Leave{
			Queue: &statepb.QueueName{Kind: statepb.QueueName_GROUP, Name: "g"}, Token: later.Token(),
		}}})
		if err := later.Update(t.Context(), nil); !errors.Is(err, group.ErrLost) || outcome.Of(err) != outcome.NotDone {
			t.Errorf("after it was taken away: %v", err)
		}
	})
}

func TestBreakKeepsThePlaceUntilItIsLeft(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		first, second := join(t, w.nodes[0].group("g")), join(t, w.nodes[1].group("g"))
		for range 2 {
			if err := w.nodes[1].group("g").Break(t.Context(), first.Token()); err != nil {
				t.Fatal(err)
			}
			if first.Leading(1) { // also before anybody was woken
				t.Error("leads, though asked to go")
			}
		}
		<-first.Context().Done()
		if cause := context.Cause(first.Context()); !errors.Is(cause, group.ErrBroken) || first.Leading(1) {
			t.Errorf("broken: %v", cause)
		}
		if second.Leading(1) || first.Index() != 0 {
			t.Error("somebody leads before the first has left")
		}
		members, err := w.nodes[0].group("g").Members(t.Context(), 1)
		if err != nil || !members[0].Revoked {
			t.Errorf("%+v, %v", members, err)
		}
		if err := first.Update(t.Context(), []byte("draining")); err != nil {
			t.Errorf("who is asked to go may say what it does: %v", err)
		}
		leave(t, first)
		if err := second.Wait(t.Context(), 1); err != nil || !second.Leading(1) {
			t.Errorf("the next: %v", err)
		}
	})
	inWorld(t, 2, func(t *testing.T, w *world) {
		join(t, w.nodes[0].group("g", group.ByPID(1)))
		second := join(t, w.nodes[1].group("g", group.ByPID(1)))
		if err := w.nodes[0].group("g").Break(t.Context(), second.Token()); err != nil {
			t.Fatal(err)
		}
		<-second.Context().Done()
		if got := w.stands("g"); !slices.Equal(got, []string{"alpha"}) {
			t.Errorf("one who does not lead yet goes at once: %v", got)
		}
	})
}

func TestIfHeld(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		var seats []*group.Seat
		for _, n := range w.nodes {
			seats = append(seats, join(t, n.group("g")))
		}
		store := kv.New(w.nodes[0])
		held := func(h kv.Holder) bool {
			t.Helper()
			_, err := store.Set(t.Context(), "k", nil, kv.IfHeld(h))
			if err != nil && !errors.Is(err, kv.ErrNotHeld) {
				t.Fatal(err)
			}
			return err == nil
		}
		if !held(seats[0]) || held(seats[1]) || !held(seats[1].First(2)) || held(seats[2].First(2)) || held(seats[1].First(-1)) {
			t.Error("the first is the first, and two are two")
		}
		leave(t, seats[0])
		if held(seats[0]) || !held(seats[1]) || !held(seats[2].First(2)) {
			t.Error("those behind have moved up")
		}
	})
}

func TestSeatContextHasJoinsValues(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		type key struct{}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
		seat, err := w.nodes[0].group("g").Join(ctx)
		if err != nil {
			t.Fatal(err)
		}
		child, stop := context.WithCancel(seat.Context())
		defer stop()
		cancel()
		if seat.Context().Value(key{}) != "v" || seat.Context().Err() != nil {
			t.Error("the values, but not the end, of Join's context")
		}
		seat.Leave(t.Context())
		if child.Err() == nil || !errors.Is(context.Cause(child), group.ErrLeft) { // without any waiting
			t.Errorf("a child ends with the seat: %v", context.Cause(child))
		}
	})
}
