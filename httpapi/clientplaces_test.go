package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/outcome"
)

// sessionAt opens a session at an API, which ends with the test.
func sessionAt(t *testing.T, addr string, o SessionOptions) *Session {
	t.Helper()
	c, err := NewClient(addr, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Session(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close(context.Background())
		c.Close()
	})
	return s
}

// TestClientLocks: Lock, TryLock, Release and what they tell.
func TestClientLocks(t *testing.T) {
	addr, _, _ := oneNode(t)
	ctx := t.Context()
	renewed := make(chan time.Duration, 100)
	a := sessionAt(t, addr, SessionOptions{ID: "a", TTL: 2 * time.Second, OnRenewed: func(d time.Duration) { renewed <- d }})
	b := sessionAt(t, addr, SessionOptions{})
	const odd = "a b/ü?%2F#7&x=\"1\"/"
	held, err := a.Lock(ctx, odd, LockOptions{Name: "one#1", Data: []byte{0xff, 'x'}, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.TryLock(ctx, odd, LockOptions{})
	refused, ok := errors.AsType[*HeldError](err)
	if !ok || !errors.Is(err, ErrHeld) || refused.Holder.Token != held.Token() || refused.Holder.Name != "one#1" || refused.Holder.Client != "a" || outcome.Of(err) != outcome.NotDone {
		t.Errorf("TryLock: %v, %+v", err, refused)
	}
	if _, err := b.Lock(ctx, odd, LockOptions{Limit: 3}); !errors.Is(err, ErrLimit) || outcome.Of(err) != outcome.NotDone {
		t.Errorf("another limit: %v", err)
	}
	soon, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if _, err := b.Lock(soon, odd, LockOptions{}); !errors.Is(err, context.DeadlineExceeded) || outcome.Of(err) != outcome.NotDone {
		t.Errorf("the time was up: %v", err)
	}
	gone, hangUp := context.WithCancel(ctx)
	hungUp := make(chan error, 1)
	go func() {
		_, err := b.Lock(gone, odd, LockOptions{})
		hungUp <- err
	}()
	places := func() []Place {
		q, err := a.Client().ExplainLock(ctx, odd)
		if err != nil {
			t.Fatal(err)
		}
		return q.Places
	}
	eventually(t, "one waits", func() bool { return len(places()) == 2 })
	hangUp()
	if err := <-hungUp; !errors.Is(err, context.Canceled) {
		t.Errorf("hanging up: %v", err)
	}
	eventually(t, "it has left nothing", func() bool { return len(places()) == 1 })
	p := places()[0]
	if p.Name != "one#1" || string(p.Data) != "\xffx" || !p.Holds || !p.Self || p.Client != "a" || p.Token != held.Token() || p.Session != a.Number() {
		t.Errorf("explained: %+v", p)
	}
	if names, revision, err := a.Client().Owners(ctx, odd); err != nil || !slices.Equal(names, []string{"*"}) || revision == 0 {
		t.Errorf("owners, asked by the holder: %q, %v", names, err)
	}
	if names, _, err := b.Client().Owners(ctx, odd); err != nil || !slices.Equal(names, []string{"one#1"}) {
		t.Errorf("owners, asked by another: %q, %v", names, err)
	}
	if err := held.Release(ctx); err != nil || context.Cause(held.Context()) != ErrReleased {
		t.Errorf("release: %v, %v", err, context.Cause(held.Context()))
	}
	if err := held.Release(ctx); err != nil {
		t.Errorf("a second release: %v", err)
	}
	for range 2 { // that of the opening, and a renewal
		if d := <-renewed; d > a.Deadline() {
			t.Errorf("told the deadline %v, it is %v", d, a.Deadline())
		}
	}
	if left := a.Left(); left <= 0 || left > 2*time.Second {
		t.Errorf("%v are left", left)
	}
}

// TestClientSemaphore: as many as the limit says hold, two of them in one session.
func TestClientSemaphore(t *testing.T) {
	addr, _, _ := oneNode(t)
	ctx := t.Context()
	a := sessionAt(t, addr, SessionOptions{})
	two := LockOptions{Limit: 2, Name: "n"}
	first, err1 := a.Lock(ctx, "s", two)
	_, err2 := a.Lock(ctx, "s", two)
	if _, err := a.TryLock(ctx, "s", two); err1 != nil || err2 != nil || !errors.Is(err, ErrHeld) {
		t.Fatal(err1, err2, err)
	}
	if names, _, err := a.Client().As("").Owners(ctx, "s"); err != nil || !slices.Equal(names, []string{"n", "n"}) {
		t.Errorf("owners: %q, %v", names, err)
	}
	if err := first.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := a.TryLock(ctx, "s", two); err != nil {
		t.Error(err)
	}
}

// TestClientBreak: who is asked to go is told so, and goes in its own time (S13).
func TestClientBreak(t *testing.T) {
	addr, _, _ := oneNode(t)
	ctx := t.Context()
	a, b := sessionAt(t, addr, SessionOptions{}), sessionAt(t, addr, SessionOptions{})
	held, err := a.Lock(ctx, "k", LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Client().BreakLock(ctx, "k", held.Token()+1); !errors.Is(err, ErrLost) || outcome.Of(err) != outcome.NotDone {
		t.Errorf("breaking what is not there: %v", err)
	}
	if err := b.Client().BreakLock(ctx, "k", held.Token()); err != nil {
		t.Fatal(err)
	}
	<-held.Context().Done()
	if cause := context.Cause(held.Context()); cause != ErrRevoked {
		t.Errorf("told: %v", cause)
	}
	if _, err := b.TryLock(ctx, "k", LockOptions{}); !errors.Is(err, ErrHeld) {
		t.Errorf("another holds before the first one has gone: %v", err)
	}
	if err := held.Release(ctx); err != nil {
		t.Errorf("releasing what was revoked: %v", err)
	}
	if _, err := b.TryLock(ctx, "k", LockOptions{}); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// TestClientGroups: the order is that of arrival; a stream tells each change of it.
func TestClientGroups(t *testing.T) {
	addr, _, _ := oneNode(t)
	ctx := t.Context()
	a, b, c := sessionAt(t, addr, SessionOptions{ID: "a"}), sessionAt(t, addr, SessionOptions{ID: "b"}), sessionAt(t, addr, SessionOptions{ID: "c"})
	seats := make(map[*Session]Seat)
	for _, s := range []*Session{a, b, c} {
		seat, err := s.Join(ctx, "g", JoinOptions{Data: []byte(s.ID())})
		if err != nil || seat.Position() != len(seats) {
			t.Fatal(seat.Position(), err)
		}
		seats[s] = seat
	}
	if names, _, err := b.Client().Members(ctx, "g", 2); err != nil || !slices.Equal(names, []string{"a", "*"}) {
		t.Errorf("members: %q, %v", names, err)
	}
	next := pull(t, c.Client().WatchGroup(ctx, "g", 1))
	view := func() []Place {
		q, err := next()
		if err != nil {
			t.Fatal(err)
		}
		return q.Places
	}
	// The first one, and oneself.
	if v := view(); len(v) != 2 || v[0].Name != "a" || v[1].Position != 2 || !v[1].Self || v[0].Self {
		t.Errorf("at first: %+v", v)
	}
	if err := seats[b].Leave(ctx); err != nil {
		t.Fatal(err)
	}
	if v := view(); len(v) != 2 || v[1].Position != 1 {
		t.Errorf("after b has left: %+v", v)
	}
	eventually(t, "c has moved up", func() bool { return seats[c].Position() == 1 })
	if err := seats[a].Update(ctx, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if v := view(); string(v[0].Data) != "new" {
		t.Errorf("after an update: %+v", v)
	}
	if err := seats[b].Update(ctx, nil); !errors.Is(err, ErrLost) {
		t.Errorf("an update of what is not there: %v", err)
	}
	if err := a.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if v := view(); len(v) != 1 || !v[0].Self || v[0].Position != 0 {
		t.Errorf("after a has ended: %+v", v)
	}
	if cause := context.Cause(seats[a].Context()); !errors.Is(cause, kith.ErrClosed) {
		t.Errorf("a is told: %v", cause)
	}
	if err := b.Client().BreakGroup(ctx, "g", seats[c].Token()); err != nil {
		t.Fatal(err)
	}
	<-seats[c].Context().Done()
	if cause := context.Cause(seats[c].Context()); cause != ErrRevoked {
		t.Errorf("c is told: %v", cause)
	}
}

// TestClientLost: who loses a place, though its session lives, is told.
func TestClientLost(t *testing.T) {
	addr, _, _ := oneNode(t)
	ctx := t.Context()
	a := sessionAt(t, addr, SessionOptions{ID: "a"})
	held, err := a.Lock(ctx, "k", LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dial(t, addr, "a").do("DELETE", "/locks/k", 200, "") // somebody with the same ID
	<-held.Context().Done()
	if cause := context.Cause(held.Context()); cause != ErrLost {
		t.Errorf("told: %v", cause)
	}
	if err := held.Release(ctx); !errors.Is(err, ErrLost) || outcome.Of(err) != outcome.NotDone {
		t.Errorf("releasing what was lost: %v", err)
	}
	dial(t, addr, "").say("DELETE", "/sessions/a", "")
	<-a.Context().Done()
	if cause := context.Cause(a.Context()); !errors.Is(cause, kith.ErrSessionEnded) {
		t.Errorf("the session's end: %v", cause)
	}
}

// forgetful loses answers, so that nobody knows what became of the question.
type forgetful struct {
	http.RoundTripper
	lose func(*http.Request) bool
}

func (f forgetful) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := f.RoundTripper.RoundTrip(r)
	if err == nil && f.lose(r) {
		resp.Body.Close()
		return nil, io.ErrUnexpectedEOF
	}
	return resp, err
}

// TestClientLostAnswers: a client whose answers are lost holds once, and leaves once.
func TestClientLostAnswers(t *testing.T) {
	addr, _, _ := oneNode(t)
	ctx := t.Context()
	c, err := NewClient(addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var lost atomic.Int32
	var never atomic.Bool // is an answer to Lock told
	for _, h := range []*http.Client{c.http, c.patient} {
		h.Transport = forgetful{h.Transport, func(r *http.Request) bool {
			return (r.Method == http.MethodPost || r.Method == http.MethodDelete) && strings.HasPrefix(r.URL.Path, "/locks/") &&
				(lost.Add(1)%3 != 0 || never.Load() && r.Method == http.MethodPost)
		}}
	}
	s, err := c.Session(ctx, SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	other := sessionAt(t, addr, SessionOptions{})
	held, err := s.Lock(ctx, "k", LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if q, err := c.ExplainLock(ctx, "k"); err != nil || len(q.Places) != 1 || q.Places[0].Token != held.Token() {
		t.Errorf("it has %+v, %v", q.Places, err)
	}
	if err := held.Release(ctx); err != nil {
		t.Errorf("release: %v", err)
	}
	if n := lost.Load(); n < 5 {
		t.Errorf("%d answers were to be lost, with those that were not", n)
	}
	next, err := other.TryLock(ctx, "k", LockOptions{})
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	if err := next.Release(ctx); err != nil {
		t.Fatal(err)
	}
	// It takes back what it held without being told.
	gone, hangUp := context.WithTimeout(ctx, 300*time.Millisecond)
	defer hangUp()
	never.Store(true)
	if _, err := s.Lock(gone, "k", LockOptions{}); !errors.Is(err, context.DeadlineExceeded) || outcome.Of(err) != outcome.NotDone {
		t.Errorf("no answer within the time: %v", err)
	}
	eventually(t, "nobody is left", func() bool {
		q, err := c.ExplainLock(ctx, "k")
		return err == nil && len(q.Places) == 0
	})
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

// TestSessionOptions: what cannot work is refused before anything is asked.
func TestSessionOptions(t *testing.T) {
	c, err := NewClient("127.0.0.1:1", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Session(t.Context(), SessionOptions{TTL: time.Second, Grace: 600 * time.Millisecond}); outcome.Of(err) != outcome.NotDone || !errors.Is(err, errInvalidSession) {
		t.Errorf("a grace that leaves nothing: %v", err)
	}
	if _, err := c.Session(t.Context(), SessionOptions{}); outcome.Of(err) != outcome.NotDone {
		t.Errorf("nobody there: %v", err)
	} else if _, ok := errors.AsType[*UnreachableError](err); !ok {
		t.Errorf("nobody there: %v", err)
	}
	addr, _, _ := oneNode(t)
	for _, o := range []SessionOptions{{TTL: 100 * time.Millisecond, Grace: time.Millisecond}, {ID: "a\nb"}, {ID: string(make([]byte, 300))}} {
		c, _ := NewClient(addr, "")
		if _, err := c.Session(t.Context(), o); err == nil || outcome.Of(err) != outcome.NotDone {
			t.Errorf("%+v: %v", o, err)
		}
		c.Close()
	}
}
