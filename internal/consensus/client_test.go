package consensus

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/disk/memdisk"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/state"
	"github.com/kith-go/kith/internal/state/statepb"
)

// single starts a cluster of one on the bubble's clock.
func single(t *testing.T) *Replica {
	origin := time.Now()
	return alone(t, memdisk.New(), func() time.Duration { return time.Since(origin) }, 5*time.Second, slog.New(slog.DiscardHandler))
}

func has(r *Replica, id uint64) (there bool) {
	r.View(func(m *state.Machine) { _, there = m.Session(id) })
	return there
}

// A client's session lives by its renewals, ends when they stop, no sooner than its time
// is up, and the next one is another.
func TestClientSession(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const ttl = 2 * time.Second
		r := single(t)
		s, err := r.ClientSession(t.Context(), "client", ttl)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := r.ClientSession(t.Context(), "client", time.Hour); err != nil || again != s || again.SessionID() != s.ID || again.TTL != ttl {
			t.Errorf("asked again: %+v, %v; want the one that it has", again, err)
		}
		other, err := r.ClientSession(t.Context(), "other", ttl)
		if err != nil || other.ID == s.ID {
			t.Errorf("another client gets %+v, %v", other, err)
		}
		for range 10 {
			time.Sleep(ttl * 3 / 4)
			if err := s.Renew(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if other.Context().Err() == nil || has(r, other.ID) {
			t.Error("who does not renew keeps its session")
		}
		if cause := context.Cause(other.Context()); !errors.Is(cause, outcome.ErrSessionEnded) {
			t.Errorf("its end is told as %v", cause)
		}
		before := time.Now()
		if err := s.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-s.Context().Done()
		if took := time.Since(before); took < longest(ttl) || took > longest(ttl)+3*tickEvery {
			t.Errorf("the session ended %v after its last renewal, its TTL is %v", took, ttl)
		}
		err = s.Renew(t.Context())
		if !errors.Is(err, outcome.ErrSessionEnded) || outcome.Of(err) != outcome.NotDone {
			t.Errorf("renewing it after its end: %v", err)
		}
		next, err := r.ClientSession(t.Context(), "client", ttl)
		if err != nil || next.ID == s.ID || next.Context().Err() != nil {
			t.Errorf("the next one is %+v, %v", next, err)
		}
	})
}

// Ending a session ends its context here first, and again changes nothing. A handle that
// was given up although the cluster did not hear of it is no obstacle.
func TestEndClientSession(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		r := single(t)
		s, err := r.ClientSession(t.Context(), "client", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.End(gone); !errors.Is(err, context.Canceled) || s.Context().Err() == nil || !has(r, s.ID) {
			t.Errorf("%v", err)
		}
		again, err := r.ClientSession(t.Context(), "client", time.Minute)
		if err != nil || again.ID != s.ID || again.Context().Err() != nil {
			t.Fatalf("%+v, %v", again, err)
		}
		for range 2 {
			if err := again.End(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if has(r, s.ID) || again.Context().Err() == nil {
			t.Error("the session goes on")
		}
		r.sessions.mu.Lock()
		defer r.sessions.mu.Unlock()
		if len(r.sessions.clients) != 0 {
			t.Errorf("%d handles are left", len(r.sessions.clients))
		}
	})
}

// What the cluster does not take has an error that says so.
func TestClientSessionRefused(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		r := single(t)
		for client, ttl := range map[string]time.Duration{"": time.Minute, "short": time.Millisecond, "negative": -time.Second, "odd\xff": time.Minute} {
			if s, err := r.ClientSession(t.Context(), client, ttl); err == nil || outcome.Of(err) != outcome.NotDone {
				t.Errorf("%q with %v: %v, %v", client, ttl, s, err)
			}
		}
		_, err := r.Propose(t.Context(), &statepb.Command{Op: &statepb.Command_SetLimits{SetLimits: &statepb.SetLimits{Limits: &statepb.Limits{Sessions: 1}}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.ClientSession(t.Context(), "one", time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := r.ClientSession(t.Context(), "two", time.Minute); !errors.Is(err, outcome.ErrOverloaded) {
			t.Errorf("one too many: %v", err)
		}
		r.Close()
		if _, err := r.ClientSession(t.Context(), "one", time.Minute); !errors.Is(err, outcome.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// An answer is one only to who asked for it, and a former process's nonces do not
// come again.
func TestRenewalAnswers(t *testing.T) {
	q := newAsks()
	got := make(chan *ask, 1)
	a, b := q.add(7, time.Second, got), q.add(8, 2*time.Second, got)
	q.answer(8, a.nonce)
	q.answer(7, a.nonce+5)
	select {
	case <-got:
		t.Error("the answer to another question was taken")
	default:
	}
	if n := q.take(); len(n) != 2 || len(q.take()) != 0 {
		t.Errorf("sent: %v", n)
	}
	q.answer(8, b.nonce)
	if one := <-got; one != b {
		t.Errorf("%+v", one)
	}
	q.again()
	if n := q.take(); len(n) != 1 || n[0].nonce != a.nonce {
		t.Errorf("sent again: %v", n)
	}
	if !q.drop(a) || len(q.open) != 0 {
		t.Error("it was sent twice")
	}
	q.answer(7, a.nonce)
	if len(got) != 0 {
		t.Error("an answer after nobody waits")
	}
	if second := newAsks(); second.last == 0 || second.last-q.last < 1<<20 || q.last-second.last < 1<<20 {
		t.Errorf("nonces begin at %d and at %d", q.last, second.last)
	}
}

// A node that is about to go opens no other session: whoever has lost a place would take
// another, which nobody gives up.
func TestEndSessionIsTheLast(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		r := single(t)
		s, err := r.Session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := r.EndSession(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if has(r, s.ID) || s.Context().Err() == nil {
			t.Error("the session goes on")
		}
		if of, err := r.ClientSession(t.Context(), "client", time.Minute); err != nil || of.End(t.Context()) != nil {
			t.Errorf("a client's: %v", err)
		}
		next, err := r.Session(t.Context())
		if !errors.Is(err, outcome.ErrClosed) || outcome.Of(err) != outcome.NotDone {
			t.Errorf("the next one: %v, %v", next, err)
		}
		r.View(func(m *state.Machine) {
			for s := range m.Sessions() {
				t.Errorf("session %d is open", s.ID)
			}
		})
	})
}
