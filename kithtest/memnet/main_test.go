package memnet

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/kith-go/kith/internal/bubble"
	"github.com/kith-go/kith/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

var (
	alphaAddr = netip.MustParseAddr("10.0.0.1")
	bravoAddr = netip.MustParseAddr("10.0.0.2")
	delta     = netip.MustParseAddr("10.0.0.4")
)

// What package kith asks of a network.
var _ interface {
	Listen(ctx context.Context, address string) (net.Listener, error)
	ListenPacket(ctx context.Context, address string) (net.PacketConn, error)
	Dial(ctx context.Context, address string) (net.Conn, error)
	Resolve(ctx context.Context, host string) ([]netip.Addr, error)
} = (*Host)(nil)

// rig is a network with two hosts, in a bubble.
type rig struct {
	*testing.T
	*Network
	alpha, bravo *Host
}

// virtually runs a test in virtual time, so none of the package's tests waits for real.
func virtually(t *testing.T, f func(r *rig)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		n := New(1)
		defer n.Close()
		f(&rig{T: t, Network: n, alpha: n.Host(alphaAddr), bravo: n.Host(bravoAddr)})
	})
}

func (r *rig) listen(h *Host, address string) net.Listener {
	r.Helper()
	l, err := h.Listen(r.Context(), address)
	if err != nil {
		r.Fatal(err)
	}
	return l
}

func (r *rig) listenPacket(h *Host, address string) net.PacketConn {
	r.Helper()
	c, err := h.ListenPacket(r.Context(), address)
	if err != nil {
		r.Fatal(err)
	}
	return c
}

// dial gives itself a minute.
func (r *rig) dial(h *Host, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	return h.Dial(ctx, address)
}

// connect returns both ends of a connection from alpha to bravo.
func (r *rig) connect() (near, far net.Conn) {
	r.Helper()
	l, err := r.bravo.Listen(r.Context(), ":0")
	if err != nil {
		r.Fatal(err)
	}
	defer l.Close()
	near, err = r.dial(r.alpha, net.JoinHostPort(bravoAddr.String(), port(l.Addr())))
	if err != nil {
		r.Fatal(err)
	}
	far, err = l.Accept()
	if err != nil {
		r.Fatal(err)
	}
	return near, far
}

func port(a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}

func (r *rig) write(c net.Conn, s string) {
	r.Helper()
	if n, err := c.Write([]byte(s)); n != len(s) || err != nil {
		r.Fatalf("Write = %d, %v", n, err)
	}
}

// read expects s to arrive within a minute.
func (r *rig) read(c net.Conn, s string) {
	r.Helper()
	b := make([]byte, len(s))
	c.SetReadDeadline(time.Now().Add(time.Minute))
	defer c.SetReadDeadline(time.Time{})
	if n, err := io.ReadFull(c, b); err != nil || string(b) != s {
		r.Fatalf("read %q, %v; want %q", b[:n], err, s)
	}
}

// silent expects nothing to arrive for a minute.
func (r *rig) silent(c net.Conn) {
	r.Helper()
	c.SetReadDeadline(time.Now().Add(time.Minute))
	defer c.SetReadDeadline(time.Time{})
	n, err := c.Read(make([]byte, 1))
	if n != 0 || !isTimeout(err) {
		r.Fatalf("Read = %d, %v; want silence", n, err)
	}
}

func (r *rig) send(c net.PacketConn, s string, to net.PacketConn) {
	r.Helper()
	if n, err := c.WriteTo([]byte(s), to.LocalAddr()); n != len(s) || err != nil {
		r.Fatalf("WriteTo = %d, %v", n, err)
	}
}

// receive expects the packet s within a minute, or none if s is empty, and returns its sender.
func (r *rig) receive(c net.PacketConn, s string) net.Addr {
	r.Helper()
	b := make([]byte, 100)
	c.SetReadDeadline(time.Now().Add(time.Minute))
	n, from, err := c.ReadFrom(b)
	if s == "" && isTimeout(err) {
		return nil
	}
	if err != nil || string(b[:n]) != s {
		r.Fatalf("ReadFrom = %q, %v; want %q", b[:n], err, s)
	}
	return from
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}
