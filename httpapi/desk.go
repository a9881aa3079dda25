package httpapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kith-go/kith"
)

const (
	// maxCallers bounds how many clients one server holds something for.
	maxCallers = 4096
	// callerIdle is how long one that has gone is remembered.
	callerIdle = time.Minute
	// endTimeout bounds how long a session's end is tried before it is left to its time.
	endTimeout = 2 * time.Second
)

// desk is where one server keeps the sessions of the clients that do not do so by
// themselves. [Serve] runs it.
type desk struct {
	node Node
	log  *slog.Logger
	ttl  time.Duration // of the sessions that it keeps

	wake chan struct{} // somebody's connection has ended
	wg   sync.WaitGroup

	mu      sync.Mutex // guards all below, and the fields of callers and connections that say so
	closed  bool
	callers map[identity]*caller
}

// caller is a client that holds something, or did lately.
type caller struct {
	identity
	// acts opens a session if it needs one, unless the client must have done so; renews
	// never does.
	acts, renews *kith.Client

	// Guarded by desk.mu.
	connections int // those that are open, of a client whose session is kept here
	requests    int // under way
	usedAt      time.Time
	renewAt     time.Time
	may         bool // have a session
	renewing    bool
	over        bool // its connection, which it was, has ended
}

// connection is a connection to the API. It is told from others by its ID, and may stay
// idle for ever while its client holds something by it.
type connection struct {
	net.Conn
	desk *desk
	id   string
	// holds and idle let it stay.
	holds, idle atomic.Bool

	callers map[*caller]bool // guarded by desk.mu
}

type connectionKey struct{}

// SetReadDeadline is called by package http. Between requests it is the end of an idle
// connection, which a client may need.
func (c *connection) SetReadDeadline(t time.Time) error {
	if c.holds.Load() && c.idle.Load() {
		t = time.Time{}
	}
	return c.Conn.SetReadDeadline(t)
}

// local reports whether the client is on this machine, where a connection ends with its
// process, and no cut can end it.
func (c *connection) local() bool {
	addr, err := netip.ParseAddrPort(c.RemoteAddr().String())
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

// deskListener makes connections of what it accepts.
type deskListener struct {
	net.Listener
	desk *desk
}

func (l deskListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, desk: l.desk, id: rand.Text(), callers: make(map[*caller]bool)}, nil
}

func newDesk(node Node, ttl time.Duration, log *slog.Logger) *desk {
	return &desk{node: node, log: log, ttl: ttl, wake: make(chan struct{}, 1), callers: make(map[identity]*caller)}
}

func (d *desk) name() string { return d.node.Status().Name }

// context and state are for an http.Server.
func (d *desk) context(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, conn)
}

func (d *desk) state(conn net.Conn, state http.ConnState) {
	c, ok := conn.(*connection)
	if !ok {
		return
	}
	c.idle.Store(state == http.StateIdle)
	if state != http.StateClosed {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for of := range c.callers {
		of.connections--
		of.usedAt = time.Now()
		of.over = of.connection != "" && c.local()
	}
	d.ring()
}

// ring has a round made at once.
func (d *desk) ring() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// attend returns the caller with that identity, for a request by conn that is to hold
// something. done ends the request's part.
func (d *desk) attend(who identity, conn *connection) (c *caller, done func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, nil, notDone(fmt.Errorf("%w: %w", kith.ErrClosed, errShutdown))
	}
	c = d.callers[who]
	if c == nil {
		if len(d.callers) >= maxCallers {
			return nil, nil, notDone(fmt.Errorf("%w: %d clients hold something here", kith.ErrOverloaded, len(d.callers)))
		}
		ttl := d.ttl
		if who.node == "" {
			ttl = 0 // it opens and renews its session by itself
		}
		id := who.encode()
		c = &caller{identity: who, acts: d.node.Client(id, ttl), renews: d.node.Client(id, 0)}
		d.callers[who] = c
	}
	if who.node != "" {
		c.may = true
		d.linkLocked(c, conn)
	}
	return c, d.useLocked(c), nil
}

// notice lets a client's request of any kind keep its session.
func (d *desk) notice(a asker) (done func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.callers[identity{name: a.id, node: d.name()}]
	if c == nil || !c.may || a.conn == nil {
		return func() {}
	}
	d.linkLocked(c, a.conn)
	return d.useLocked(c)
}

func (d *desk) linkLocked(c *caller, conn *connection) {
	if !conn.callers[c] {
		conn.callers[c] = true
		c.connections++
		conn.holds.Store(true)
	}
}

func (d *desk) useLocked(c *caller) (done func()) {
	c.requests++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		c.requests--
		c.usedAt = time.Now()
		if c.over {
			d.ring()
		}
	}
}

// run keeps sessions until ctx ends, then gives up those of connections, which are
// closed by then, and waits until nothing is left. The others last for their time.
func (d *desk) run(ctx context.Context) {
	every := d.ttl / 5
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-d.wake:
		case <-ctx.Done():
		}
		d.round(time.Now(), every)
	}
	d.mu.Lock()
	d.closed = true
	left := d.callers
	for who, c := range left {
		if who.connection != "" && c.may {
			d.wg.Go(func() { d.end(c) })
		}
	}
	d.mu.Unlock()
	d.wg.Wait()
	for _, c := range left {
		c.close()
	}
}

// round renews the sessions that are due, and ends those whose connection has ended.
func (d *desk) round(now time.Time, every time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for who, c := range d.callers {
		idle := now.Sub(c.usedAt)
		used := c.requests > 0 || c.connections > 0
		switch {
		case c.over && c.requests == 0:
			delete(d.callers, who)
			d.wg.Go(func() {
				d.end(c)
				c.close()
			})
		case who.node != "" && c.may && (used || idle < every+every/2): // once more after its last request
			if !c.renewing && !now.Before(c.renewAt) {
				c.renewing, c.renewAt = true, now.Add(every-every/10)
				usedAt := c.usedAt
				d.wg.Go(func() { d.renew(c, usedAt) })
			}
		case !used && !c.renewing && idle > callerIdle+d.ttl:
			delete(d.callers, who)
			d.wg.Go(c.close)
		}
	}
}

// renew renews the session of a client that was last used at that time.
func (d *desk) renew(c *caller, usedAt time.Time) {
	ctx, cancel := context.WithTimeout(c.renews.Context(), d.ttl)
	defer cancel()
	_, _, err := c.renews.Renew(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	c.renewing = false
	if errors.Is(err, kith.ErrSessionEnded) && c.requests == 0 && c.usedAt.Equal(usedAt) {
		c.may = false // it has one again when it next holds something
	} else if err != nil {
		d.log.Debug("a client's session was not renewed", "client", c.identity.name, "error", err)
	}
}

// end ends the session of a client that was a connection.
func (d *desk) end(c *caller) {
	ctx, cancel := context.WithTimeout(c.renews.Context(), endTimeout)
	defer cancel()
	if err := c.renews.End(ctx); err != nil && !errors.Is(err, kith.ErrSessionEnded) {
		d.log.Debug("a client's session was not ended, and lasts for its time", "client", c.identity.name, "error", err)
	}
}

func (c *caller) close() {
	c.acts.Close()
	c.renews.Close()
}
