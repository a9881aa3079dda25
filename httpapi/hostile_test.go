package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/internal/queue"
)

// TestPlacesRefused: what makes no sense is refused with a status and a reason, and
// leaves nothing behind.
func TestPlacesRefused(t *testing.T) {
	addr, node, _ := oneNode(t)
	base := "http://" + addr
	const id, session = "X-Client-Id", "X-Session"
	long := strings.Repeat("x", 10<<10)
	for _, tt := range []struct {
		method, target, body string
		header               []string
		code                 int
		reason               string
	}{
		{"GET", "/locks", "", nil, 404, ""},
		{"GET", "/groups/", "", nil, 404, ""},
		{"GET", "/locks//", "", nil, 400, "invalid"},
		{"POST", "/locks/%ff", "", nil, 400, "invalid"},
		{"POST", "/locks/k?limit=x", "", nil, 400, "invalid"},
		{"POST", "/locks/k?limit=1&limit=2", "", nil, 400, "invalid"},
		{"POST", "/locks/k?timeuot=5", "", nil, 400, "invalid"},
		{"POST", "/locks/k?timeout=-5", "", nil, 400, "invalid"},
		{"POST", "/locks/k?attempt=-1", "", nil, 400, "invalid"},
		{"POST", "/locks/k?instead=a", "", nil, 400, "invalid"},
		{"POST", "/locks/k?name=%ff", "", nil, 400, "invalid"},
		{"POST", "/locks/" + long, "", nil, 413, "too large"},
		{"POST", "/groups/g?name=" + long, "", nil, 413, "too large"},
		{"POST", "/locks/k", "", []string{id, strings.Repeat("x", maxClientID+1)}, 400, "invalid"},
		{"POST", "/locks/k", "", []string{id, "a\xff"}, 400, "invalid"},
		{"POST", "/locks/k", "", []string{session, "5"}, 400, "invalid"},
		{"POST", "/locks/k", "", []string{id, "a", session, "five"}, 400, "invalid"},
		{"POST", "/locks/k", "", []string{id, "a", session, "5"}, 503, "session ended"},
		{"POST", "/sessions/a%1fb", "", nil, 400, "invalid"},
		{"POST", "/sessions/a", "", []string{id, "b"}, 400, "invalid"},
		{"POST", "/sessions/a?ttl=forever", "", nil, 400, "invalid"},
		{"POST", "/sessions/a", "", []string{session, "5", id, "a"}, 503, "session ended"},
		{"PUT", "/sessions/a", "", nil, 405, ""},
		{"DELETE", "/sessions/a", "", nil, 503, "session ended"},
		{"DELETE", "/locks/k", "", nil, 409, "not held"},
		{"DELETE", "/locks/k?token=18446744073709551615", "", nil, 409, "not held"},
		{"DELETE", "/locks/k?break=true", "", nil, 400, "invalid"},
		{"DELETE", "/locks/k?break=true&token=7", "", nil, 409, "not held"},
		{"PUT", "/groups/g", "v", nil, 409, "not held"},
		{"PATCH", "/locks/k?token=7", "v", nil, 409, "not held"},
		{"GET", "/locks/k?explain=perhaps", "", nil, 400, "invalid"},
		{"GET", "/groups/g?limit=-1", "", nil, 400, "invalid"},
	} {
		r := send(t, base, tt.method, tt.target, tt.body, tt.header...)
		what := fmt.Sprintf("%s %.40s %q", tt.method, tt.target, tt.header)
		if r.code != tt.code || tt.reason != "" && !strings.Contains(r.body, fmt.Sprintf("%q", tt.reason)) {
			t.Errorf("%s: %d %s, want %d %q", what, r.code, r.body, tt.code, tt.reason)
		}
		if tt.reason != "" {
			r.refused(t, what, tt.code, tt.reason, outcome.NotDone)
		}
	}
	for _, kind := range []kith.QueueKind{kith.LockQueue, kith.GroupQueue} {
		reader := node.Client("", 0)
		defer reader.Close()
		for _, name := range []string{"k", "g"} {
			if q, err := reader.Look(t.Context(), kith.QueueName{Kind: kind, Name: name}); err != nil || len(q.Places) != 0 {
				t.Errorf("left behind: %+v, %v", q, err)
			}
		}
	}
}

// TestForeignPlaces: nobody gives up, or changes, what is another's, even if it knows the
// token.
func TestForeignPlaces(t *testing.T) {
	addr, _, _ := oneNode(t)
	a, b := dial(t, addr, "a"), dial(t, addr, "b")
	token := a.do("POST", "/locks/k", 200, "").header.Get("X-Token")
	b.do("DELETE", "/locks/k", 409, "")
	b.do("DELETE", "/locks/k?token="+token, 409, "")
	b.do("DELETE", "/locks/k?name=a", 409, "")
	b.do("PUT", "/locks/k?token="+token, 409, "")
	b.say("POST", "/sessions/b", "")
	session := b.hear().header.Get("X-Revision")
	send(t, "http://"+addr, "DELETE", "/locks/k?token="+token, "", "X-Client-Id", "b", "X-Session", session).refused(t, "with a session", 409, "not held", outcome.NotDone)
	a.do("GET", "/locks/k", 200, `["*"]`)
	a.do("POST", "/locks/k", 200, "")
	waiting := dial(t, addr, "b")
	waiting.say("POST", "/locks/k?name=x", "")
	eventually(t, "it waits", func() bool {
		b.say("GET", "/locks/k?explain=1", "")
		return strings.Count(b.hear().body, `"token"`) == 2
	})
	b.do("POST", "/locks/k?name=x", 409, "") // it has a place under that name, and does not hold
	b.do("DELETE", "/locks/k?name=x", 200, "")
	if got := waiting.hear(); got.code != 409 {
		t.Errorf("a wait whose place was given up: %+v", got)
	}
}

// TestWaitsAreBounded: so many wait, and no more; ordinary requests are in nobody's way.
func TestWaitsAreBounded(t *testing.T) {
	addr, _, h := oneNode(t)
	h.waits = make(chan struct{}, 1)
	a, b := dial(t, addr, "a"), dial(t, addr, "b")
	a.do("POST", "/locks/k", 200, "")
	eventually(t, "a waits no more", func() bool { return len(h.waits) == 0 })
	b.say("POST", "/locks/k", "")
	eventually(t, "it waits", func() bool { return len(h.waits) == 1 })
	c := dial(t, addr, "c")
	if got := c.do("POST", "/locks/k", 503, ""); got.header.Get("Retry-After") == "" {
		t.Error("it is not said when to come back")
	}
	c.do("GET", "/locks/k", 200, `["a"]`)
	a.do("DELETE", "/locks/k", 200, "")
	if got := b.hear(); got.code != 200 {
		t.Errorf("%+v", got)
	}
	eventually(t, "the place is free", func() bool { return len(h.waits) == 0 })
}

// TestWaitOutlivesTimeouts: the time-outs of the server are for ordinary requests, and
// its end is told.
func TestWaitOutlivesTimeouts(t *testing.T) {
	node, err := kith.Start(t.Context(), kith.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	h := New(node, Options{})
	h.timeout = 30 * time.Millisecond
	addr, stop := serving(t, h)
	a, b := dial(t, addr, "a"), dial(t, addr, "b")
	a.do("POST", "/locks/k", 200, "")
	eventually(t, "a waits no more", func() bool { return len(h.waits) == 0 })
	b.say("POST", "/locks/k", "some data")
	eventually(t, "it waits", func() bool { return len(h.waits) == 1 })
	time.Sleep(4 * h.timeout) // the time-out itself is what is waited for
	a.do("DELETE", "/locks/k", 200, "")
	if got := b.hear(); got.code != 200 {
		t.Fatalf("after the time-out: %+v", got)
	}
	eventually(t, "b waits no more", func() bool { return len(h.waits) == 0 })
	a.say("POST", "/locks/k", "")
	eventually(t, "it waits again", func() bool { return len(h.waits) == 1 })
	anonymous := dial(t, addr, "")
	anonymous.do("POST", "/locks/other", 200, "")
	if err := stop(); err != nil {
		t.Error(err)
	}
	if got := a.hear(); got.code != 503 || !strings.Contains(got.body, "closed") {
		t.Errorf("at the server's end: %+v", got)
	}
	reader := node.Client("", 0)
	defer reader.Close()
	if q, err := reader.Look(t.Context(), kith.QueueName{Name: "other"}); err != nil || len(q.Places) != 0 {
		t.Errorf("held by a connection that is closed: %+v, %v", q, err)
	}
}

// TestUnattended: a handler behind somebody else's server holds nothing, since it would not
// be told of the end of connections.
func TestUnattended(t *testing.T) {
	_, _, h := oneNode(t)
	srv, c := serve(t, h, "")
	send(t, srv.URL, "POST", "/locks/k", "").refused(t, "holding", 501, "unattended", outcome.NotDone)
	send(t, srv.URL, "GET", "/locks/k", "").want(t, "looking", 200, "0")
	s, err := c.Session(t.Context(), SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lock(t.Context(), "k", LockOptions{}); err == nil || outcome.Of(err) != outcome.NotDone {
		t.Errorf("locking: %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestPlacesGuarded: the routes are behind the same guard as all others.
func TestPlacesGuarded(t *testing.T) {
	_, node, _ := oneNode(t)
	addr, _ := serving(t, New(node, Options{Token: "secret"}))
	for _, target := range []string{"/locks/k", "/groups/g", "/sessions/c"} {
		send(t, "http://"+addr, "POST", target, "").want(t, target, http.StatusUnauthorized, "")
	}
	open, _ := serving(t, New(node, Options{}))
	for _, target := range []string{"/locks/k", "/groups/g", "/sessions/c"} {
		send(t, "http://"+open, "POST", target, "", "Origin", "http://evil.example").want(t, target, http.StatusForbidden, "")
	}
}

// TestMemberNames: a name is shown as it was given, whatever it looks like, and no attempt has
// the place of another.
func TestMemberNames(t *testing.T) {
	seen := make(map[string]string)
	for _, name := range []string{"a", "a#", "a#1", "#1", "a#1#2", "#", "a#x", "a#1x"} {
		for _, attempt := range []uint64{0, 1, 1<<64 - 1} {
			member := memberName(name, attempt)
			if got := queue.Name(member); got != name {
				t.Errorf("%q, attempt %d, is shown as %q", name, attempt, got)
			}
			if other, twice := seen[member]; twice {
				t.Errorf("%q, attempt %d, has the place of %s", name, attempt, other)
			}
			seen[member] = fmt.Sprintf("%q, attempt %d", name, attempt)
		}
	}
}

// FuzzIdentity: no ID that is let in is taken for another client's, or for a connection.
func FuzzIdentity(f *testing.F) {
	f.Add("cid", "alpha", "")
	f.Add("127.0.0.1:5", "alpha", "ABC")
	f.Fuzz(func(t *testing.T, name, node, connection string) {
		clean := func(s string) bool { return checkClientID(s) == nil && utf8.ValidString(s) }
		decodeIdentity(name) // whatever somebody else has written
		if !clean(name) || !clean(node) || !clean(connection) || node == "" && connection != "" {
			return
		}
		i := identity{name, node, connection}
		if got := decodeIdentity(i.encode()); got != i {
			t.Errorf("%+v comes back as %+v", i, got)
		}
	})
}

// TestStrangeAnswers: a client that is answered by something else says so.
func TestStrangeAnswers(t *testing.T) {
	_, c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("{}")) }), "")
	if _, err := c.Session(t.Context(), SessionOptions{}); !errors.Is(err, errStranger) {
		t.Errorf("session: %v", err)
	}
	if _, _, err := c.Owners(t.Context(), "k"); !errors.Is(err, errStranger) {
		t.Errorf("owners: %v", err)
	}
}

// hangUp is a client that is gone as soon as it has its answer.
type hangUp struct {
	*httptest.ResponseRecorder
	gone context.CancelFunc
}

func (h hangUp) FlushError() error {
	h.gone()
	return nil
}

// TestAnsweredHolds: what a client was told to hold is not taken back because it has hung
// up after the answer, as command lines do.
func TestAnsweredHolds(t *testing.T) {
	_, node, h := oneNode(t)
	desk := newDesk(node, time.Minute, h.log)
	ctx, cancel := context.WithCancel(t.Context())
	ctx = context.WithValue(ctx, connectionKey{}, &connection{desk: desk, id: "one", callers: make(map[*caller]bool)})
	r := httptest.NewRequestWithContext(ctx, "POST", "/locks/k", nil)
	r.Host = "localhost"
	r.Header.Set(clientHeader, "a")
	w := hangUp{httptest.NewRecorder(), cancel}
	h.ServeHTTP(w, r)
	for _, c := range desk.callers {
		c.close()
	}
	owners, err := node.Lock("k").Owners(t.Context())
	if w.Code != 200 || err != nil || len(owners) != 1 {
		t.Errorf("answered %d, then held by %v, %v", w.Code, owners, err)
	}
}

// TestLateRenewal: what a renewal finds out that was begun before a client's last request
// is not about the session that this one has opened.
func TestLateRenewal(t *testing.T) {
	_, node, h := oneNode(t)
	desk := newDesk(node, time.Minute, h.log)
	conn := &connection{desk: desk, id: "one", callers: make(map[*caller]bool)}
	c, done, err := desk.attend(identity{name: "a", node: desk.name()}, conn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	done()
	desk.renew(c, c.usedAt.Add(-time.Millisecond))
	if !c.may {
		t.Error("the client's session is not kept any more")
	}
	desk.renew(c, c.usedAt)
	if c.may {
		t.Error("a session that has ended is renewed for ever")
	}
}
