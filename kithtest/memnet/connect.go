package memnet

import (
	"context"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// listener is a TCP listener. All but the first group of fields needs the network's mutex.
type listener struct {
	net   *Network
	host  *Host
	local netip.AddrPort

	queue  queue[*conn] // established, not yet accepted
	gate   gate
	closed bool
}

func (l *listener) bound() netip.AddrPort { return l.local }
func (l *listener) Addr() net.Addr        { return net.TCPAddrFromAddrPort(l.local) }

func (l *listener) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: l.Addr(), Err: err}
}

func (l *listener) Accept() (net.Conn, error) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	for {
		switch {
		case l.closed:
			return nil, l.fail("accept", net.ErrClosed)
		case l.gate.expired():
			return nil, l.fail("accept", os.ErrDeadlineExceeded)
		case !l.host.paused && l.queue.len() > 0:
			return l.queue.pop(), nil
		}
		l.gate.wait()
	}
}

// SetDeadline bounds Accept, as that of *net.TCPListener does.
func (l *listener) SetDeadline(t time.Time) error {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if l.closed {
		return l.fail("set", net.ErrClosed)
	}
	l.gate.setDeadline(t)
	return nil
}

// Close resets the connections that were not accepted.
func (l *listener) Close() error {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if l.closed {
		return l.fail("close", net.ErrClosed)
	}
	l.closeLocked((*conn).abort)
	return nil
}

func (l *listener) closeLocked(closeConn func(*conn)) {
	l.closed = true
	l.host.tcp.remove(l)
	for l.queue.len() > 0 {
		closeConn(l.queue.pop())
	}
	l.gate.close()
}

// Dial opens a TCP connection to "host:port", host being an address or a name; without host it is
// this host. It waits for the answer until ctx ends: through cuts, and while the other host is off.
// It fails with ECONNREFUSED where nobody listens, and EHOSTUNREACH at once for an address that
// belongs to no [Host]. Of a name with several addresses each is tried in turn, with its share of
// the time ctx leaves; the first error is returned if all fail.
func (h *Host) Dial(ctx context.Context, address string) (net.Conn, error) {
	host, port, err := split(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	if host == "" {
		host = loopback(h.addr).String()
	}
	addrs, err := h.Resolve(ctx, host)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	var first error
	for i, addr := range addrs {
		if addr.IsUnspecified() {
			addr = loopback(addr)
		}
		to := netip.AddrPortFrom(addr, port)
		c, err := h.dialShare(ctx, to, len(addrs)-i)
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
		}
	}
	return nil, first
}

// dialShare dials one address in its share of the time left for several.
func (h *Host) dialShare(ctx context.Context, to netip.AddrPort, parts int) (*conn, error) {
	if deadline, ok := ctx.Deadline(); ok && parts > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(parts))
		defer cancel()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return h.dial(ctx, to)
}

func (h *Host) dial(ctx context.Context, to netip.AddrPort) (*conn, error) {
	h.net.mu.Lock()
	c, err := h.connectLocked(to)
	h.net.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var ended error // under the mutex
	stop := context.AfterFunc(ctx, func() {
		err := ctx.Err()
		h.net.mu.Lock()
		defer h.net.mu.Unlock()
		ended = err
		c.rd.cond.Broadcast()
	})
	defer stop()
	return c, c.connect(&ended)
}

// connect asks for the connection and waits for the answer, or until ended is set.
func (c *conn) connect(ended *error) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if !c.closed {
		c.out.signal(syn)
	}
	for {
		switch {
		case c.closed:
			return net.ErrClosed
		case *ended != nil:
			c.abort()
			return *ended
		case c.host.paused:
		case c.established:
			c.net.stats.DialsEstablished++
			return nil
		case c.reset:
			c.detach()
			c.net.stats.DialsRefused++
			return os.NewSyscallError("connect", syscall.ECONNREFUSED)
		}
		c.rd.wait()
	}
}

// connectLocked makes both ends of a connection, of which the far one is known to nobody yet.
func (h *Host) connectLocked(to netip.AddrPort) (*conn, error) {
	n := h.net
	n.stats.Dials++
	if err := h.downLocked(); err != nil {
		return nil, err
	}
	if h.dead {
		return nil, net.ErrClosed
	}
	there := h.pathTo(to.Addr())
	far := n.hostLocked(there)
	if far == nil {
		return nil, os.NewSyscallError("connect", syscall.EHOSTUNREACH)
	}
	from := netip.AddrPortFrom(h.addr, h.tcp.free())
	if to.Addr().IsLoopback() {
		from = netip.AddrPortFrom(to.Addr(), from.Port())
	}
	there.dials++
	back := far.pathTo(h.addr)
	near, remote := n.newConn(h, from, to), n.newConn(far, to, from)
	near.peer, remote.peer = remote, near
	near.out = half{src: near, dst: remote, path: there, back: back,
		dice: newDice(n.seed, there.pair, there.dials, 1)}
	remote.out = half{src: remote, dst: near, path: back, back: there,
		dice: newDice(n.seed, there.pair, there.dials, 2)}
	n.conns[near] = struct{}{}
	return near, nil
}

func (n *Network) newConn(h *Host, local, remote netip.AddrPort) *conn {
	n.lastConn++
	c := &conn{net: n, id: n.lastConn, host: h, local: local, remote: remote}
	c.rd.init(&n.mu)
	c.wr.init(&n.mu)
	return c
}

func (c *conn) backlogFull() bool {
	l := c.host.tcp.find(c.local)
	return l != nil && l.queue.len() >= backlog
}

// admit is what the far kernel does when a connection is asked for.
func (c *conn) admit() {
	l := c.host.tcp.find(c.local)
	if l == nil {
		c.closed = true
		c.out.reset()
		return
	}
	c.established = true
	c.net.conns[c] = struct{}{}
	l.queue.push(c)
	l.gate.cond.Broadcast()
	c.out.signal(synAck)
}
