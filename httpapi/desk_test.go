package httpapi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kith-go/kith"
	"github.com/kith-go/kith/internal/outcome"
	"github.com/kith-go/kith/kithtest"
)

// pipes is a listener in memory, whose connections do not come from this machine.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}

	mu   sync.Mutex
	cut  bool
	open []net.Conn
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return nil, errors.New("refused")
	}
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		p.open = append(p.open, near)
		return near, nil
	case <-p.done:
		return nil, errors.New("refused")
	}
}

// setCut cuts the listener off, or makes it reachable again.
func (p *pipes) setCut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut = cut; cut {
		for _, c := range p.open {
			c.Close()
		}
		p.open = nil
	}
}

// bubble is a cluster in virtual time, each node with an API.
type bubble struct {
	t *testing.T
	*kithtest.Cluster
	apis map[string]*pipes
}

// idleInBubble is how long idle connections stay that hold nothing.
const idleInBubble = 8 * time.Second

func inBubble(t *testing.T, n int, fn func(t *testing.T, b *bubble)) {
	kithtest.Virtual(t, n, kithtest.Options{Seed: 1}, func(t *testing.T, c *kithtest.Cluster) {
		c.AwaitAlive()
		b := &bubble{t, c, make(map[string]*pipes)}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for _, node := range c.Nodes() {
			p := newPipes()
			b.apis[node.Name()] = p
			h := New(node, Options{})
			h.idle = idleInBubble
			wg.Go(func() {
				if err := Serve(ctx, p, h); err != nil {
					t.Errorf("serving: %v", err)
				}
			})
		}
		defer wg.Wait()
		defer cancel()
		fn(t, b)
	})
}

// wire opens a connection to a node's API.
func (b *bubble) wire(node, id string) *wire {
	conn, err := b.apis[node].dial(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	return newWire(b.t, conn, id)
}

// client returns a client for some of the nodes.
func (b *bubble) client(nodes ...string) *Client {
	var bases []string
	for _, n := range nodes {
		bases = append(bases, "http://"+n+".localhost")
	}
	c, err := NewClient(strings.Join(bases, ","), "")
	if err != nil {
		b.t.Fatal(err)
	}
	began := time.Now()
	c.clock = func() time.Duration { return time.Since(began) }
	for _, h := range []*http.Client{c.http, c.patient} {
		h.Transport = &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			name, _, _ := strings.Cut(addr, ".")
			return b.apis[name].dial(ctx)
		}}
		h.Transport = hostRewriter{h.Transport}
	}
	return c
}

// hostRewriter says localhost to servers that let no other name in.
type hostRewriter struct{ http.RoundTripper }

func (h hostRewriter) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host = "localhost"
	return h.RoundTripper.RoundTrip(r)
}

func (h hostRewriter) CloseIdleConnections() {
	h.RoundTripper.(*http.Transport).CloseIdleConnections()
}

// goneAfter waits until nobody holds the lock, and returns how long that took.
func (b *bubble) goneAfter(lock string) time.Duration {
	began := time.Now()
	see := b.wire("charlie", "")
	b.Await("nobody holds "+lock, func() bool {
		see.say("GET", "/locks/"+lock, "")
		return see.hear().body == "[]"
	})
	see.Close()
	return time.Since(began)
}

// between fails the test unless d is about a TTL.
func (b *bubble) about(what string, d, ttl time.Duration) {
	if d < ttl-100*time.Millisecond || d > 2*ttl {
		b.t.Errorf("%s: released after %v, with a TTL of %v", what, d, ttl)
	}
}

// TestKeptByConnections: what a client holds by its ID, or by a connection from elsewhere,
// stays while a connection of the client's is open, however idle, and for the TTL after.
func TestKeptByConnections(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bubble) {
		for _, id := range []string{"", "cid"} {
			bystander := b.wire("bravo", "")
			bystander.do("GET", "/status", 200, "?")
			holder := b.wire("bravo", id)
			holder.do("POST", "/locks/k", 200, "")
			time.Sleep(2 * idleInBubble)
			holder.do("GET", "/locks/k", 200, `["*"]`)
			if _, err := bystander.r.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("an idle connection that holds nothing: %v", err)
			}
			if id != "" { // another connection will do
				second := b.wire("bravo", id)
				second.do("GET", "/status", 200, "?")
				holder.Close()
				holder = second
				time.Sleep(4 * DefaultSessionTTL)
				holder.do("GET", "/locks/k", 200, `["*"]`)
			}
			holder.Close()
			b.about("by connection, client "+id, b.goneAfter("k"), DefaultSessionTTL)
		}
	})
}

// TestRequestsKeep: a client that opens a connection for each request keeps what it holds
// for as long as one comes within each TTL.
func TestRequestsKeep(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bubble) {
		for i := range 10 {
			w := b.wire("bravo", "cid")
			if i == 0 {
				w.do("POST", "/locks/k", 200, "")
			}
			w.do("GET", "/locks/k", 200, `["*"]`)
			w.Close()
			time.Sleep(DefaultSessionTTL - 500*time.Millisecond)
		}
		other := b.wire("charlie", "cid")
		other.do("GET", "/locks/k", 200, `["*"]`) // it sees itself by any agent
		other.do("DELETE", "/locks/k", 200, "")   // and can release there
		other.do("DELETE", "/locks/k", 409, "")
	})
}

// TestStrictSession: what was opened as a session is kept by renewals, of whichever node, and
// by nothing else.
func TestStrictSession(t *testing.T) {
	const ttl = 3 * time.Second
	inBubble(t, 3, func(t *testing.T, b *bubble) {
		w := b.wire("alpha", "cid")
		w.say("POST", "/sessions/cid?ttl=3000", "")
		first := w.hear()
		if first.code != 200 || !strings.Contains(first.body, `"ttl_ms":3000`) || !strings.Contains(first.body, `"client":"cid"`) {
			t.Fatalf("%+v", first)
		}
		w.do("POST", "/locks/k", 200, "")
		other := b.wire("bravo", "cid")
		for range 5 {
			time.Sleep(ttl - 200*time.Millisecond)
			other.say("POST", "/sessions/cid?ttl=3000", "")
			if again := other.hear(); again.body != first.body {
				t.Fatalf("renewed by another node: %+v", again)
			}
			w.do("GET", "/locks/k", 200, `["*"]`)
		}
		other.say("GET", "/sessions", "")
		if list := other.hear(); !strings.Contains(list.body, `"client": "cid"`) || strings.Contains(list.body, `"node"`) {
			t.Errorf("sessions: %s", list.body)
		}
		b.about("not renewed", b.goneAfter("k"), ttl)
		w.do("DELETE", "/locks/k", 409, "")
		w.do("POST", "/locks/k", 200, "") // it gets a session that the agent keeps
		time.Sleep(5 * DefaultSessionTTL)
		w.do("DELETE", "/locks/k", 200, "")
		w.say("POST", "/sessions/cid?ttl=3000", "")
		w.hear()
		w.do("POST", "/locks/k", 200, "")
		other = b.wire("bravo", "cid")
		other.say("DELETE", "/sessions/cid", "")
		if got := other.hear(); got.code != 200 {
			t.Errorf("ending a session: %+v", got)
		}
		w.do("GET", "/locks/k", 200, `[]`)
		w.say("DELETE", "/sessions/cid", "")
		if got := w.hear(); got.code != 503 || !strings.Contains(got.body, "session ended") {
			t.Errorf("ending what has ended: %+v", got)
		}
	})
}

// TestSessionStopsFirst: a client that cannot renew gives up before another holds the lock
// (S11), and is told why.
func TestSessionStopsFirst(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bubble) {
		ctx := t.Context()
		first, err := b.client("alpha", "bravo").Session(ctx, SessionOptions{TTL: 3 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		held, err := first.Lock(ctx, "k", LockOptions{Name: "one"})
		if err != nil {
			t.Fatal(err)
		}
		second, err := b.client("charlie").Session(ctx, SessionOptions{TTL: 3 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		granted := make(chan time.Time, 1)
		go func() {
			next, err := second.Lock(ctx, "k", LockOptions{})
			if err != nil || next.Token() <= held.Token() {
				t.Errorf("the next holder: %v", err)
			}
			granted <- time.Now()
		}()
		time.Sleep(20 * time.Second)
		b.apis["alpha"].setCut(true) // the other address does as well
		time.Sleep(20 * time.Second)
		if err := held.Context().Err(); err != nil {
			t.Fatalf("lost although one agent can be reached: %v", context.Cause(held.Context()))
		}
		cut := time.Now()
		b.apis["bravo"].setCut(true)
		<-held.Context().Done()
		stopped := time.Now()
		at := <-granted
		t.Logf("cut off, it stopped after %v, and the next one held after %v", stopped.Sub(cut), at.Sub(cut))
		if cause := context.Cause(held.Context()); !errors.Is(cause, kith.ErrSessionEnded) || at.Before(stopped.Add(DefaultSessionGrace)) {
			t.Errorf("stopped at %v with %v, the next one held at %v", stopped, cause, at)
		}
		if err := held.Release(ctx); !errors.Is(err, kith.ErrSessionEnded) || outcome.Of(err) != outcome.NotDone {
			t.Errorf("releasing what was lost: %v", err)
		}
		if _, err := first.Lock(ctx, "other", LockOptions{}); !errors.Is(err, kith.ErrSessionEnded) {
			t.Errorf("locking under a session that is over: %v", err)
		}
		first.Close(ctx)
		if err := second.Close(ctx); err != nil {
			t.Error(err)
		}
		if d := b.goneAfter("k"); d > time.Second {
			t.Errorf("closing the session released after %v", d)
		}
	})
}

// TestWaitSurvivesAgent: a wait goes on at another agent when its own ends, and leaves
// nothing at the first.
func TestWaitSurvivesAgent(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bubble) {
		ctx := t.Context()
		holder := b.wire("charlie", "holder")
		holder.do("POST", "/locks/k", 200, "")
		s, err := b.client("alpha", "bravo").Session(ctx, SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() {
			held, err := s.Lock(ctx, "k", LockOptions{})
			if err == nil {
				err = held.Release(ctx)
			}
			got <- err
		}()
		queued := func(n int) func() bool {
			return func() bool {
				q, err := b.client("charlie").ExplainLock(ctx, "k")
				return err == nil && len(q.Places) == n
			}
		}
		b.Await("it waits", queued(2))
		b.apis["alpha"].setCut(true)
		time.Sleep(30 * time.Second)
		b.Await("it waits at bravo, and there only", queued(2))
		holder.do("DELETE", "/locks/k", 200, "")
		if err := <-got; err != nil {
			t.Error(err)
		}
		b.Await("nobody is left", queued(0))
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}

// TestTakenOverSession: who takes over a session that a former process has left renews it
// as often as its own time to live asks for.
func TestTakenOverSession(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bubble) {
		const ttl = 2 * time.Second
		c := b.client("alpha")
		defer c.Close()
		former, err := c.Session(t.Context(), SessionOptions{ID: "a", TTL: ttl})
		if err != nil {
			t.Fatal(err)
		}
		former.cancel(errors.New("its process has crashed"))
		s, err := c.Session(t.Context(), SessionOptions{ID: "a", TTL: time.Hour})
		if err != nil || s.Number() != former.Number() {
			t.Fatal(s, err)
		}
		defer s.Close(context.Background())
		time.Sleep(5 * ttl)
		if err := context.Cause(s.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestReleasedElsewhere: a lock that was released through one agent can be had again through
// the other one at once, though that has not heard of it yet.
func TestReleasedElsewhere(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, b *bubble) {
		one, other := b.wire("alpha", "a"), b.wire("bravo", "a")
		one.do("POST", "/sessions/a?ttl=1m", 200, "?")
		for range 3 {
			one.do("POST", "/locks/k", 200, "?")
			other.do("DELETE", "/locks/k", 200, "?")
		}
		other.do("POST", "/locks/k", 200, "?")
		one.do("DELETE", "/locks/k", 200, "?")
		other.do("POST", "/locks/k", 200, "?")
	})
}
