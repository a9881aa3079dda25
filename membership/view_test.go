package membership

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kith-go/kith/internal/bubble"
)

func member(name string, status Status, inc Incarnation) Member {
	return Member{Name: name, PID: uint32(name[0]), Status: status, Incarnation: inc, Addr: netip.MustParseAddrPort("10.0.0.1:1")}
}

func TestKindOf(t *testing.T) {
	none := Member{}
	is := func(s Status) Member { return member("a", s, 1) }
	restarted := member("a", StatusAlive, 2)
	moved := is(StatusAlive)
	moved.Addr = netip.MustParseAddrPort("10.0.0.2:1")
	tagged := is(StatusAlive)
	tagged.Tags = map[string]string{"k": "v"}
	for _, tc := range []struct {
		prev, next Member
		want       ChangeKind
	}{
		{none, is(StatusAlive), Joined},
		{none, is(StatusLeaving), Leaving},
		{none, is(StatusLeft), Left},
		{none, is(StatusFailed), Failed},
		{is(StatusAlive), is(StatusAlive), 0},
		{is(StatusAlive), restarted, Restarted},
		{is(StatusAlive), moved, Updated},
		{is(StatusAlive), tagged, Updated},
		{is(StatusAlive), is(StatusLeaving), Leaving},
		{is(StatusAlive), is(StatusLeft), Left},
		{is(StatusAlive), is(StatusFailed), Failed},
		{is(StatusLeaving), is(StatusLeaving), 0},
		{is(StatusLeaving), is(StatusAlive), Updated},
		{is(StatusLeaving), restarted, Restarted},
		{is(StatusLeaving), is(StatusLeft), Left},
		{is(StatusLeft), is(StatusLeft), 0},
		{is(StatusLeft), is(StatusAlive), Returned},
		{is(StatusFailed), restarted, Returned},
		{is(StatusFailed), is(StatusLeft), Left},
		{is(StatusFailed), is(StatusFailed), 0},
	} {
		if got := kindOf(tc.prev, tc.next); got != tc.want {
			t.Errorf("%s(%d) → %s(%d): %s, want %s", tc.prev.Status, tc.prev.Incarnation, tc.next.Status, tc.next.Incarnation, got, tc.want)
		}
	}
}

// TestBoardModel: whatever happens and however slowly they read, what readers
// are told adds up to what is.
func TestBoardModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBoard()
		model := map[string]Member{}
		seen := map[string]Member{} // what the reader has put together from changes
		r := &reader{wake: make(chan struct{}, 1)}
		if first, err := b.join(r); err != nil || len(first.Members) != 0 {
			t.Fatal(first, err)
		}
		read := func(t *rapid.T) {
			view, ok, err := b.take(r)
			if err != nil || !ok {
				return
			}
			for _, c := range view.Changes {
				if got := seen[c.Member.Name]; c.Kind != Unreachable && c.Kind != Reachable && got.Status != c.Previous.Status {
					t.Fatalf("%s of %s says it was %s, the reader had %s", c.Kind, c.Member.Name, c.Previous.Status, got.Status)
				}
				if c.Kind == Forgotten {
					delete(seen, c.Member.Name)
				} else {
					seen[c.Member.Name] = c.Member
				}
			}
			for _, m := range view.Members {
				if got := seen[m.Name]; got.Status != m.Status || got.Incarnation != m.Incarnation || got.Unreachable != m.Unreachable {
					t.Fatalf("the changes add up to %+v, the view has %+v", got, m)
				}
			}
			if len(view.Members) != len(seen) || !slices.IsSortedFunc(view.Members, Compare) {
				t.Fatalf("view %v, reader %v", view.Members, slices.Collect(maps.Keys(seen)))
			}
		}
		names := rapid.SampledFrom([]string{"a", "b", "c", "d"})
		statuses := rapid.SampledFrom([]Status{StatusAlive, StatusLeaving, StatusLeft, StatusFailed})
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				name := names.Draw(t, "name")
				model[name] = member(name, statuses.Draw(t, "status"), Incarnation(rapid.IntRange(1, 3).Draw(t, "incarnation")))
				b.update(slices.Collect(maps.Values(model)), time.Now())
			},
			"forget": func(t *rapid.T) {
				delete(model, names.Draw(t, "name"))
				b.update(slices.Collect(maps.Values(model)), time.Now())
			},
			"reach": func(t *rapid.T) {
				b.reach(names.Draw(t, "name"), rapid.SampledFrom([]string{"", "refused"}).Draw(t, "reason"), rapid.Bool().Draw(t, "certain"))
			},
			"read": read,
			"": func(t *rapid.T) {
				if got := b.snapshot(); len(got) != len(model) {
					t.Fatalf("board %v, model %v", got, model)
				}
			},
		})
		read(t)
		for name, m := range model {
			if seen[name].Status != m.Status || seen[name].Incarnation != m.Incarnation {
				t.Fatalf("in the end the reader has %+v, the model %+v", seen[name], m)
			}
		}
	})
}

func TestReachOnlyMattersForLiveOthers(t *testing.T) {
	b := newBoard()
	local := member("me", StatusAlive, 1)
	local.Local = true
	b.update([]Member{local, member("up", StatusAlive, 1), member("down", StatusFailed, 1)}, time.Now())
	for name, want := range map[string]bool{"me": false, "up": true, "down": false, "stranger": false} {
		if _, told := b.reach(name, "refused", true); told != want {
			t.Errorf("%s: told %v, want %v", name, told, want)
		}
	}
	if _, again := b.reach("up", "refused again", true); again {
		t.Error("told twice")
	}
	// An uncertain failure counts from the second in a row.
	b.reach("up", "", true)
	if _, told := b.reach("up", "slow", false); told {
		t.Error("one lost packet made it unreachable")
	}
	b.reach("up", "", false)
	if _, told := b.reach("up", "slow", false); told {
		t.Error("two with a success between them made it unreachable")
	}
	if _, told := b.reach("up", "slow", false); !told {
		t.Error("two in a row did not")
	}
	// A new incarnation starts with a clean slate.
	b.update([]Member{member("up", StatusAlive, 2)}, time.Now())
	if m, _ := b.get("up"); m.Unreachable || m.Reason != "" {
		t.Errorf("the restarted member is still unreachable: %+v", m)
	}
}

func TestSinceIsTheStatusAge(t *testing.T) {
	b := newBoard()
	start := time.Now()
	b.update([]Member{member("a", StatusAlive, 1)}, start)
	b.update([]Member{member("a", StatusAlive, 1)}, start.Add(time.Minute))
	if m, _ := b.get("a"); !m.Since.Equal(start) {
		t.Errorf("Since moved by %v although nothing happened", m.Since.Sub(start))
	}
	b.update([]Member{member("a", StatusFailed, 1)}, start.Add(time.Hour))
	if m, _ := b.get("a"); !m.Since.Equal(start.Add(time.Hour)) {
		t.Error("Since did not move with the status")
	}
}

func TestReaderThatNeverReads(t *testing.T) {
	b := newBoard()
	r := &reader{wake: make(chan struct{}, 1)}
	if _, err := b.join(r); err != nil {
		t.Fatal(err)
	}
	const steps = 3 * maxPending
	for i := range steps {
		b.update([]Member{member("a", StatusAlive, Incarnation(i+1))}, time.Now())
	}
	view, ok, err := b.take(r)
	if !ok || err != nil || len(view.Changes) != maxPending || view.Skipped != steps-maxPending {
		t.Fatalf("%d changes, %d skipped, %v, %v; want %d and %d", len(view.Changes), view.Skipped, ok, err, maxPending, steps-maxPending)
	}
	if last := view.Changes[maxPending-1].Member.Incarnation; last != steps || view.Members[0].Incarnation != steps {
		t.Errorf("the newest change is %v, the view has %v; want %d", last, view.Members[0].Incarnation, steps)
	}
}

func TestWatchEnds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := newBoard()
		b.update([]Member{member("a", StatusAlive, 1)}, time.Now())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan string, 3)
		watch := func(ctx context.Context) {
			views, last := 0, error(nil)
			for _, err := range b.watch(ctx, func(*View) {}) {
				if last = err; err == nil {
					views++
				}
			}
			ended <- fmt.Sprintf("%d views, then %v", views, last)
		}
		go watch(ctx)
		synctest.Wait()
		cancel()
		if got := <-ended; got != "1 views, then <nil>" {
			t.Errorf("with its context: %s", got)
		}
		go watch(t.Context())
		synctest.Wait()
		b.update(nil, time.Now())
		b.close(ErrClosed)
		if got := <-ended; got != "2 views, then membership: closed" {
			t.Errorf("with the board: %s", got)
		}
		go watch(t.Context())
		if got := <-ended; got != "0 views, then membership: closed" {
			t.Errorf("after the end: %s", got)
		}
		for range b.watch(t.Context(), func(*View) {}) {
			break
		}
		if len(b.readers) != 0 {
			t.Errorf("%d readers are left on the board", len(b.readers))
		}
	})
}

// TestViewsAreCopies: what a user does to a view stays with the user.
func TestViewsAreCopies(t *testing.T) {
	b := newBoard()
	m := member("a", StatusAlive, 1)
	m.Tags = map[string]string{"k": "v"}
	b.update([]Member{m}, time.Now())
	got := b.snapshot()
	got[0].Tags["k"] = "changed"
	got[0].Name = "changed"
	if again, ok := b.get("a"); !ok || again.Tags["k"] != "v" {
		t.Errorf("a user's change went through: %+v", again)
	}
}

func TestWords(t *testing.T) {
	for s := StatusAlive; s <= StatusFailed; s++ {
		text, _ := s.MarshalText()
		var back Status
		if err := back.UnmarshalText(text); err != nil || back != s {
			t.Errorf("%v: %q became %v, %v", s, text, back, err)
		}
	}
	for k := Joined; k <= Forgotten; k++ {
		text, _ := k.MarshalText()
		var back ChangeKind
		if err := back.UnmarshalText(text); err != nil || back != k {
			t.Errorf("%v: %q became %v, %v", k, text, back, err)
		}
	}
	now := time.Now().Truncate(time.Microsecond)
	inc := NewIncarnation(now, 0xfffff)
	text, _ := inc.MarshalText()
	var back Incarnation
	if err := back.UnmarshalText(text); err != nil || back != inc || !back.Started().Equal(now) {
		t.Errorf("%v: %q became %v, started %v, %v", inc, text, back, back.Started(), err)
	}
	if NewIncarnation(now.Add(time.Microsecond), 0) <= inc {
		t.Error("a later start has a smaller incarnation")
	}
	for _, err := range []error{new(Status).UnmarshalText([]byte("dead")), new(ChangeKind).UnmarshalText(nil), new(Incarnation).UnmarshalText([]byte("xyz"))} {
		if err == nil {
			t.Error("nonsense was accepted")
		}
	}
	if Status(9).String() != "status(9)" || ChangeKind(99).String() != "change(99)" || !Incarnation(0).Started().IsZero() {
		t.Error("unknown values do not print")
	}
	if err := error(&NameTakenError{Name: "a"}); !errors.Is(err, ErrNameTaken) {
		t.Error("NameTakenError is not ErrNameTaken")
	}
}
