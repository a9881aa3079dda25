package transport

import (
	"bytes"
	"sync"
	"testing"

	"github.com/kith-go/kith/internal/bubble"
)

// fakeEngine lets a test be the engine.
type fakeEngine struct{ setup Setup }

func (e *fakeEngine) Start(s Setup) error { e.setup = s; return nil }
func (e *fakeEngine) SetPeers([]Address)  {}
func (e *fakeEngine) Close() error        { return nil }

// fakeConn remembers what is sent, or refuses it.
type fakeConn struct {
	mu      sync.Mutex
	refuse  error
	backlog int
	sent    []Packet
	during  func(kind) // called while a packet is sent, if not nil
}

func (c *fakeConn) Send(packets ...Packet) error {
	if during := c.hook(); during != nil {
		for _, p := range packets {
			during(kind(p.Head[0]))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse != nil {
		return c.refuse
	}
	for _, p := range packets {
		c.sent = append(c.sent, Packet{bytes.Clone(p.Head), p.Body})
	}
	return nil
}

func (c *fakeConn) Backlog() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.backlog
}

func (c *fakeConn) hook() func(kind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.during
}

func (c *fakeConn) meanwhile(f func(kind)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.during = f
}

func (c *fakeConn) set(refuse error, backlog int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse, c.backlog = refuse, backlog
}

// heads returns what was sent since the last time, and forgets it.
func (c *fakeConn) heads(t testing.TB) (heads []head, bodies [][]byte) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.sent {
		h, err := parseHead(p.Head)
		if err != nil {
			t.Fatal(err)
		}
		heads, bodies = append(heads, h), append(bodies, p.Body)
	}
	c.sent = nil
	return heads, bodies
}

// kinds returns the kinds of what was sent since the last time.
func (c *fakeConn) kinds(t testing.TB) (kinds []kind) {
	heads, _ := c.heads(t)
	for _, h := range heads {
		kinds = append(kinds, h.kind)
	}
	return kinds
}

// lab is a messenger whose engine is the test: there is one peer, bravo, with a
// connection in either direction.
type lab struct {
	*Messenger
	t            testing.TB
	engine       *fakeEngine
	ours, theirs Line
	out, back    *fakeConn // what is sent along ours and theirs
}

func newLab(t testing.TB, c Config) *lab {
	t.Helper()
	e := &fakeEngine{}
	c.Name, c.Engine = "alpha", e
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	m.SetPeers([]Address{{Name: "bravo", Endpoint: "there"}})
	l := &lab{Messenger: m, t: t, engine: e, out: &fakeConn{}, back: &fakeConn{}}
	l.ours = e.setup.Events.Opened(l.out, Remote{Identity: Identity{"bravo", 7}, Ours: true})
	l.theirs = e.setup.Events.Opened(l.back, Remote{Identity: Identity{"bravo", 7}})
	return l
}

// rawHead writes a packet's head.
func rawHead(k kind, id uint64, value uint32, subject string) []byte {
	head, _ := appendHead(nil, k, id, value, subject, nil)
	return head
}

// inBubble runs a test with a lab in virtual time.
func inBubble(t *testing.T, c Config, f func(*testing.T, *lab)) {
	bubble.Test(t, func(t *testing.T) { f(t, newLab(t, c)) })
}
