package memnet

import (
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// conn is one end of a stream. All but the first group of fields needs the network's mutex.
type conn struct {
	net           *Network
	id            uint64
	host          *Host
	peer          *conn
	local, remote netip.AddrPort

	out         half // what this end sends; what it reads is peer.out
	rd, wr      gate
	writing     bool // a Write is under way; others wait for it, so that writes do not mix
	established bool
	eof         bool // the peer's fin arrived
	reset       bool // the peer's rst arrived
	closed      bool // the program is done with it, or it was never accepted
	gone        bool // its kernel knows nothing of it any more
}

var (
	_ net.Conn                        = (*conn)(nil)
	_ interface{ CloseWrite() error } = (*conn)(nil)
)

func (c *conn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

func (c *conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.read(b)
	if err != nil && err != io.EOF {
		err = c.fail("read", err)
	}
	return n, err
}

func (c *conn) read(b []byte) (int, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	for {
		switch in := &c.peer.out; {
		case c.closed:
			return 0, net.ErrClosed
		case c.rd.expired():
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case c.host.paused:
		case in.ready > 0:
			return in.read(b), nil
		case c.eof:
			return 0, io.EOF
		case c.reset:
			return 0, os.NewSyscallError("read", syscall.ECONNRESET)
		}
		c.rd.wait()
	}
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.write(b)
	if err != nil {
		err = c.fail("write", err)
	}
	return n, err
}

func (c *conn) write(b []byte) (written int, err error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	for c.writing {
		if err := c.writeErr(); err != nil {
			return 0, err
		}
		c.wr.wait()
	}
	c.writing = true
	defer func() {
		c.writing = false
		c.wr.cond.Broadcast()
	}()
	for {
		if err := c.writeErr(); err != nil {
			return written, err
		}
		n := c.out.write(b[written:])
		c.net.stats.StreamBytesSent += uint64(n)
		if written += n; written == len(b) {
			return written, nil
		}
		c.wr.wait()
	}
}

func (c *conn) writeErr() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.wr.expired():
		return os.ErrDeadlineExceeded
	case c.out.shut, c.reset && c.eof:
		return os.NewSyscallError("write", syscall.EPIPE)
	case c.reset:
		return os.NewSyscallError("write", syscall.ECONNRESET)
	}
	return nil
}

// CloseWrite ends what this end sends: the peer reads EOF after it.
func (c *conn) CloseWrite() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	switch {
	case c.closed:
		return c.fail("close", net.ErrClosed)
	case c.reset:
		return c.fail("close", os.NewSyscallError("shutdown", syscall.ENOTCONN))
	}
	c.out.finish()
	c.wr.cond.Broadcast()
	return nil
}

// Close returns at once; what was written is still sent, unless there were unread bytes.
func (c *conn) Close() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	unread := c.peer.out.ready > 0
	c.detach()
	switch {
	case c.reset:
	case unread:
		c.out.reset()
	default:
		c.out.finish()
	}
	return nil
}

// detach takes the connection from the program.
func (c *conn) detach() {
	c.closed = true
	c.peer.out.discard()
	c.rd.close()
	c.wr.close()
	delete(c.net.conns, c)
}

// abort closes the connection as a kernel does for a process that died.
func (c *conn) abort() {
	c.detach()
	c.gone = true
	switch {
	case !c.peer.established:
		c.out.drop() // the other end never heard of it
	case !c.reset:
		c.out.reset()
	}
}

// vanish closes the connection as a power failure does: without a word.
func (c *conn) vanish() {
	c.detach()
	c.gone = true
	c.out.dropUnsent()
}

func (c *conn) SetDeadline(t time.Time) error      { return c.setDeadline(t, true, true) }
func (c *conn) SetReadDeadline(t time.Time) error  { return c.setDeadline(t, true, false) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(t, false, true) }

func (c *conn) setDeadline(t time.Time, read, write bool) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	if read {
		c.rd.setDeadline(t)
	}
	if write {
		c.wr.setDeadline(t)
	}
	return nil
}
